//! The audit log's entries: who changed what about who may do what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Timestamp, TokenId, UserId};

/// Who did something, and by which right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// Who.
    pub user: UserId,
    /// What opened the door.
    #[serde(flatten)]
    pub via: Via,
}

/// What opened the door to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "via", rename_all = "snake_case")]
pub enum Via {
    /// An API token.
    Token {
        /// Which.
        token: TokenId,
    },
    /// A browser's session.
    Session,
    /// A one-time link.
    Link,
    /// The identity provider.
    Oidc,
    /// The process that the server runs in.
    Process,
}

impl Actor {
    /// The process that the server runs in, which acts for the local owner.
    pub const PROCESS: Self = Self { user: UserId::LOCAL, via: Via::Process };
}

/// One entry of the audit log. Each names the digest of the one before, so that no entry can be changed, taken out or put
/// in without changing all that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its place, from 1 without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    #[serde(flatten)]
    pub actor: Actor,
    /// What was done, such as `token.create`.
    pub action: String,
    /// To what: an id.
    pub target: String,
    /// As it was; nothing where it was not there.
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// As it is since; nothing where it is gone.
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
    /// The digest of the entry before, 64 hexadecimal digits; zeros in the first.
    pub previous: String,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// For the next page: pass as `before`. `None`: this was the last.
    pub next: Option<u64>,
}

/// What checking the whole audit log showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerdict {
    /// Entries that were read.
    pub entries: u64,
    /// The digest of the last one. Kept elsewhere, it shows later that nothing before it was changed.
    pub head: String,
    /// The first entry that is not as it was written.
    pub fault: Option<AuditFault>,
}

/// Where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditFault {
    /// At which entry.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}
