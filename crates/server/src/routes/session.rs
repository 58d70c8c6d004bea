//! Logging in and out with a browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use legwork_domain::{LinkDraft, LinkMade, Problem, SessionDraft};
use legwork_store::Opening;

use super::users::known;
use crate::auth::provider::Provider;
use crate::auth::{Caller, Digest, Kind, Origin, Secret, session};
use crate::extract::{Body, header};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now};

/// How long a link opens: long enough to walk to another machine with it.
const LINK_MS: i64 = 15 * 60 * 1000;

/// Makes a link that logs a user in, once, within 15 minutes.
#[utoipa::path(
    post, path = "/v1/links", tag = "access", operation_id = "create_link",
    request_body = LinkDraft,
    responses(
        (status = 201, description = "The link", body = LinkMade),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn link(
    State(server): State<Arc<Server>>,
    caller: Caller,
    headers: HeaderMap,
    Body(draft): Body<LinkDraft>,
) -> Result<(StatusCode, Json<LinkMade>), Failure> {
    let user = draft.user.unwrap_or_else(|| caller.user());
    known(&caller, user)?;
    // A session may do all that its user may, so a token that may less opens none.
    if !caller.is_whole() {
        return Err(Failure::beyond_the_caller());
    }
    let secret = Secret::draw(Kind::Link)?;
    let act = caller.act();
    let expires_at = act.at.plus_ms(LINK_MS);
    server.store.create_link(&secret.digest().to_string(), user, expires_at, &act).await?;
    let base = server.door.base(header(&headers, HOST.as_str())?.unwrap_or_default());
    let url = format!("{base}/login#{}", secret.reveal());
    Ok((StatusCode::CREATED, Json(LinkMade { url, expires_at })))
}

/// Logs a browser in by a link, which opens nothing after that. The answer sets the session's cookie.
#[utoipa::path(
    post, path = "/v1/session", tag = "access", operation_id = "log_in", security(()),
    request_body = SessionDraft,
    responses(
        (status = 204, description = "Logged in", headers(("Set-Cookie" = String, description = "The session"))),
        (status = 401, description = "The link is unknown, used or over", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn log_in(
    State(server): State<Arc<Server>>,
    origin: Origin,
    headers: HeaderMap,
    Body(draft): Body<SessionDraft>,
) -> Result<Response, Failure> {
    // Else another site could log somebody in as somebody else. Programs send no Origin.
    if headers.contains_key(ORIGIN) {
        session::same_origin(&server.door, &Method::POST, &headers)?;
    }
    let (secret, now) = (Secret::draw(Kind::Session)?, now());
    let digest = secret.digest().to_string();
    let opening = Opening { digest: &digest, expires_at: session::expiry(now) };
    let link = Digest::of(draft.link.as_bytes()).to_string();
    if server.store.redeem_link(&link, opening, now).await?.is_none() {
        server.buckets.stranger(origin)?;
        return Err(Failure::link_spent());
    }
    let cookie = session::cookie(&server.door, secret)?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// Logs the browser out. A second time changes nothing.
#[utoipa::path(
    delete, path = "/v1/session", tag = "access", operation_id = "log_out",
    responses(
        (status = 204, description = "Logged out", headers(("Set-Cookie" = String, description = "Takes the session away"))),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn log_out(
    State(server): State<Arc<Server>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    if let Some(digest) = session::digest(&server.door, &headers) {
        server.store.close_session(&digest.to_string(), &caller.act()).await?;
    }
    let cookie = session::no_cookie(&server.door)?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// Leads a browser that is logged in to what there is to see.
pub(super) async fn home() -> Redirect {
    Redirect::to("/docs")
}

/// The page that a link opens. It reads what stands behind the `#` and hands it over; nothing else can run in it.
const PAGE: &str = include_str!("login.html");

/// The SHA-256 of the page's script: a test holds the two together.
const PAGE_POLICY: &str = concat!(
    "default-src 'none'; connect-src 'self'; script-src 'sha256-",
    "8RPEoRM99CpwEPeIfUvPLgiwUjEuu4z3UyIZPPgIuow=",
    "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// Where the page names the identity providers.
const PROVIDERS: &str = "<!-- providers -->";

/// Shows the page that logs in.
pub(super) async fn page(State(server): State<Arc<Server>>) -> impl IntoResponse {
    // Their names are letters, digits and dashes.
    let link =
        |provider: &Provider| format!("<p><a href=\"/auth/{0}\">Log in with {0}</a></p>\n", provider.name);
    let links: String = server.door.providers.iter().map(link).collect();
    (
        [(CONTENT_SECURITY_POLICY, PAGE_POLICY), (CACHE_CONTROL, "no-store")],
        Html(PAGE.replace(PROVIDERS, &links)),
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_page_runs_its_own_script_alone() {
        let script = PAGE.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
        assert!(PAGE_POLICY.contains(&format!("'sha256-{digest}'")), "the script's digest is {digest}");
    }
}
