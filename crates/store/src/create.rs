//! Taking a task: task, attempts, first turns and their first events in one transaction.

use legwork_domain::{
    Access, Attempt, AttemptId, AttemptView, EventKind, NewEvent, NewTask, Period, Repository, RepositoryId,
    Spender, State, Task, TaskId, TaskView, Trust, Turn, TurnId, Usage, title_of,
};

use crate::access::{self, know};
use crate::audit::Act;
use crate::deliveries::{self, News};
use crate::idempotency::{Call, taken_meanwhile};
use crate::turn_row::{Ready, TurnRow, parsed, text};
use crate::{Connection, Error, Store, blobs, budgets, environments, listing, log, queue, read};

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

    pub(crate) const fn repository(&self) -> RepositoryId {
        self.repository
    }
}

/// How a request for a task came.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Who, and when.
    pub act: Act,
    /// The idempotency key that came with it. Keys are their sender's: two people may use the same one.
    pub key: Option<&'a str>,
    /// Turns that its sender may have in the queue with it; `None`: any number.
    pub queued_max: Option<u32>,
    /// What its sender may do; `None`: all, for it is the server itself.
    pub access: Option<&'a Access>,
}

impl Sent<'_> {
    /// How far its sender is trusted, by the token that it came with.
    pub(crate) const fn trust(&self) -> Trust {
        match self.access {
            Some(access) => access.trust(),
            None => Trust::Member,
        }
    }
}

impl Store {
    /// Accepts a task. With a key that came with the same request before, the task of that time is the answer and
    /// nothing is written.
    ///
    /// # Errors
    /// [`Error::Invalid`] with a sentence for the sender; [`Error::KeyReused`].
    pub async fn create_task(
        &self,
        mut request: NewTask,
        sent: Sent<'_>,
        ids: &TaskIds,
    ) -> Result<TaskView, Error> {
        request.trust = request.trust.lowered_by(sent.trust());
        request.validate().map_err(Error::Invalid)?;
        let call = Call::new(&sent, &request)?;
        let mut transaction = self.write().await?;
        if let Some(task) = call.made(&mut transaction).await? {
            return read::task(&mut transaction, parsed(&task)?).await;
        }
        queue::room(&mut transaction, &sent, request.attempts.into()).await?;
        if !request.environment.repositories.is_empty() {
            let sentence = "A task names no repositories beside its own: that is for a team's stored recipe. Keep one: legwork env set default.";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let request = environments::resolve(&mut transaction, request, sent.act.actor.user).await?;
        access::may_use_extras(&mut transaction, &request.environment, sent.access).await?;
        // The two together must hold as well.
        request.validate().map_err(Error::Invalid)?;
        let view = new_task(request, ids, &sent.act);
        insert(&mut transaction, &view, ids.repository, &sent.act).await?;
        if !call.keep(&mut transaction, view.task.id, &view.task.id, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        listing::commit(transaction, view.task.id, sent.act.at).await?;
        Ok(view)
    }
}

pub(crate) fn new_task(request: NewTask, ids: &TaskIds, act: &Act) -> TaskView {
    let title = title_of(&request.prompt);
    let task = Task {
        id: ids.task,
        title,
        created_at: act.at,
        created_by: act.actor.user,
        archived_at: None,
        forked_from: None,
        version: 1,
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
    TaskView { attempts: attempts.collect(), task, queue: Vec::new() }
}

pub(crate) async fn insert(
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
    listing::insert(connection, task).await?;
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
            TurnRow::new(turn.clone(), task.created_by).insert(connection, task, Ready::Now).await?;
            let kind = EventKind::State { turn: turn.id, state: State::Queued };
            log::append(connection, attempt.id, vec![NewEvent { at: turn.created_at, kind }]).await?;
        }
    }
    deliveries::announce(connection, News::of_task(task.id, act.at)).await
}
