//! What people do to a task beside its turns: name it, put it away, delete it.
//!
//! Deleting hides a task from everybody in the transaction that says so; what it held goes later, a bounded part at a time
//! (`purge`), so that a log of any length costs no call more than another.

use legwork_domain::{AttemptId, Task, TaskChange, TaskId, Timestamp};
use serde_json::json;

use crate::audit::{Act, Change};
use crate::dialect::{Lock, locking};
use crate::turn_row::{TurnRow, json, text};
use crate::turns::stop_all;
use crate::{Connection, Error, Store, audit, changes, listing, read};

impl Store {
    /// Names a task or puts it away. A change that changes nothing makes no version.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]; [`Error::Conflict`] with `other_version` if its version is none of those
    /// that were `seen`.
    pub async fn change_task(
        &self,
        id: TaskId,
        change: &TaskChange,
        seen: Option<&[u64]>,
        now: Timestamp,
    ) -> Result<Task, Error> {
        change.validate().map_err(Error::Invalid)?;
        let mut transaction = self.write().await?;
        let before = locked(&mut transaction, id).await?;
        Error::unless_seen(seen, before.version)?;
        let next = before.changed(change, now);
        if next == before {
            return Ok(next.without_login());
        }
        sqlx::query("UPDATE tasks SET body = $2, archived_at = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(text(&next)?)
            .bind(next.archived_at.map(Timestamp::micros))
            .execute(&mut *transaction)
            .await?;
        listing::describe(&mut transaction, &next).await?;
        transaction.commit().await?;
        Ok(next.without_login())
    }

    /// Deletes a task: its turns are asked to stop, and nobody sees it any more. Gives back its attempts, whose workers and
    /// watchers are to be told.
    ///
    /// # Errors
    /// [`Error::NotFound`], also the second time; [`Error::Conflict`] with `other_version` if its version is none of those
    /// that were `seen`.
    pub async fn delete_task(
        &self,
        id: TaskId,
        seen: Option<&[u64]>,
        act: &Act,
    ) -> Result<Vec<AttemptId>, Error> {
        let mut transaction = self.audited().await?;
        let task = locked(&mut transaction, id).await?;
        Error::unless_seen(seen, task.version)?;
        // The locks first: a turn that is added while they are waited for is in the second look, and later ones are refused.
        TurnRow::load_task(&mut transaction, id).await?;
        stop_all(&mut transaction, id, act.at).await?;
        let view = read::task(&mut transaction, id).await?;
        sqlx::query("UPDATE tasks SET deleted_at = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(act.at.micros())
            .execute(&mut *transaction)
            .await?;
        for statement in ["DELETE FROM seen WHERE task = $1", "DELETE FROM listings WHERE task = $1"] {
            sqlx::query(statement).bind(id.to_string()).execute(&mut *transaction).await?;
        }
        let repository = &task.request.source.repository;
        // Not its words: what is deleted must not stay in a log that nobody can change.
        let told = json!({
            "repository": repository, "created_at": task.created_at, "created_by": task.created_by,
        });
        audit::record(&mut transaction, act, Change::of("task.delete", &id).before(&told)?).await?;
        changes::tell(&mut transaction, id, repository).await?;
        transaction.commit().await?;
        Ok(view.attempts.into_iter().map(|view| view.attempt.id).collect())
    }
}

/// The task, locked for the transaction.
pub(crate) async fn locked(connection: &mut Connection, id: TaskId) -> Result<Task, Error> {
    const TASK: &str = "SELECT body FROM tasks WHERE id = $1 AND deleted_at IS NULL";
    let row = sqlx::query(locking(connection, TASK, Lock::Wait))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| read::missing(id))?;
    json(&row, "body")
}
