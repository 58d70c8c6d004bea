//! Which blobs belong to whom. The bytes are elsewhere; here is only who may read them.

use std::collections::BTreeSet;

use legwork_domain::{
    AttemptId, BlobId, EventKind, NewEvent, Patch, State, TaskId, Timestamp, UserId, Visible,
};

use crate::access::visible_words;
use crate::turn_row::{column, number};
use crate::{Connection, Error, Store};

/// Who uses a blob that is about to be named.
const HELD: &str = "upload";

/// How long such a blob is kept: longer than any turn or call that stores it before it names it.
const HELD_MS: i64 = DAY_MS;

/// How long what a user uploaded is kept that no task names: a draft that is taken up again after a weekend.
const UPLOAD_KEPT_MS: i64 = 7 * DAY_MS;

/// What an upload counts at least: its file, its directory's entry and its row take room however small it is.
const UPLOAD_BYTES_MIN: u64 = 64 * 1024;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Store {
    /// Keeps a blob for a day, whether it is there yet or not, and lets nobody read it: for who is about to store or name it.
    ///
    /// # Errors
    /// As every write.
    pub async fn hold_blob(&self, blob: &BlobId, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        note(&mut transaction, blob, HELD, Some(now.plus_ms(HELD_MS))).await?;
        Ok(transaction.commit().await?)
    }

    /// Notes that a user uploaded a blob, who may read it from then on. It is kept for a week, and longer if a task names it.
    ///
    /// # Errors
    /// As every write.
    pub async fn blob_uploaded(
        &self,
        blob: &BlobId,
        bytes: u64,
        user: UserId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        note(&mut transaction, blob, &user.to_string(), Some(now.plus_ms(UPLOAD_KEPT_MS))).await?;
        sqlx::query("UPDATE blob_uses SET bytes = $3 WHERE blob = $1 AND used_by = $2")
            .bind(blob.to_string())
            .bind(user.to_string())
            .bind(column(upload_weight(bytes))?)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Whether a user may upload this with all else that it uploads just now, which weighs so many `bytes` together, where all
    /// of its uploads that no task names may have `bytes_max`. One that it uploaded before takes no more room.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `too_many_uploads` if not.
    pub async fn room_for_upload(
        &self,
        blob: &BlobId,
        bytes: u64,
        user: UserId,
        bytes_max: u64,
    ) -> Result<(), Error> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(u.bytes), 0) AS BIGINT) AS bytes, \
             CAST(COALESCE(MAX(CASE WHEN u.blob = $2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS known FROM blob_uses u \
             WHERE u.used_by = $1 AND u.kept_until IS NOT NULL AND NOT EXISTS ( \
             SELECT 1 FROM blob_uses o WHERE o.blob = u.blob AND o.kept_until IS NULL)",
        )
        .bind(user.to_string())
        .bind(blob.to_string())
        .fetch_one(&self.readers)
        .await?;
        let used: u64 = number(&row, "bytes")?;
        if number::<u64>(&row, "known")? > 0 || used.saturating_add(bytes) <= bytes_max {
            return Ok(());
        }
        let sentence = format!(
            "Your uploads that no task names have {used} bytes, and {bytes_max} may. Hand over the tasks that they are for; \
             what is not named goes after a week."
        );
        Err(Error::conflict(Error::UPLOADS_FULL, sentence))
    }

    /// Whether a user who sees that much may read a blob: it uploaded it, or a task that it sees names it.
    ///
    /// # Errors
    /// As every read.
    pub async fn may_read_blob(&self, blob: &BlobId, user: UserId, visible: Visible) -> Result<bool, Error> {
        if visible == Visible::All {
            return Ok(true);
        }
        let (word, key) = visible_words(visible);
        let found = sqlx::query(
            "SELECT blob FROM blob_uses WHERE blob = $1 AND (used_by = $2 OR EXISTS ( \
             SELECT 1 FROM tasks t JOIN repositories r ON r.url = t.repository \
             WHERE t.id = used_by AND t.deleted_at IS NULL AND ( \
             ($3 = 'one' AND r.id = $4) OR \
             ($3 = 'granted' AND r.id IN (SELECT repository FROM grants WHERE holder = $4))))) LIMIT 1",
        )
        .bind(blob.to_string())
        .bind(user.to_string())
        .bind(word)
        .bind(key)
        .fetch_optional(&self.readers)
        .await?;
        Ok(found.is_some())
    }
}

/// What an upload of so many bytes counts.
#[must_use]
pub fn upload_weight(bytes: u64) -> u64 {
    bytes.max(UPLOAD_BYTES_MIN)
}

/// Notes that a task names blobs.
pub(crate) async fn of_task(
    connection: &mut Connection,
    task: TaskId,
    blobs: &[BlobId],
) -> Result<(), Error> {
    for blob in in_order(blobs) {
        note(connection, blob, &task.to_string(), None).await?;
    }
    Ok(())
}

/// Notes the blobs that an attempt's new events name.
pub(crate) async fn of_events(
    connection: &mut Connection,
    attempt: AttemptId,
    events: &[NewEvent],
) -> Result<(), Error> {
    for blob in in_order(events.iter().filter_map(|event| named(&event.kind))) {
        in_use(connection, blob).await?;
        sqlx::query(
            "INSERT INTO blob_uses (blob, used_by) SELECT $1, task FROM attempts WHERE id = $2 \
             ON CONFLICT (blob, used_by) DO NOTHING",
        )
        .bind(blob.to_string())
        .bind(attempt.to_string())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn note(
    connection: &mut Connection,
    blob: &BlobId,
    used_by: &str,
    kept_until: Option<Timestamp>,
) -> Result<(), Error> {
    in_use(connection, blob).await?;
    sqlx::query(
        "INSERT INTO blob_uses (blob, used_by, kept_until) VALUES ($1, $2, $3) ON CONFLICT (blob, used_by) DO UPDATE \
         SET kept_until = CASE WHEN blob_uses.kept_until IS NULL THEN NULL ELSE excluded.kept_until END",
    )
    .bind(blob.to_string())
    .bind(used_by)
    .bind(kept_until.map(Timestamp::micros))
    .execute(connection)
    .await?;
    Ok(())
}

/// Each once, in the order in which all who use several take hold of them ([`in_use`]).
fn in_order<'a>(blobs: impl IntoIterator<Item = &'a BlobId>) -> BTreeSet<&'a BlobId> {
    blobs.into_iter().collect()
}

/// Takes a blob off the list of those that may go; waits for who is about to remove it. Until the transaction ends, nobody
/// can put it there: so it is put there first, since a row that is not there cannot be held.
async fn in_use(connection: &mut Connection, blob: &BlobId) -> Result<(), Error> {
    for statement in [
        "INSERT INTO blobs_unused (blob, since) VALUES ($1, 0) ON CONFLICT (blob) DO UPDATE SET since = 0",
        "DELETE FROM blobs_unused WHERE blob = $1",
    ] {
        sqlx::query(statement).bind(blob.to_string()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The blob that an event names.
fn named(kind: &EventKind) -> Option<&BlobId> {
    match kind {
        EventKind::Artifact { blob, .. } => Some(blob),
        EventKind::Patch { patch, .. } => Some(&patch.blob),
        EventKind::Snapshot { saved, .. } => {
            saved.as_ref().and_then(|saved| saved.patch.as_ref()).map(|patch| &patch.blob)
        }
        EventKind::State { state, .. } => left(state).map(|patch| &patch.blob),
        EventKind::Base { .. }
        | EventKind::Connection { .. }
        | EventKind::ItemStarted { .. }
        | EventKind::ItemUpdated { .. }
        | EventKind::ItemCompleted { .. }
        | EventKind::Usage { .. }
        | EventKind::Context { .. }
        | EventKind::Verdict { .. } => None,
    }
}

/// The patch that a turn in this state has left.
const fn left(state: &State) -> Option<&Patch> {
    match state {
        State::Parked { patch, .. } => patch.as_ref(),
        State::Finished(ended) => ended.patch.as_ref(),
        State::Queued
        | State::Leased { .. }
        | State::Preparing { .. }
        | State::Running { .. }
        | State::Waiting { .. } => None,
    }
}
