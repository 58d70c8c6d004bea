//! Reading tasks back.

use std::collections::HashMap;

use legwork_domain::{Attempt, AttemptId, AttemptView, Task, TaskId, TaskList, TaskView, Turn, Visible};

use crate::access::visible_words;
use crate::turn_row::{TurnRow, id, json, number};
use crate::{Connection, Error, Row, Store};

/// Tasks of one page: a screen or two, and with the largest prompts some megabytes.
pub const TASKS_PAGE_MAX: u32 = 50;

impl Store {
    /// A task with its attempts and turns.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn task(&self, id: TaskId) -> Result<TaskView, Error> {
        task(&mut *self.readers.acquire().await?, id).await
    }

    /// Of the tasks that a caller sees, the newest, or the newest that are older than `before`; at most [`TASKS_PAGE_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn tasks(
        &self,
        visible: Visible,
        before: Option<TaskId>,
        limit: u32,
    ) -> Result<TaskList, Error> {
        let limit = limit.clamp(1, TASKS_PAGE_MAX);
        let mut connection = self.readers.acquire().await?;
        // Any id sorts before this: its prefix ends in the character after the underscore.
        let before = before.map_or_else(|| "task`".to_owned(), |task| task.to_string());
        let (word, key) = visible_words(visible);
        let rows = sqlx::query(
            "SELECT body FROM tasks WHERE id < $1 AND ($2 = 'all' OR \
             ($2 = 'one' AND repository = (SELECT url FROM repositories WHERE id = $3)) OR \
             ($2 = 'granted' AND repository IN (SELECT r.url FROM grants g JOIN repositories r ON r.id = g.repository \
             WHERE g.holder = $3))) ORDER BY id DESC LIMIT $4",
        )
        .bind(before)
        .bind(word)
        .bind(key)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *connection)
        .await?;
        let more = rows.len() > limit as usize;
        let page = rows.iter().take(limit as usize).map(|row| json(row, "body"));
        let page = page.collect::<Result<Vec<Task>, _>>()?;
        let tasks = with_attempts(&mut connection, page).await?;
        let next = tasks.last().filter(|_| more).map(|view| view.task.id.to_string());
        Ok(TaskList { tasks, next })
    }
}

pub(crate) async fn task(connection: &mut Connection, id: TaskId) -> Result<TaskView, Error> {
    let task = record(connection, id).await?;
    let views = with_attempts(connection, vec![task]).await?;
    views.into_iter().next().ok_or_else(|| missing(id))
}

fn missing(id: TaskId) -> Error {
    Error::NotFound { what: "task", id: id.to_string() }
}

/// The task alone.
pub(crate) async fn record(connection: &mut Connection, id: TaskId) -> Result<Task, Error> {
    let row = sqlx::query("SELECT body FROM tasks WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| missing(id))?;
    json(&row, "body")
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
    let view = |task: Task| TaskView { attempts: attempts.remove(&task.id).unwrap_or_default(), task };
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
