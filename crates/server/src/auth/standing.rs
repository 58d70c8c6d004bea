//! Whether a caller is still who it was, asked again while an answer goes on.
//!
//! The door asks once. That is right for a call that ends, and wrong for a stream that goes on for days: a token that is
//! revoked, a user who is disabled and a grant that is taken must close it too. A stream therefore keeps what it was opened
//! with and asks again. Any change of what the caller may ends it: whoever may still come in resumes it.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

use super::{Caller, Credential, Worker, of_token, session};
use crate::auth::Identity;
use crate::problem::Failure;
use crate::{Server, now};

/// How long an answer holds. With the longest wait of a stream, what was taken is felt within two seconds.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A caller, what it came with, and when that was last looked at.
pub(crate) struct Standing {
    caller: Caller,
    credential: Credential,
    asked_at: Instant,
}

impl Standing {
    /// Who it was at first.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller may now exactly what it might at first. Asks the store at most once a second, however often it
    /// is called.
    ///
    /// # Errors
    /// As every read of the store.
    pub(crate) async fn holds(&mut self, server: &Server) -> Result<bool, legwork_store::Error> {
        if self.asked_at.elapsed() < ASKED_AGAIN {
            return Ok(true);
        }
        self.asked_at = Instant::now();
        Ok(match self.credential.opens(server).await? {
            Some(Identity::Process) => true,
            Some(Identity::Person(caller)) => caller == self.caller,
            Some(Identity::Worker(_)) | None => false,
        })
    }
}

impl Credential {
    /// Whom it lets in now.
    async fn opens(&self, server: &Server) -> Result<Option<Identity>, legwork_store::Error> {
        let now = now();
        match self {
            Self::Token(digest) if *digest == server.key => Ok(Some(Identity::Process)),
            Self::Token(digest) => {
                let bearer = server.store.bearer(&digest.to_string()).await?;
                Ok(bearer.filter(|bearer| bearer.opens(now)).map(of_token))
            }
            Self::Session(digest) => {
                let open = server.store.session(&digest.to_string(), session::IDLE_MS, now).await?;
                Ok(open.map(|open| Identity::Person(Caller::of_session(open.user.id, open.grants))))
            }
        }
    }
}

impl Worker {
    /// Whether its token still opens, for a call that has waited.
    ///
    /// # Errors
    /// As every read of the store.
    pub(crate) async fn holds(&self, server: &Server) -> Result<bool, legwork_store::Error> {
        Ok(match self.credential.opens(server).await? {
            Some(Identity::Process | Identity::Worker(_)) => true,
            Some(Identity::Person(_)) | None => false,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Standing {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let credential = parts.extensions.get::<Credential>().cloned().ok_or_else(Failure::unauthorized)?;
        Ok(Self { caller, credential, asked_at: Instant::now() })
    }
}
