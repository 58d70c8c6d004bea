//! Who calls: the door through which every call comes.
//!
//! The door finds out who it is and puts that into the request; what the caller may do is asked by the handler, which
//! takes a [`Caller`] or a [`Worker`]. Without either it is no route of ours: the tables of `routes` say for each group
//! who may come in at all, so that a handler which forgets to ask is still closed to strangers.

mod caller;
pub(crate) mod discovery;
pub(crate) mod door;
mod forwarded;
pub(crate) mod provider;
pub(crate) mod rate;
mod secret;
pub(crate) mod session;
mod standing;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use legwork_domain::{Access, Actor, Grant, Role, Scope, Timestamp, TokenId, UserId, Via};
use legwork_store::{Bearer, Store};

use crate::problem::Failure;
use crate::{Server, now};

pub(crate) use caller::{Caller, Worker, people_only, workers_only};
pub(crate) use forwarded::Origin;
pub(crate) use secret::{Digest, Kind, Secret};
pub(crate) use standing::Standing;

/// Who a call is from.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The process that the server runs in: the local owner, and a worker.
    Process,
    /// A person, or a program that acts for one.
    Person(Caller),
    /// A worker's token.
    Worker(TokenId),
}

/// What a caller came with, which can be looked at again.
#[derive(Clone)]
pub(crate) enum Credential {
    /// The digest of a bearer token, also of the process's own.
    Token(Digest),
    /// The digest of a session's cookie.
    Session(Digest),
}

impl Credential {
    /// What the headers hold; `None` if there is nothing that could open.
    fn of(server: &Server, headers: &HeaderMap) -> Option<Self> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return session::digest(&server.door, headers).map(Self::Session);
        };
        let (scheme, token) = header.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| Self::Token(Digest::of(token)))
    }
}

/// Lets a call through if it says who it is from and does not come too often. A browser that nobody is logged in with is
/// shown the way.
pub(crate) async fn guard(
    State(server): State<Arc<Server>>,
    origin: Origin,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&server, origin, request.method(), request.headers()).await {
        Ok((identity, credential)) => {
            request.extensions_mut().insert(identity);
            request.extensions_mut().insert(credential);
            next.run(request).await
        }
        Err(failure) if failure.is_unauthorized() && is_a_visit(&request) => {
            // Whatever there is at the address: a stranger learns nothing.
            (StatusCode::SEE_OTHER, [(LOCATION, "/login"), (CACHE_CONTROL, "no-store")]).into_response()
        }
        Err(failure) => failure.into(),
    }
}

/// Whether somebody looks at a page, as browsers say. Of the API a browser gets what a program gets.
fn is_a_visit(request: &Request) -> bool {
    let wanted = request.headers().get(ACCEPT).and_then(|wanted| wanted.to_str().ok()).unwrap_or_default();
    request.method() == Method::GET
        && wanted.contains("text/html")
        && !request.headers().contains_key(AUTHORIZATION)
        && !request.uri().path().starts_with("/v1/")
}

async fn admit(
    server: &Server,
    origin: Origin,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(Identity, Credential), Failure> {
    let credential = Credential::of(server, headers);
    let identity = match &credential {
        Some(Credential::Token(digest)) => by_token(server, digest).await?,
        Some(Credential::Session(digest)) => by_session(server, digest, method, headers).await?,
        None => None,
    };
    match &identity {
        Some(Identity::Process) => {}
        Some(Identity::Person(caller)) => server.buckets.person(caller.user())?,
        Some(Identity::Worker(token)) => server.buckets.worker(*token)?,
        None => server.buckets.stranger(origin)?,
    }
    identity.zip(credential).ok_or_else(Failure::unauthorized)
}

async fn by_token(server: &Server, digest: &Digest) -> Result<Option<Identity>, Failure> {
    if *digest == server.key {
        return Ok(Some(Identity::Process));
    }
    let now = now();
    let Some(bearer) = server.store.bearer(&digest.to_string()).await?.filter(|bearer| bearer.opens(now))
    else {
        return Ok(None);
    };
    note(&server.store, &bearer, now).await;
    Ok(Some(of_token(bearer)))
}

async fn by_session(
    server: &Server,
    digest: &Digest,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Failure> {
    let (digest, now) = (digest.to_string(), now());
    let Some(open) = server.store.session(&digest, session::IDLE_MS, now).await? else { return Ok(None) };
    session::same_origin(&server.door, method, headers)?;
    if now.ms_since(open.seen_at) >= session::SEEN_MS
        && let Err(error) = server.store.session_seen(&digest, now).await
    {
        tracing::warn!(user = %open.user.id, %error, "could not note that a session was used; the next call tries again");
    }
    Ok(Some(Identity::Person(Caller::of_session(open.user.id, open.grants))))
}

/// That a token was used is worth less than the call that it came with.
async fn note(store: &Store, bearer: &Bearer, now: Timestamp) {
    if let Err(error) = store.token_used(&bearer.token, now).await {
        tracing::warn!(token = %bearer.token.id, %error, "could not note that a token was used; the next call tries again");
    }
}

fn of_token(bearer: Bearer) -> Identity {
    let Bearer { token, user, grants } = bearer;
    match token.scope {
        Scope::Worker => Identity::Worker(token.id),
        Scope::User { .. } => Identity::Person(Caller::new(
            Actor { user: user.id, via: Via::Token { token: token.id } },
            Access::scoped(grants, token.scope).lowered_by(token.trust),
        )),
    }
}

/// The local owner, who needs no row to be it.
fn process() -> Caller {
    let grant = Grant { user: UserId::LOCAL, repository: None, role: Role::Owner };
    Caller::new(Actor::PROCESS, Access::whole(vec![grant]))
}
