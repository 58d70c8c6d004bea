//! Taking a task: task, attempts, first turns and their first events in one transaction.

use legwork_domain::{
    Attempt, AttemptId, AttemptView, EventKind, NewEvent, NewTask, Period, Repository, RepositoryId, Spender,
    State, Task, TaskId, TaskView, Turn, TurnId, Usage, title_of,
};
use sha2::{Digest, Sha256};
use sqlx::Row as _;

use crate::access::know;
use crate::audit::Act;
use crate::turn_row::{TurnRow, id, text};
use crate::{Connection, Error, Store, blobs, budgets, log, read};

/// Longest idempotency key, as the drafts and the well-known APIs have it.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The ids that a new task will have, drawn by the caller.
#[derive(Clone, Debug)]
pub struct TaskIds {
    task: TaskId,
    repository: RepositoryId,
    attempts: Vec<(AttemptId, TurnId)>,
}

impl TaskIds {
    /// Ids for a task of so many attempts; `next` draws a number that was never drawn before.
    pub fn draw(attempts: u8, mut next: impl FnMut() -> u128) -> Self {
        let (task, repository) = (TaskId::from_u128(next()), RepositoryId::from_u128(next()));
        let pair = |_| (AttemptId::from_u128(next()), TurnId::from_u128(next()));
        Self { task, repository, attempts: (0..attempts).map(pair).collect() }
    }
}

/// How a request for a task came.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Who, and when.
    pub act: Act,
    /// The idempotency key that came with it. Keys are their sender's: two people may use the same one.
    pub key: Option<&'a str>,
}

impl Store {
    /// Accepts a task. With a key that came with the same request before, the task of that time is the answer and
    /// nothing is written.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a sentence for the sender; [`Error::KeyReused`].
    pub async fn create_task(
        &self,
        request: NewTask,
        sent: Sent<'_>,
        ids: &TaskIds,
    ) -> Result<TaskView, Error> {
        request.validate().map_err(Error::Invalid)?;
        if sent.key.is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
            return Err(Error::Invalid(format!(
                "An idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes."
            )));
        }
        let key = sent.key.map(|key| format!("{}/{key}", sent.act.actor.user));
        let key = key.as_deref();
        let digest = hex::encode(Sha256::digest(text(&request)?));
        let mut transaction = self.write().await?;
        if let Some(key) = key
            && let Some(task) = earlier(&mut transaction, key, &digest).await?
        {
            return read::task(&mut transaction, task).await;
        }
        let view = new_task(request, ids, &sent.act);
        insert(&mut transaction, &view, ids.repository, &sent.act).await?;
        if let Some(key) = key
            && !keep(&mut transaction, key, &digest, &view.task).await?
        {
            // Another server took the key since: what it made is committed, and ours is not.
            transaction.rollback().await?;
            let mut connection = self.readers.acquire().await?;
            let task = earlier(&mut connection, key, &digest).await?;
            let task = task.ok_or(Error::Busy(sqlx::Error::RowNotFound))?;
            return read::task(&mut connection, task).await;
        }
        transaction.commit().await?;
        Ok(view)
    }
}

/// Whether the key is the task's now. Waits for a transaction that has it already and may still fail.
async fn keep(connection: &mut Connection, key: &str, digest: &str, task: &Task) -> Result<bool, Error> {
    let kept = sqlx::query(
        "INSERT INTO idempotency (key, digest, task, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(key)
    .bind(digest)
    .bind(task.id.to_string())
    .bind(task.created_at.micros())
    .execute(connection)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The task that the key made before.
async fn earlier(connection: &mut Connection, key: &str, digest: &str) -> Result<Option<TaskId>, Error> {
    let row = sqlx::query("SELECT digest, task FROM idempotency WHERE key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    match row {
        None => Ok(None),
        Some(row) if row.try_get::<&str, _>("digest")? == digest => id(&row, "task").map(Some),
        Some(_) => Err(Error::KeyReused),
    }
}

fn new_task(request: NewTask, ids: &TaskIds, act: &Act) -> TaskView {
    let title = title_of(&request.prompt);
    let task = Task {
        id: ids.task,
        title,
        created_at: act.at,
        created_by: act.actor.user,
        archived_at: None,
        forked_from: None,
        request,
    };
    let attempts = (1..).zip(&ids.attempts).map(|(number, (attempt, turn))| AttemptView {
        attempt: Attempt { id: *attempt, task: task.id, number },
        turns: vec![Turn {
            id: *turn,
            task: task.id,
            attempt: *attempt,
            number: 1,
            input: task.request.prompt.clone(),
            images: task.request.images.clone(),
            created_at: act.at,
            epoch: 0,
            tries: 0,
            cancel_requested_at: None,
            usage: Usage::default(),
            state: State::Queued,
        }],
    });
    TaskView { attempts: attempts.collect(), task }
}

async fn insert(
    connection: &mut Connection,
    view: &TaskView,
    repository: RepositoryId,
    act: &Act,
) -> Result<(), Error> {
    let task = &view.task;
    let url = task.request.source.repository.clone();
    let named = Repository { id: repository, url, created_at: act.at, created_by: act.actor.user };
    know(connection, named, act).await?;
    sqlx::query(
        "INSERT INTO tasks (id, created_at, created_by, repository, body) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(task.id.to_string())
    .bind(task.created_at.micros())
    .bind(task.created_by.to_string())
    .bind(task.request.source.repository.as_str())
    .bind(text(task)?)
    .execute(&mut *connection)
    .await?;
    blobs::of_task(connection, task.id, &task.request.images).await?;
    if let Some(limit) = task.request.budget {
        budgets::put(connection, Spender::Task(task.id), Period::Total, limit).await?;
    }
    for AttemptView { attempt, turns } in &view.attempts {
        sqlx::query("INSERT INTO attempts (id, task, number, last_seq) VALUES ($1, $2, $3, 0)")
            .bind(attempt.id.to_string())
            .bind(attempt.task.to_string())
            .bind(i64::from(attempt.number))
            .execute(&mut *connection)
            .await?;
        for turn in turns {
            TurnRow::new(turn.clone(), task.created_by).insert(connection, task).await?;
            let kind = EventKind::State { turn: turn.id, state: State::Queued };
            log::append(connection, attempt.id, vec![NewEvent { at: turn.created_at, kind }]).await?;
        }
    }
    Ok(())
}
