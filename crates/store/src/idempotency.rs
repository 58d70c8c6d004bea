//! One key, one effect: what a call with an idempotency key made is what the same call gets again.

use legwork_domain::{TaskId, Timestamp, Trust};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::Row as _;

use crate::dialect::one_at_a_time;
use crate::turn_row::{number, text};
use crate::{Connection, Error, Sent};

/// Longest idempotency key, as the drafts and the well-known APIs have it.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A call that may come again: its key, which is its sender's, and the digest of what it asks.
pub(crate) struct Call {
    key: Option<String>,
    digest: String,
}

impl Call {
    /// `asks` is all that makes two calls the same.
    pub(crate) fn new(sent: &Sent<'_>, asks: &impl Serialize) -> Result<Self, Error> {
        if sent.key.is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
            return Err(Error::Invalid(format!(
                "An idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes."
            )));
        }
        let key = sent.key.map(|key| format!("{}/{key}", sent.act.actor.user));
        let mut digest = Sha256::new_with_prefix(text(asks)?);
        // The same words of an outsider ask for something else.
        if sent.trust() == Trust::Outsider {
            digest.update("outsider");
        }
        Ok(Self { key, digest: hex::encode(digest.finalize()) })
    }

    /// The id of what the same call made before. The first thing that a transaction asks: of calls that come with one key
    /// at the same moment, each waits here until the one before it has committed or failed, and so sees what it made.
    pub(crate) async fn made(&self, connection: &mut Connection) -> Result<Option<String>, Error> {
        let Some(key) = &self.key else { return Ok(None) };
        one_at_a_time(connection, &format!("idempotency/{key}")).await?;
        let row = sqlx::query("SELECT i.digest, COALESCE(i.made, i.task) AS made, (SELECT COUNT(*) FROM tasks t WHERE t.id = i.task \
             AND t.deleted_at IS NOT NULL) AS deleted FROM idempotency i WHERE i.key = $1",
        )
            .bind(key.as_str())
            .fetch_optional(connection)
            .await?;
        match row {
            None => Ok(None),
            Some(row) if row.try_get::<&str, _>("digest")? != self.digest => Err(Error::KeyReused),
            Some(row) if number::<u64>(&row, "deleted")? > 0 => {
                let sentence =
                    "What this call made belongs to a task that was deleted. Take a new key to make it anew.";
                Err(Error::conflict("task_deleted", sentence))
            }
            Some(row) => Ok(Some(row.try_get("made")?)),
        }
    }

    /// Notes what the call made. `false`: a server of an earlier version, which does not wait for others, took the key since,
    /// and this call must undo what it did; sent again, it gets what that one made.
    pub(crate) async fn keep(
        &self,
        connection: &mut Connection,
        task: TaskId,
        made: &impl ToString,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(key) = &self.key else { return Ok(true) };
        // Waits for a transaction that has the key already and may still fail.
        let kept = sqlx::query(
            "INSERT INTO idempotency (key, digest, task, made, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (key) DO NOTHING",
        )
        .bind(key.as_str())
        .bind(self.digest.as_str())
        .bind(task.to_string())
        .bind(made.to_string())
        .bind(now.micros())
        .execute(connection)
        .await?;
        Ok(kept.rows_affected() == 1)
    }
}

/// What a call hears whose key another one took at the same moment: the same call again gets the answer.
pub(crate) fn taken_meanwhile() -> Error {
    Error::Busy(sqlx::Error::RowNotFound)
}
