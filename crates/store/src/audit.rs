//! The audit log: entries in a chain, each written in the transaction of the change that it tells.
//!
//! A line holds the digest of the line before it, so a change to any of them breaks the chain from there on. Whoever can
//! write to the database can also write a whole new chain; against that, keep a head elsewhere and compare it later.

use legwork_domain::{Actor, AuditEntry, AuditFault, AuditPage, AuditVerdict, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row as _;

use crate::dialect::{Lock, locking};
use crate::turn_row::{column, number, text};
use crate::{Connection, Error, Store, Transaction};

/// Entries of one page.
pub const AUDIT_PAGE_MAX: u32 = 100;

/// Lines that a check reads at a time.
const VERIFY_LINES: i64 = 1000;

/// What the first entry names as the one before.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Who, by which right.
    pub actor: Actor,
    /// The server's clock.
    pub at: Timestamp,
}

/// What was done.
pub(crate) struct Change {
    action: &'static str,
    target: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    pub(crate) fn of(action: &'static str, target: &impl ToString) -> Self {
        Self { action, target: target.to_string(), before: None, after: None }
    }

    pub(crate) fn before(self, before: &impl Serialize) -> Result<Self, Error> {
        Ok(Self { before: Some(value(before)?), ..self })
    }

    pub(crate) fn before_any(self, before: Option<&impl Serialize>) -> Result<Self, Error> {
        Ok(Self { before: before.map(value).transpose()?, ..self })
    }

    pub(crate) fn after(self, after: &impl Serialize) -> Result<Self, Error> {
        Ok(Self { after: Some(value(after)?), ..self })
    }
}

fn value(of: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(of)
        .map_err(|error| Error::Invalid(format!("It cannot be written as JSON: {error}.")))
}

/// Lets no other change with an entry go on until the transaction ends.
pub(crate) async fn lock(connection: &mut Connection) -> Result<(), Error> {
    let select = locking(connection, "SELECT id FROM audit_head WHERE id = 1", Lock::Wait);
    sqlx::query(select).fetch_one(connection).await?;
    Ok(())
}

/// Adds an entry in the caller's transaction.
pub(crate) async fn record(connection: &mut Connection, act: &Act, change: Change) -> Result<(), Error> {
    let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, digest")
        .fetch_one(&mut *connection)
        .await?;
    let Change { action, target, before, after } = change;
    let entry = AuditEntry {
        seq: number(&head, "seq")?,
        at: act.at,
        actor: act.actor,
        action: action.to_owned(),
        target,
        before,
        after,
        previous: head.try_get("digest")?,
    };
    let line = text(&entry)?;
    let digest = digest(&line);
    sqlx::query("INSERT INTO audit (seq, line, digest) VALUES ($1, $2, $3)")
        .bind(column(entry.seq)?)
        .bind(line)
        .bind(digest.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE audit_head SET digest = $1 WHERE id = 1").bind(digest).execute(connection).await?;
    Ok(())
}

fn digest(line: &str) -> String {
    hex::encode(Sha256::digest(line))
}

impl Store {
    /// A write transaction for a change that gets an entry. One at a time, so that what it reads stays true.
    pub(crate) async fn audited(&self) -> Result<Transaction, Error> {
        let mut transaction = self.write().await?;
        lock(&mut transaction).await?;
        Ok(transaction)
    }

    /// The newest entries, or the newest before entry `before`; at most [`AUDIT_PAGE_MAX`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] if an entry was damaged.
    pub async fn audit(&self, before: Option<u64>) -> Result<AuditPage, Error> {
        let before = before.map_or(Ok(i64::MAX), column)?;
        let rows = sqlx::query("SELECT line FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2")
            .bind(before)
            .bind(i64::from(AUDIT_PAGE_MAX))
            .fetch_all(&self.readers)
            .await?;
        let entries = rows.iter().map(|row| crate::turn_row::json(row, "line"));
        let entries = entries.collect::<Result<Vec<AuditEntry>, _>>()?;
        let next = entries.last().map(|entry| entry.seq).filter(|seq| *seq > 1);
        Ok(AuditPage { entries, next })
    }

    /// Reads the whole log and checks that each entry is the one that was written, in its place.
    ///
    /// # Errors
    /// As every read. A log that was tampered with is no error but a verdict with a fault.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, Error> {
        let mut connection = self.readers.acquire().await?;
        let mut chain = Chain { seq: 0, digest: NO_DIGEST.to_owned() };
        // Before the lines: what is added meanwhile is then no fault.
        let head = sqlx::query("SELECT seq, digest FROM audit_head WHERE id = 1")
            .fetch_one(&mut *connection)
            .await?;
        let end: u64 = number(&head, "seq")?;
        loop {
            let rows = sqlx::query(
                "SELECT seq, line, digest FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3",
            )
            .bind(column(chain.seq)?)
            .bind(column(end)?)
            .bind(VERIFY_LINES)
            .fetch_all(&mut *connection)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                if let Err(what) =
                    chain.follow(number(row, "seq")?, row.try_get("line")?, row.try_get("digest")?)
                {
                    return Ok(chain.broken(&what));
                }
            }
        }
        if chain.seq != end || chain.digest != head.try_get::<&str, _>("digest")? {
            return Ok(chain.broken("the entries that follow it are gone"));
        }
        Ok(AuditVerdict { entries: chain.seq, head: chain.digest, fault: None })
    }
}

/// How far the log was found whole.
struct Chain {
    seq: u64,
    digest: String,
}

impl Chain {
    fn follow(&mut self, seq: u64, line: &str, stored: &str) -> Result<(), String> {
        if seq != self.seq + 1 {
            return Err(format!("the next entry is {seq}: what was between is gone"));
        }
        let entry: AuditEntry =
            serde_json::from_str(line).map_err(|_| format!("entry {seq} cannot be read"))?;
        if entry.seq != seq || entry.previous != self.digest {
            return Err(format!("entry {seq} does not follow it"));
        }
        if digest(line) != stored {
            return Err(format!("entry {seq} is not what was written"));
        }
        self.seq = seq;
        stored.clone_into(&mut self.digest);
        Ok(())
    }

    fn broken(self, what: &str) -> AuditVerdict {
        let fault = AuditFault { seq: self.seq + 1, what: format!("After entry {}: {what}.", self.seq) };
        AuditVerdict { entries: self.seq, head: self.digest, fault: Some(fault) }
    }
}
