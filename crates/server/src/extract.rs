//! Extractors that refuse with a problem document.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Server;
use crate::problem::Failure;

/// A JSON body, without the values of secrets.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: Serialize + DeserializeOwned> FromRequest<Arc<Server>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, Failure> {
        let body = read(request, server).await?;
        // It was read from JSON, so it can be written and, texts changed, be read again; else the text had a form to keep.
        let clean = server.redactor.document(body);
        clean.map(Self).map_err(|_| {
            Failure::invalid("A secret stands where no text may be changed. Nothing was stored.")
        })
    }
}

/// A JSON body that holds a secret on purpose: it must not be stored as it is.
pub(crate) struct Sensitive<T>(pub(crate) T);

impl<T: Serialize + DeserializeOwned, S: Send + Sync> FromRequest<S> for Sensitive<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        read(request, state).await.map(Self)
    }
}

/// A JSON body in the form that the API describes and no other.
async fn read<T: Serialize + DeserializeOwned, S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<T, Failure> {
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head.clone(), body);
    let bytes = Bytes::from_request(request, state).await?;
    let request = Request::from_parts(head, bytes.clone().into());
    let axum::Json(body) = axum::Json::<T>::from_request(request, state).await?;
    let sent = serde_json::from_slice(&bytes);
    match sent.and_then(|sent: Value| Ok(has_positional(&sent, &serde_json::to_value(&body)?))) {
        Ok(false) => Ok(body),
        Ok(true) | Err(_) => Err(Failure::invalid(
            "A list stands where an object with named fields belongs. Nothing was done.",
        )),
    }
}

/// Whether a list was taken for an object, its fields by their order: what reads JSON here allows it, and our description
/// does not.
fn has_positional(sent: &Value, read: &Value) -> bool {
    match (sent, read) {
        (Value::Array(_), Value::Object(_)) => true,
        (Value::Array(sent), Value::Array(read)) => {
            sent.iter().zip(read).any(|(sent, read)| has_positional(sent, read))
        }
        (Value::Object(sent), Value::Object(read)) => {
            sent.iter().any(|(name, sent)| read.get(name).is_some_and(|read| has_positional(sent, read)))
        }
        _ => false,
    }
}

/// The one id in the path. A text that is no id names nothing: 404.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(id) = Path::from_request_parts(parts, state).await?;
        Ok(Self(id))
    }
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

/// A header's text; `None` if it is absent or empty.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Failure> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    let text = text.map_err(|_| Failure::invalid(format!("The header {name} is not plain text.")))?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The versions that `If-Match` names; `None`: any, as without it. A tag that is none of ours is no version (RFC 9110,
/// 13.1.1), so a header of nothing else lets nothing pass.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Failure> {
    let mut seen = None;
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().map_err(|_| Failure::invalid("The header If-Match is not plain text."))?;
        if text.trim() == "*" {
            return Ok(None);
        }
        let version = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse::<u64>().ok();
        seen.get_or_insert_with(Vec::new).extend(text.split(',').filter_map(version));
    }
    Ok(seen)
}

/// Where a reader of a stream was when it broke off; `None` if it does not say. An empty one says nothing either (HTML,
/// section 9.2).
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(id) = header(headers, "last-event-id")? else { return Ok(None) };
    // What reads numbers here would take a sign too.
    let place = id.parse().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()));
    place
        .map(Some)
        .ok_or_else(|| Failure::invalid("Last-Event-ID is not the id of a message of this stream."))
}

#[cfg(test)]
mod tests {
    use legwork_domain::{TokenDraft, WebhookChange};
    use serde_json::json;

    use super::*;
    use axum::http::HeaderValue;

    fn is_refused<T: Serialize + DeserializeOwned>(sent: &Value) -> bool {
        let read: T = serde_json::from_value(sent.clone()).unwrap();
        has_positional(sent, &serde_json::to_value(read).unwrap())
    }

    #[test]
    fn if_match_names_versions() {
        let of = |values: &[&'static str]| {
            let lines = values.iter().map(|value| (IF_MATCH, HeaderValue::from_static(value)));
            if_match(&lines.collect()).unwrap()
        };
        assert_eq!((of(&[]), of(&["*"])), (None, None));
        assert_eq!(of(&["\"3\", \"4\"", "\"5\""]), Some(vec![3, 4, 5]));
        // Weak tags and foreign ones match nothing, and neither does an empty one.
        assert_eq!((of(&["W/\"3\", 3, \"x\""]), of(&[""])), (Some(Vec::new()), Some(Vec::new())));
    }

    #[test]
    fn fields_have_names() {
        let scope = json!({ "for": "user", "role": "viewer" });
        assert!(!is_refused::<TokenDraft>(&json!({ "name": "a", "scope": scope })));
        assert!(is_refused::<TokenDraft>(&json!(["a", scope])));
        assert!(is_refused::<TokenDraft>(&json!({ "name": "a", "scope": ["user", "viewer"] })));
        assert!(is_refused::<WebhookChange>(&json!([])));
        assert!(!is_refused::<WebhookChange>(&json!({ "topics": ["turn.parked"] })));
    }
}
