//! Reading tasks back.

use std::collections::HashMap;

use legwork_domain::{Attempt, AttemptId, AttemptView, Task, TaskId, TaskView, Turn};

use crate::turn_row::{TurnRow, id, json, number};
use crate::{Connection, Error, Row, Store};

impl Store {
    /// A task with its attempts and turns.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn task(&self, id: TaskId) -> Result<TaskView, Error> {
        task(&mut *self.readers.acquire().await?, id).await
    }
}

pub(crate) async fn task(connection: &mut Connection, id: TaskId) -> Result<TaskView, Error> {
    let task = record(connection, id).await?;
    let views = with_attempts(connection, vec![task]).await?;
    views.into_iter().next().ok_or_else(|| missing(id))
}

pub(crate) fn missing(id: TaskId) -> Error {
    Error::NotFound { what: "task", id: id.to_string() }
}

/// The task alone.
pub(crate) async fn record(connection: &mut Connection, id: TaskId) -> Result<Task, Error> {
    let row = sqlx::query("SELECT body FROM tasks WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| missing(id))?;
    json(&row, "body")
}

/// Whether nobody has deleted the task.
pub(crate) async fn is_there(connection: &mut Connection, id: TaskId) -> Result<bool, Error> {
    let row = sqlx::query("SELECT id FROM tasks WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Adds the attempts and turns of neighbouring tasks, newest first, in two queries however many there are.
async fn with_attempts(connection: &mut Connection, tasks: Vec<Task>) -> Result<Vec<TaskView>, Error> {
    let (Some(newest), Some(oldest)) = (tasks.first(), tasks.last()) else {
        return Ok(Vec::new());
    };
    let rows = sqlx::query(
        "SELECT id, task, number FROM attempts WHERE task BETWEEN $1 AND $2 ORDER BY task, number",
    )
    .bind(oldest.id.to_string())
    .bind(newest.id.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let mut attempts: HashMap<TaskId, Vec<AttemptView>> = HashMap::new();
    let mut turns = turns(connection, oldest.id, newest.id).await?;
    for row in &rows {
        let attempt = attempt(row)?;
        let turns = turns.remove(&attempt.id).unwrap_or_default();
        attempts.entry(attempt.task).or_default().push(AttemptView { attempt, turns });
    }
    let view = |task: Task| TaskView {
        attempts: attempts.remove(&task.id).unwrap_or_default(),
        task: task.without_login(),
        queue: Vec::new(),
    };
    Ok(tasks.into_iter().map(view).collect())
}

async fn turns(
    connection: &mut Connection,
    oldest: TaskId,
    newest: TaskId,
) -> Result<HashMap<AttemptId, Vec<Turn>>, Error> {
    let mut turns: HashMap<AttemptId, Vec<Turn>> = HashMap::new();
    for row in TurnRow::load_tasks(connection, oldest, newest).await? {
        turns.entry(row.turn.attempt).or_default().push(row.turn);
    }
    Ok(turns)
}

/// Needs the columns `id`, `task` and `number`.
pub(crate) fn attempt(row: &Row) -> Result<Attempt, Error> {
    Ok(Attempt { id: id(row, "id")?, task: id(row, "task")?, number: number(row, "number")? })
}
