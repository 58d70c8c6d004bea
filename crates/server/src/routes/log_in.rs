//! Logging a browser in by an identity provider: there and back.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use legwork_domain::{Timestamp, UserId};
use legwork_store::{Identity, NAME_BYTES_MAX, Newcomer, Opening};
use minijinja::HtmlEscape;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::door::Door;
use crate::auth::provider::{Errand, Person, Provider};
use crate::auth::{Digest, Kind, Origin, Secret, session};
use crate::extract::header;
use crate::problem::Failure;
use crate::{Server, now};

/// How long somebody may take at the provider: to find a second factor, say.
const LOGIN_MS: i64 = 10 * 60 * 1000;

/// The cookie that holds a log-in to the browser in which it began. With the prefix a browser takes it over TLS only, for
/// this host only.
const fn cookie_name(door: &Door) -> &'static str {
    if door.is_secure() { "__Host-legwork_login" } else { "legwork_login" }
}

/// Where a browser goes that is logged in.
const HOME: &str = "/docs";

/// Room that is left behind a name for a number.
const NUMBER_BYTES: usize = 8;

/// What the provider sends back.
#[derive(Deserialize)]
pub(super) struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// A log-in that is under way. The browser keeps it, sealed: so strangers who begin some take up no room here.
#[derive(Serialize, Deserialize)]
struct Pending {
    provider: String,
    /// The digest of what went to the provider and must come back.
    state: String,
    /// What the answer must name.
    nonce: String,
    /// What proves that the asker asked (RFC 7636).
    verifier: String,
    expires_at: Timestamp,
}

/// Sends the browser to the provider.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let provider = find(&server, &name)?;
    let secret = || Secret::draw(Kind::Login).map(Secret::reveal);
    let errand = Errand {
        state: secret()?,
        nonce: secret()?,
        verifier: secret()?,
        back: back(&server, &headers, provider),
    };
    let address = match provider.address(&errand, &server.outside).await {
        Ok(address) => address,
        Err(why) => return Ok(told(StatusCode::BAD_GATEWAY, &why)),
    };
    let pending = Pending {
        provider: name,
        state: digest(&errand.state),
        nonce: errand.nonce,
        verifier: errand.verifier,
        expires_at: now().plus_ms(LOGIN_MS),
    };
    let pending = serde_json::to_string(&pending).map_err(|_| Failure::internal())?;
    let location = HeaderValue::from_str(&address).map_err(|_| Failure::internal())?;
    let cookie = set_cookie(&server, &server.vault.seal_login(&pending)?, LOGIN_MS / 1000)?;
    let no_store = HeaderValue::from_static("no-store");
    Ok((StatusCode::FOUND, [(LOCATION, location), (SET_COOKIE, cookie), (CACHE_CONTROL, no_store)])
        .into_response())
}

/// Takes the browser back, and logs it in.
pub(super) async fn finish(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    origin: Origin,
    returned: Result<Query<Returned>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let provider = find(&server, &name)?;
    let Ok(Query(returned)) = returned else {
        let why =
            "What the identity provider sent you back with cannot be read: something in it is there twice.";
        return Ok(refused(&server, origin, why));
    };
    let Some(pending) = pending(&server, &name, &returned, &headers).await? else {
        let why =
            "This log-in did not begin in this browser, was used before, or took more than ten minutes.";
        return Ok(refused(&server, origin, why));
    };
    // The provider is called for it, whoever began it. Counted apart, so that guesses keep nobody out.
    let Ok(_place) = server.buckets.log_in(origin) else { return Ok(too_often()) };
    let Some(code) = returned.code.filter(|_| returned.error.is_none()) else {
        let why = format!("The identity provider says: {}.", returned.error.as_deref().unwrap_or("no code"));
        return Ok(told(StatusCode::FORBIDDEN, &why));
    };
    let errand = Errand {
        state: String::new(),
        nonce: pending.nonce,
        verifier: pending.verifier,
        back: back(&server, &headers, provider),
    };
    let person = match provider.person(code, errand, &server.outside).await {
        Ok(person) => person,
        Err(why) => return Ok(told(StatusCode::FORBIDDEN, &why)),
    };
    if !server.store.use_login(&pending.state, pending.expires_at, now()).await? {
        return Ok(told(StatusCode::BAD_REQUEST, "This log-in was used before."));
    }
    welcome(&server, provider, &person).await
}

/// The log-in that a browser comes back from, if it is its own, under way and not used.
async fn pending(
    server: &Server,
    provider: &str,
    returned: &Returned,
    headers: &HeaderMap,
) -> Result<Option<Pending>, Failure> {
    let sealed = session::sent(headers, cookie_name(&server.door));
    let text = sealed.and_then(|sealed| server.vault.open_login(sealed));
    let pending = text.and_then(|text| serde_json::from_str::<Pending>(&text).ok());
    let state = returned.state.as_deref().map(digest);
    let is_it = |pending: &Pending| {
        pending.provider == provider && Some(&pending.state) == state.as_ref() && pending.expires_at > now()
    };
    let Some(pending) = pending.filter(is_it) else { return Ok(None) };
    let is_used = server.store.is_login_used(&pending.state).await?;
    Ok(Some(pending).filter(|_| !is_used))
}

/// The page for somebody who brings no log-in of this browser's.
fn refused(server: &Server, origin: Origin, why: &str) -> Response {
    match server.buckets.stranger(origin) {
        Ok(()) => told(StatusCode::BAD_REQUEST, why),
        Err(_) => too_often(),
    }
}

/// The page for who comes too often.
fn too_often() -> Response {
    let why = "Too many log-ins come from where you are, or from everywhere together. Try again in a minute.";
    told(StatusCode::TOO_MANY_REQUESTS, why)
}

async fn welcome(server: &Server, provider: &Provider, person: &Person) -> Result<Response, Failure> {
    let name = plain(&person.name).unwrap_or_else(|| provider.name.clone());
    let id = UserId::from_u128(Uuid::now_v7().as_u128());
    let newcomer = provider.admits(person).then_some(Newcomer { id, name: &name, role: provider.role });
    let identity = Identity { issuer: &person.issuer, subject: &person.subject };
    let (secret, now) = (Secret::draw(Kind::Session)?, now());
    let digest = secret.digest().to_string();
    let opening = Opening { digest: &digest, expires_at: session::expiry(now) };
    if server.store.log_in(identity, newcomer, opening, now).await?.is_none() {
        let why = format!(
            "{} knows you as {name}, but you are not let in here. Ask an owner of this server.",
            provider.name
        );
        return Ok(told(StatusCode::FORBIDDEN, &why));
    }
    let mut answer = (StatusCode::SEE_OTHER, [(LOCATION, HOME), (CACHE_CONTROL, "no-store")]).into_response();
    answer.headers_mut().append(SET_COOKIE, session::cookie(&server.door, secret)?);
    answer.headers_mut().append(SET_COOKIE, set_cookie(server, "", 0)?);
    Ok(answer)
}

fn find<'a>(server: &'a Server, name: &str) -> Result<&'a Provider, Failure> {
    let found = server.door.providers.iter().find(|provider| provider.name == name);
    found.ok_or_else(|| Failure::not_found("identity provider of that name"))
}

/// Where the provider sends the browser back. It has this address on its list.
fn back(server: &Server, headers: &HeaderMap, provider: &Provider) -> String {
    let host = header(headers, HOST.as_str()).ok().flatten().unwrap_or_default();
    format!("{}/auth/{}/callback", server.door.base(host), provider.name)
}

fn digest(secret: &str) -> String {
    Digest::of(secret.as_bytes()).to_string()
}

/// `SameSite=Lax` lets it come along when the provider sends the browser back.
fn set_cookie(server: &Server, value: &str, seconds: i64) -> Result<HeaderValue, Failure> {
    let secure = if server.door.is_secure() { "; Secure" } else { "" };
    let name = cookie_name(&server.door);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut header = HeaderValue::from_str(&text).map_err(|_| Failure::internal())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A name that a user can have.
fn plain(name: &str) -> Option<String> {
    let mut plain = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if plain.len() + letter.len_utf8() + NUMBER_BYTES > NAME_BYTES_MAX {
            break;
        }
        plain.push(letter);
    }
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// A page for somebody who is not logged in.
fn told(status: StatusCode, why: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Legwork: not logged in</title>\n<h1>Legwork</h1>\n<p>You are not logged in. {}</p>\n\
         <p><a href=\"/login\">Try again</a></p>\n",
        HtmlEscape(why)
    );
    let policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    (status, [(CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, "no-store")], Html(page)).into_response()
}
