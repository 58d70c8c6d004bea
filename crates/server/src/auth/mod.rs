//! Who calls: the door through which every call comes.
//!
//! The door finds out who it is and puts that into the request; what the caller may do is asked by the handler, which
//! takes a [`Caller`] or a [`Worker`]. Without either it is no route of ours: the tables of `routes` say for each group
//! who may come in at all, so that a handler which forgets to ask is still closed to strangers.

mod caller;
mod secret;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use legwork_domain::{Access, Actor, Grant, Role, Scope, Timestamp, UserId, Via};
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
    Worker,
}

/// Lets a call through if it says who it is from.
pub(crate) async fn guard(State(server): State<Arc<Server>>, mut request: Request, next: Next) -> Response {
    match identify(&server, request.headers()).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(failure) => failure.into(),
    }
}

async fn identify(server: &Server, headers: &HeaderMap) -> Result<Identity, Failure> {
    let header = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let digest = match header.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Digest::of(token),
        _ => return Err(Failure::unauthorized()),
    };
    if digest == server.key {
        return Ok(Identity::Process);
    }
    let now = now();
    let bearer = server.store.bearer(&digest.to_string()).await?.filter(|bearer| bearer.opens(now));
    let bearer = bearer.ok_or_else(Failure::unauthorized)?;
    note(&server.store, &bearer, now).await;
    Ok(of_token(bearer))
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
        Scope::Worker => Identity::Worker,
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
