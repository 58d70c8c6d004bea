//! SQL: the queue, the event log and the records.
//!
//! What is accepted here is on disk before the call returns. A turn moves through one door, which reads it, asks
//! [`legwork_domain::Turn::apply`], compares and sets, and adds the event, all in one transaction; so a log and the state
//! that it tells of cannot part, whoever dies in between. A worker's writes carry its epoch, and one that is not the
//! turn's present epoch writes nothing.
//!
//! There is no clock and no randomness in this crate: ids and times come from the caller, so that every interleaving can
//! be played again.
//!
//! Each statement is written once, in what SQLite and Postgres both take; `dialect` holds what they do not say alike. On
//! SQLite a write has the one write lock from its start. On Postgres, where several servers write at once, it locks the
//! rows that it reads: turns before attempts, so that two writes never wait for each other.

mod access;
mod alarm;
mod assignment;
mod attempts;
mod audit;
mod backup;
mod blobs;
mod budgets;
mod census;
mod changes;
mod copying;
mod create;
mod deep;
mod deliveries;
mod dialect;
mod environments;
mod error;
mod exchange;
mod follow_up;
mod fork;
mod generation;
mod idempotency;
mod identities;
mod lifecycle;
mod listing;
mod log;
mod machines;
mod messages;
mod migrate;
mod open;
mod purge;
mod queue;
mod read;
mod retry;
mod schedule;
mod secrets;
mod sessions;
mod spending;
mod tokens;
mod turn_row;
mod turns;
mod webhooks;

use dialect::Dialect;
use exchange::Address;
use sqlx::AnyPool;

pub use access::{NAME_BYTES_MAX, Thing, USERS_MAX};
pub use audit::{AUDIT_PAGE_MAX, Act};
pub use backup::Restored;
pub use blobs::upload_weight;
pub use census::Census;
pub use changes::ChangePage;
pub use copying::{Copying, Redact};
pub use create::{Sent, TaskIds};
pub use deep::{Look, Seen};
pub use deliveries::{After, DELIVERIES_PAGE_MAX, Parcel, Receipt};
pub use environments::ENVIRONMENTS_MAX;
pub use error::Error;
pub use exchange::{Exchange, Notice};
pub use follow_up::FOLLOW_UPS_MAX;
pub use idempotency::IDEMPOTENCY_KEY_BYTES_MAX;
pub use identities::{Identity, Newcomer};
pub use listing::TASKS_PAGE_MAX;
pub use log::{EVENT_BYTES_MAX, Line, LogEnd, PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
pub use machines::QueueRules;
pub use purge::{Gone, Step};
pub use queue::Presence;
pub use secrets::{SECRETS_BYTES_MAX, SECRETS_MAX, SealedSecret};
pub use sessions::{Opening, SESSIONS_MAX, Session};
pub use spending::{USAGE_ROWS_MAX, UsageQuery};
pub use tokens::{Bearer, TOKENS_MAX};
pub use turns::{BATCH_EVENTS_MAX, Claim, Expected, Recorded, Renewal};
pub use webhooks::{EARLIER_SECRETS_MAX, Overlap, WEBHOOKS_MAX};

type Connection = sqlx::AnyConnection;
type Row = sqlx::any::AnyRow;
type Transaction = sqlx::Transaction<'static, sqlx::Any>;

/// The database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    dialect: Dialect,
    /// Over SQLite one connection, so that writers queue here in order instead of meeting `SQLITE_BUSY`.
    writer: AnyPool,
    /// A few; they never wait for a writer.
    readers: AnyPool,
    /// Where the exchange is, over Postgres.
    address: Option<Address>,
}

impl Store {
    /// A transaction in which what was read and locked ([`dialect::locking`]) stays true until it commits.
    async fn write(&self) -> Result<Transaction, Error> {
        Ok(self.writer.begin_with(self.dialect.begin()).await?)
    }

    /// Ends all connections in good order. Nothing depends on it: what was accepted is on disk.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
