//! Which blobs belong to whom. The bytes are elsewhere; here is only who may read them.

use legwork_domain::{AttemptId, BlobId, EventKind, NewEvent, Patch, State, TaskId, UserId, Visible};

use crate::access::visible_words;
use crate::{Connection, Error, Store};

impl Store {
    /// Notes that a user uploaded a blob, who may read it from then on. A second time changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn blob_uploaded(&self, blob: &BlobId, user: UserId) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        note(&mut transaction, blob, &user.to_string()).await?;
        Ok(transaction.commit().await?)
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
             SELECT 1 FROM tasks t JOIN repositories r ON r.url = t.repository WHERE t.id = used_by AND ( \
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

/// Notes that a task names blobs.
pub(crate) async fn of_task(
    connection: &mut Connection,
    task: TaskId,
    blobs: &[BlobId],
) -> Result<(), Error> {
    for blob in blobs {
        note(connection, blob, &task.to_string()).await?;
    }
    Ok(())
}

/// Notes the blobs that an attempt's new events name.
pub(crate) async fn of_events(
    connection: &mut Connection,
    attempt: AttemptId,
    events: &[NewEvent],
) -> Result<(), Error> {
    for blob in events.iter().filter_map(|event| named(&event.kind)) {
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

async fn note(connection: &mut Connection, blob: &BlobId, used_by: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO blob_uses (blob, used_by) VALUES ($1, $2) ON CONFLICT (blob, used_by) DO NOTHING",
    )
    .bind(blob.to_string())
    .bind(used_by)
    .execute(connection)
    .await?;
    Ok(())
}

/// The blob that an event names.
fn named(kind: &EventKind) -> Option<&BlobId> {
    match kind {
        EventKind::Artifact { blob, .. } => Some(blob),
        EventKind::Patch { patch, .. } => Some(&patch.blob),
        EventKind::State { state, .. } => left(state).map(|patch| &patch.blob),
        EventKind::Base { .. }
        | EventKind::ItemStarted { .. }
        | EventKind::ItemUpdated { .. }
        | EventKind::ItemCompleted { .. }
        | EventKind::Usage { .. }
        | EventKind::Context { .. }
        | EventKind::Snapshot { .. }
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
