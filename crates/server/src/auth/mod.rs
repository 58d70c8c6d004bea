//! Who calls: the door through which every call comes.
//!
//! The door finds out who it is and puts that into the request; what the caller may do is asked by the handler, which
//! takes a [`Caller`] or a [`Worker`]. Without either it is no route of ours: the tables of `routes` say for each group
//! who may come in at all, so that a handler which forgets to ask is still closed to strangers.

mod caller;
pub(crate) mod door;
pub(crate) mod provider;
pub(crate) mod rate;
mod secret;
pub(crate) mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use legwork_domain::{Access, Actor, Grant, Role, Scope, Timestamp, TokenId, UserId, Via};
use legwork_store::{Bearer, Store};

use crate::problem::Failure;
use crate::{Server, now};

pub(crate) use caller::{Caller, Worker, people_only, workers_only};
pub(crate) use secret::{Digest, Kind, Secret};

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

/// Lets a call through if it says who it is from and does not come too often.
pub(crate) async fn guard(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&server, peer.ip(), request.method(), request.headers()).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(failure) => failure.into(),
    }
}

/// Slows down who knocks at what is open to strangers.
pub(crate) async fn slow(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match server.buckets.stranger(peer.ip()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into(),
    }
}

async fn admit(
    server: &Server,
    peer: IpAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Identity, Failure> {
    let identity = identify(server, method, headers).await?;
    match &identity {
        Some(Identity::Process) => {}
        Some(Identity::Person(caller)) => server.buckets.person(caller.user())?,
        Some(Identity::Worker(token)) => server.buckets.worker(*token)?,
        None => server.buckets.stranger(peer)?,
    }
    identity.ok_or_else(Failure::unauthorized)
}

/// Who it is; `None` if nothing that came opens.
async fn identify(
    server: &Server,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Failure> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return by_session(server, method, headers).await;
    };
    match header.as_bytes().split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => by_token(server, token).await,
        _ => Ok(None),
    }
}

async fn by_token(server: &Server, token: &[u8]) -> Result<Option<Identity>, Failure> {
    let digest = Digest::of(token);
    if digest == server.key {
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
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Failure> {
    let Some(digest) = session::digest(&server.door, headers) else { return Ok(None) };
    let (digest, now) = (digest.to_string(), now());
    let Some(open) = server.store.session(&digest, session::IDLE_MS, now).await? else { return Ok(None) };
    session::same_origin(&server.door, method, headers)?;
    if now.ms_since(open.seen_at) >= session::SEEN_MS
        && let Err(error) = server.store.session_seen(&digest, now).await
    {
        tracing::warn!(user = %open.user.id, %error, "could not note that a session was used; the next call tries again");
    }
    let actor = Actor { user: open.user.id, via: Via::Session };
    Ok(Some(Identity::Person(Caller::new(actor, Access::whole(open.grants)))))
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
            Access::scoped(grants, token.scope),
        )),
    }
}

/// The local owner, who needs no row to be it.
fn process() -> Caller {
    let grant = Grant { user: UserId::LOCAL, repository: None, role: Role::Owner };
    Caller::new(Actor::PROCESS, Access::whole(vec![grant]))
}
