//! What is left of deleted tasks, and blobs that nothing uses any more: taken away in the background, in parts that are
//! bounded, so that no call of anybody waits for them.
//!
//! A blob whose last use has ended is written down (`blobs_unused`). Whoever uses it again takes it off that list in the
//! transaction that notes the use; the collector holds the list's row while it looks for uses and removes the bytes. So a
//! blob is never removed under somebody who has just named it.

use legwork_domain::{BlobId, TaskId, Timestamp};
use sqlx::Row as _;

use crate::dialect::{Lock, locking};
use crate::turn_row::id;
use crate::{Connection, Error, Row, Store};

/// Events that one step takes away: some milliseconds of the write lock.
const EVENTS_MAX: i64 = 1000;

/// Blobs, and uses of blobs, that one step looks at.
const BLOBS_MAX: i64 = 100;

/// What a step of taking away has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// There was nothing left to do.
    Done,
}

/// Whether a blob's bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// They are not there any more.
    Yes,
    /// They could not be removed: the next look tries again.
    NotYet,
}

impl Store {
    /// Takes away a part of what tasks held that were deleted before `before`, the oldest first; of each the log first. A
    /// task whose worker has not ended its turn yet waits.
    ///
    /// # Errors
    /// As every write.
    pub async fn purge(&self, before: Timestamp, now: Timestamp) -> Result<Step, Error> {
        let row = sqlx::query(
            "SELECT id FROM tasks t WHERE deleted_at <= $1 AND NOT EXISTS ( \
             SELECT 1 FROM turns u WHERE u.task = t.id AND u.state_name <> 'finished') ORDER BY deleted_at, id LIMIT 1",
        )
        .bind(before.micros())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(Step::Done) };
        let task: TaskId = id(&row, "id")?;
        let mut transaction = self.write().await?;
        let events = sqlx::query(
            "DELETE FROM events WHERE (attempt, seq) IN (SELECT e.attempt, e.seq FROM events e \
             JOIN attempts a ON a.id = e.attempt WHERE a.task = $1 LIMIT $2)",
        )
        .bind(task.to_string())
        .bind(EVENTS_MAX)
        .execute(&mut *transaction)
        .await?;
        if events.rows_affected() == 0 {
            remove(&mut transaction, task, now).await?;
        }
        transaction.commit().await?;
        Ok(Step::More)
    }

    /// Ends uploads that were kept for their time and that no task names.
    ///
    /// # Errors
    /// As every write.
    pub async fn end_uploads(&self, now: Timestamp) -> Result<Step, Error> {
        let rows = sqlx::query(
            "SELECT blob, used_by FROM (SELECT blob, used_by FROM blob_uses WHERE kept_until < $1 \
             ORDER BY kept_until LIMIT $2) ended ORDER BY blob",
        )
        .bind(now.micros())
        .bind(BLOBS_MAX)
        .fetch_all(&self.readers)
        .await?;
        if rows.is_empty() {
            return Ok(Step::Done);
        }
        let mut transaction = self.write().await?;
        for row in &rows {
            let blob: &str = row.try_get("blob")?;
            unused(&mut transaction, blob, now).await?;
            sqlx::query("DELETE FROM blob_uses WHERE blob = $1 AND used_by = $2 AND kept_until < $3")
                .bind(blob)
                .bind(row.try_get::<&str, _>("used_by")?)
                .bind(now.micros())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Step::More)
    }

    /// Blobs of which a use has ended, those of long ago first; at most 100.
    ///
    /// # Errors
    /// As every read.
    pub async fn unused_blobs(&self) -> Result<Vec<BlobId>, Error> {
        let rows = sqlx::query("SELECT blob FROM blobs_unused ORDER BY since, blob LIMIT $1")
            .bind(BLOBS_MAX)
            .fetch_all(&self.readers)
            .await?;
        let blob = |row: &Row| -> Result<BlobId, Error> {
            let text: &str = row.try_get("blob")?;
            text.parse().map_err(|error| Error::corrupt("blob")(Box::new(error)))
        };
        rows.iter().map(blob).collect()
    }

    /// Has a blob's bytes removed by `removal`, unless something uses it. It is polled only while nobody can begin to use the
    /// blob.
    ///
    /// # Errors
    /// As every write; the bytes may be gone then, and the next look finds that out.
    pub async fn collect_blob(
        &self,
        blob: &BlobId,
        removal: impl Future<Output = Gone>,
    ) -> Result<(), Error> {
        const LISTED: &str = "SELECT blob FROM blobs_unused WHERE blob = $1";
        let mut transaction = self.write().await?;
        let listed = sqlx::query(locking(&transaction, LISTED, Lock::Wait))
            .bind(blob.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        if listed.is_none() {
            return Ok(());
        }
        let used = sqlx::query("SELECT blob FROM blob_uses WHERE blob = $1 LIMIT 1")
            .bind(blob.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        if used.is_none() && removal.await == Gone::NotYet {
            return Ok(());
        }
        sqlx::query("DELETE FROM blobs_unused WHERE blob = $1")
            .bind(blob.to_string())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// Takes away all of a task but its log, which is gone already, and what was spent on it, which stays counted.
async fn remove(connection: &mut Connection, task: TaskId, now: Timestamp) -> Result<(), Error> {
    let uses = sqlx::query("SELECT blob FROM blob_uses WHERE used_by = $1 ORDER BY blob")
        .bind(task.to_string())
        .fetch_all(&mut *connection)
        .await?;
    for row in &uses {
        unused(connection, row.try_get("blob")?, now).await?;
    }
    for statement in [
        "DELETE FROM blob_uses WHERE used_by = $1",
        "DELETE FROM messages WHERE turn IN (SELECT id FROM turns WHERE task = $1)",
        "DELETE FROM reservations WHERE turn IN (SELECT id FROM turns WHERE task = $1)",
        "DELETE FROM budgets WHERE spender = $1",
        "DELETE FROM idempotency WHERE task = $1",
        "DELETE FROM seen WHERE task = $1",
        "DELETE FROM listings WHERE task = $1",
        "DELETE FROM turns WHERE task = $1",
        "DELETE FROM attempts WHERE task = $1",
        "DELETE FROM tasks WHERE id = $1",
    ] {
        sqlx::query(statement).bind(task.to_string()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Writes down that a use of a blob ends; whether it was the last is looked at when it is collected.
async fn unused(connection: &mut Connection, blob: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query("INSERT INTO blobs_unused (blob, since) VALUES ($1, $2) ON CONFLICT (blob) DO NOTHING")
        .bind(blob)
        .bind(now.micros())
        .execute(connection)
        .await?;
    Ok(())
}
