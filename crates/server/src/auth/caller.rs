//! What handlers ask of a caller.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use legwork_domain::{
    Access, Action, Actor, AttemptId, Denied, Grant, RepositoryId, Role, Scope, TokenId, Trust, UserId, Via,
    Visible,
};
use legwork_store::{Act, Store, Thing};

use super::{Credential, Identity, process};
use crate::now;
use crate::problem::Failure;

/// A person who calls, or a program that acts for one, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    access: Access,
}

impl Caller {
    pub(crate) const fn new(actor: Actor, access: Access) -> Self {
        Self { actor, access }
    }

    /// Who came with a session's cookie.
    pub(crate) fn of_session(user: UserId, grants: Vec<Grant>) -> Self {
        Self::new(Actor { user, via: Via::Session }, Access::whole(grants))
    }

    pub(crate) const fn access(&self) -> &Access {
        &self.access
    }

    /// Whether it may speak to an attempt: run tasks on its repository, and on all that is laid beside it, which an agent reads for
    /// whoever asks.
    pub(crate) async fn may_speak_to(&self, store: &Store, attempt: AttemptId) -> Result<(), Failure> {
        self.may(store, Action::Run, Thing::Attempt(attempt)).await?;
        for url in store.extra_repositories(attempt).await? {
            self.may_on(store, Action::Run, &url).await?;
        }
        Ok(())
    }

    pub(crate) const fn user(&self) -> UserId {
        self.actor.user
    }

    /// Whether the caller keeps the server itself.
    pub(crate) fn owns_the_server(&self) -> Result<(), Failure> {
        self.access.check(Action::Administer, None).map_err(|_| Failure::forbidden(Role::Owner))
    }

    /// Whether it came with this token.
    pub(crate) fn is(&self, token: TokenId) -> bool {
        self.actor.via == Via::Token { token }
    }

    /// Whether it may all that its user may.
    pub(crate) fn is_whole(&self) -> bool {
        self.access.covers(Scope::User { role: Role::Owner, repository: None }, Trust::Member)
    }

    /// The caller as the author of a change that is made now.
    pub(crate) fn act(&self) -> Act {
        Act { actor: self.actor, at: now() }
    }

    /// What the caller sees of lists.
    pub(crate) fn visible(&self) -> Visible {
        self.access.visible(self.actor.user)
    }

    /// Whether a token of this scope and trust could do nothing that this caller cannot.
    pub(crate) fn covers(&self, scope: Scope, trust: Trust) -> bool {
        self.access.covers(scope, trust)
    }

    /// Whether it acts for members, and not for others by way of its token.
    pub(crate) fn is_a_members(&self) -> Result<(), Failure> {
        match self.access.trust() {
            Trust::Member => Ok(()),
            Trust::Outsider => Err(Failure::not_for_outsiders()),
        }
    }

    /// Whether the caller may do the action anywhere at all.
    pub(crate) fn may_somewhere(&self, action: Action) -> Result<(), Failure> {
        let enough = self.access.best().is_some_and(|best| best >= action.role());
        if enough { Ok(()) } else { Err(Failure::forbidden(action.role())) }
    }

    /// Whether the action may be done to the thing: 404 if the caller must not know of it, 403 if it sees it only.
    pub(crate) async fn may(&self, store: &Store, action: Action, thing: Thing) -> Result<(), Failure> {
        let repository = store.repository_of(thing).await?;
        self.access.check(action, repository).map_err(|denied| match denied {
            Denied::Hidden => thing.missing().into(),
            Denied::Forbidden { needs } => Failure::forbidden(needs),
        })
    }

    /// Whether the action may be done on what tasks call `url`, which need not be on record: then it takes a role on
    /// everything. The answer to a stranger is the same whether it is on record or not.
    pub(crate) async fn may_on(&self, store: &Store, action: Action, url: &str) -> Result<(), Failure> {
        let repository: Option<RepositoryId> = store.repository_by_url(url).await?.map(|known| known.id);
        self.access.check(action, repository).map_err(|denied| match denied {
            Denied::Hidden => Failure::not_found("repository of this name that you may see"),
            Denied::Forbidden { needs } => Failure::forbidden(needs),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Failure::unauthorized)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::Process) => Ok(process()),
            Some(Identity::Person(caller)) => Ok(caller.clone()),
            Some(Identity::Worker(_)) => Err(Failure::not_a_persons()),
            None => Err(Failure::unauthorized()),
        }
    }
}

/// Proof that a worker calls.
pub(crate) struct Worker {
    pub(super) credential: Credential,
}

impl<S: Send + Sync> FromRequestParts<S> for Worker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::Process | Identity::Worker(_)) => {}
            Some(Identity::Person(_)) => return Err(Failure::not_a_workers()),
            None => return Err(Failure::unauthorized()),
        }
        let credential = parts.extensions.get::<Credential>().cloned().ok_or_else(Failure::unauthorized)?;
        Ok(Self { credential })
    }
}

/// Closes a group of routes to all but people.
pub(crate) async fn people_only(_: Caller, request: Request, next: Next) -> Response {
    next.run(request).await
}

/// Closes a group of routes to all but workers.
pub(crate) async fn workers_only(_: Worker, request: Request, next: Next) -> Response {
    next.run(request).await
}
