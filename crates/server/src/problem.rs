//! Every error of the API, as RFC 9457 wants it: the only place where a failure gets its status and its words.
//!
//! A detail says what happened, why, what was kept and what to do. What an operator must know and a caller must not
//! (paths, SQL) goes to the log.

use std::any::Any;
use std::error::Error as _;
use std::io;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use legwork_domain::{BlobId, Problem, Role, SecretAt};
use legwork_store::Error as StoreError;

use crate::redact::Redactor;

/// Media type of RFC 9457, section 3.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// When who has too much may look again: room comes when a turn begins or a task is handed over, not by waiting for it.
const FULL_RETRY_SECONDS: f64 = 60.0;

/// A call that failed, ready to be told. Boxed, since every handler returns one in its `Err`.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: Box<Problem>,
    /// Seconds after which it may be tried again.
    retry_after: Option<HeaderValue>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let problem = Box::new(Problem {
            kind: format!("urn:problem-type:legwork:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            secret: None,
        });
        Self { problem, retry_after: None }
    }

    fn after(self, seconds: f64) -> Self {
        Self { retry_after: HeaderValue::from_str(&format!("{seconds:.0}")).ok(), ..self }
    }

    pub(crate) fn unauthorized() -> Self {
        let detail =
            "The call carries no valid token. Nothing was done. Send it as `Authorization: Bearer TOKEN`.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is needed", detail)
    }

    /// Whether it is that nobody said validly who calls.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.problem.status == StatusCode::UNAUTHORIZED.as_u16()
    }

    pub(crate) fn forbidden(needs: Role) -> Self {
        let role = match needs {
            Role::Viewer => "viewer",
            Role::Runner => "runner",
            Role::Maintainer => "maintainer",
            Role::Owner => "owner",
        };
        let detail = format!(
            "This needs the role {role} there, and the caller or its token has less. Nothing was done. Ask an owner for the role."
        );
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this", detail)
    }

    pub(crate) fn beyond_the_caller() -> Self {
        let detail = "The token would be good for more than the caller or its own token is. Nothing was done. Ask for less, \
                      or come with a stronger token.";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this", detail)
    }

    pub(crate) fn not_for_outsiders() -> Self {
        let detail = "The token is for handing over outsiders' tasks, and members' tasks are made with this. Nothing was done. Come \
                      with a member's token.";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this", detail)
    }

    pub(crate) fn not_a_persons() -> Self {
        let detail =
            "This call is for people, and the token is a worker's. Nothing was done. Send a user's token.";
        Self::new(StatusCode::FORBIDDEN, "not_for_workers", "The call is not for workers", detail)
    }

    pub(crate) fn not_a_workers() -> Self {
        let detail =
            "This call is for workers, and the token is a user's. Nothing was done. Send a worker's token.";
        Self::new(StatusCode::FORBIDDEN, "workers_only", "The call is for workers only", detail)
    }

    pub(crate) fn link_spent() -> Self {
        let detail =
            "The link is unknown, was used before, or is over. Nobody was logged in. Ask for a new one.";
        Self::new(StatusCode::UNAUTHORIZED, "link_spent", "The link opens nothing", detail)
    }

    pub(crate) fn cross_site() -> Self {
        let detail = "A browser's session changes something only from a page of this server, and the call's Origin does not \
                      say that it is one. Nothing was done. Programs send a token instead.";
        Self::new(StatusCode::FORBIDDEN, "cross_site", "The call is from another site", detail)
    }

    pub(crate) fn misdirected() -> Self {
        let detail = "The call is for a host by which this server is not known. Nothing was done. Use its address, or have the \
                      name added to the server's hosts.";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "The call is for another server", detail)
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        let detail = format!(
            "The call took more than {} s. It may or may not have had its effect. Look, then send it again.",
            limit.as_secs()
        );
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", "The call took too long", detail)
    }

    pub(crate) fn too_often(seconds: f64) -> Self {
        let detail = format!("Calls come too often. This one did nothing. Send it again in {seconds:.0} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_often", "Calls come too often", detail).after(seconds)
    }

    /// For a person who has as much of something as it may.
    fn too_many(code: &'static str, sentence: &str) -> Self {
        let detail = format!("{sentence} Nothing was stored.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, "There is too much of the caller's", detail)
            .after(FULL_RETRY_SECONDS)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        let detail = format!("There is no {what}. Check the address and the id.");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request cannot be taken as it is", detail)
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let detail =
            format!("The body is larger than the {bytes_max} bytes that are taken here. Nothing was stored.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", detail)
    }

    pub(crate) fn blob_mismatch(actual: &str) -> Self {
        let detail = format!(
            "The bytes have the digest {actual}, not the one in the address. Nothing was stored. Send them again."
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "blob_mismatch", "The bytes are not those named", detail)
    }

    pub(crate) fn secret_in_blob(name: &str, offset: u64) -> Self {
        let detail = format!(
            "The bytes hold the value of the secret {name}, from byte {offset} on. Nothing was stored. Take it out, then send them again."
        );
        let mut failure =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "secret_in_blob", "The bytes hold a secret", detail);
        failure.problem.secret = Some(SecretAt { name: name.to_owned(), offset });
        failure
    }

    pub(crate) fn beyond_the_end(after: u64, end: u64) -> Self {
        let detail = format!(
            "The log ends with event {end}, so {after} was never read from it as it is now; it may have been restored from a backup. \
             Nothing was sent. Read it from the beginning."
        );
        Self::new(StatusCode::CONFLICT, "beyond_the_end", "The log ends before that", detail)
    }

    pub(crate) fn blob_missing(blob: &BlobId) -> Self {
        let detail = format!(
            "Blob {blob} is named but was never stored. Nothing was written. Store it, then send this again."
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "blob_missing", "A blob is missing", detail)
    }

    pub(crate) fn too_many_streams(streams_max: usize) -> Self {
        let detail = format!(
            "The caller has {streams_max} streams open, as many as one may have. Close some, then open this one again."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", "Too many streams are open", detail)
    }

    pub(crate) fn broken_off() -> Self {
        let detail = "The body ended before it was whole. Nothing was stored. Send it again.";
        Self::new(StatusCode::BAD_REQUEST, "body_broken_off", "The body broke off", detail)
    }

    fn conflict(code: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, code, title, detail)
    }

    pub(crate) fn no_model() -> Self {
        let detail = "The task names no model, and the server has no choice of its own. Nothing was done. Name one, as provider/model.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_model", "No model was named", detail)
    }

    pub(crate) fn scripted() -> Self {
        let detail = "A scripted model is a file of the worker's machine, so only an owner of this server may name one. Nothing was done. Name another model.";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this", detail)
    }

    fn other_version(sentence: &str) -> Self {
        let detail = format!(
            "There is another version than those that If-Match names. Nothing was changed. {sentence}"
        );
        Self::new(StatusCode::PRECONDITION_FAILED, "other_version", "It changed meanwhile", detail)
    }

    fn storage_full() -> Self {
        let detail = "The server's disk is full. Nothing of this call was written; all that was accepted before is kept. \
                      Make room, then send it again.";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "The disk is full", detail)
    }

    pub(crate) fn not_ready(why: &str) -> Self {
        let detail = format!("{why} What was accepted before is kept. Ask again until this answers 200.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The server cannot take work now", detail)
    }

    pub(crate) fn internal() -> Self {
        let detail = "The server failed; its log says why. What was accepted before is kept. The call may be sent again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed", detail)
    }

    /// What axum itself refused, with its own reason.
    fn malformed(status: StatusCode, reason: &str) -> Self {
        let detail = format!("{reason} Nothing was done.");
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = "The body is larger than is taken here. Nothing was stored.";
                Self::new(status, "body_too_large", "The body is too large", detail)
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                let detail =
                    "The body must be JSON, sent as `Content-Type: application/json`. Nothing was done.";
                Self::new(status, "not_json", "The body is not JSON", detail)
            }
            StatusCode::UNPROCESSABLE_ENTITY => Self::invalid(detail),
            _ => Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::NotFound { what, id } => Self::not_found(&format!("{what} {id}")),
            StoreError::Invalid(detail) => Self::invalid(detail),
            StoreError::StaleEpoch { .. } => Self::conflict(
                "stale_epoch",
                "The turn is no longer this worker's",
                format!("{}. Nothing was written. Stop running this turn.", sentence(&detail)),
            ),
            StoreError::Gap { .. } => Self::conflict(
                "events_missing",
                "Events are missing before this batch",
                format!("{}. Nothing was written. Send the missing ones first.", sentence(&detail)),
            ),
            StoreError::Refused(_) => Self::conflict(
                "state_refused",
                "The turn's state does not allow this",
                format!("{}. Nothing was written.", sentence(&detail)),
            ),
            StoreError::Conflict { code: StoreError::OTHER_VERSION, sentence } => {
                Self::other_version(&sentence)
            }
            StoreError::Conflict {
                code: code @ (StoreError::QUEUE_FULL | StoreError::UPLOADS_FULL),
                sentence,
            } => Self::too_many(code, &sentence),
            StoreError::Conflict { code, sentence } => Self::conflict(
                code,
                "As things stand now it cannot be done",
                format!("{sentence} Nothing was written."),
            ),
            StoreError::KeyReused => Self::conflict(
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
                format!("{}. No task was made. Take a new key for a new task.", sentence(&detail)),
            ),
            StoreError::Busy(_) => {
                log(&error);
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "The database cannot serve this now",
                    format!(
                        "{}. What was to be written is there whole or not at all. Send the call again.",
                        sentence(&detail)
                    ),
                )
            }
            StoreError::Full(_) => {
                log(&error);
                Self::storage_full()
            }
            StoreError::Corrupt { .. } | StoreError::Migrate(_) | StoreError::Database(_) => {
                log(&error);
                Self::internal()
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        tracing::error!(error = %error, "the blob store failed");
        if error.kind() == io::ErrorKind::StorageFull { Self::storage_full() } else { Self::internal() }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::malformed(rejection.status(), &format!("{}.", rejection.body_text()))
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        Self::malformed(rejection.status(), &format!("{}.", rejection.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.status(), &format!("{}.", rejection.body_text()))
    }
}

impl From<PathRejection> for Failure {
    fn from(_: PathRejection) -> Self {
        Self::not_found("such thing: the id in the address is not one of this kind")
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        failure.into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"legwork\""));
        }
        let soon = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(HeaderValue::from_static("1"));
        if let Some(seconds) = self.retry_after.or(soon) {
            headers.insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// The longest problem that is worth looking through.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A problem may quote what came in an address or a header; the values of secrets are taken out of it as of all else.
pub(crate) async fn without_secrets(answer: Response, redactor: &Redactor) -> Response {
    let (mut head, body) = answer.into_parts();
    let Ok(body) = axum::body::to_bytes(body, PROBLEM_BYTES_MAX).await else {
        return Failure::internal().into();
    };
    let clean = serde_json::from_slice::<Problem>(&body).and_then(|problem| redactor.document(problem));
    match clean.and_then(|problem| serde_json::to_vec(&problem)) {
        Ok(clean) => {
            head.headers.remove(CONTENT_LENGTH);
            Response::from_parts(head, clean.into())
        }
        Err(_) => Failure::internal().into(),
    }
}

/// For an address that no route has.
pub(crate) async fn no_route(uri: Uri) -> Failure {
    Failure::not_found(&format!("route {}", uri.path()))
}

/// For a route that does not take the method.
pub(crate) async fn no_method(method: Method, uri: Uri) -> Failure {
    let detail = format!("{} does not take {method}. Nothing was done.", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not taken here", detail)
}

/// For a handler that panicked: a defect, which must not look like a dead server. The panic's own message is in the log.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a call ended in a panic");
    Failure::internal().into()
}

/// With the causes, which `Display` leaves out.
fn log(error: &StoreError) {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    tracing::error!(%error, causes = causes.join(": "), "the store failed");
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
