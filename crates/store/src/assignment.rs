//! Everything that a worker needs, rebuilt from the log.

use legwork_domain::{Assignment, Attempt, AttemptId, ContextChange, Event, EventKind, Lease, Pins, Saved};

use crate::budgets::{self, Spenders};
use crate::turn_row::{TurnRow, json, number};
use crate::{Connection, Error, Store, generation, messages, read};

/// What a log says to the next worker.
#[derive(Default)]
pub(crate) struct Resume {
    pub(crate) history: Vec<serde_json::Value>,
    pins: Pins,
    pub(crate) layers: Vec<String>,
    pub(crate) layers_at: u64,
    pub(crate) live: Option<String>,
    /// What the server has of the files.
    pub(crate) saved: Option<Saved>,
    /// How many entries of the history that has seen.
    pub(crate) saved_at: u64,
}

pub(crate) async fn build(
    connection: &mut Connection,
    row: TurnRow,
    lease: Lease,
) -> Result<Assignment, Error> {
    let spending = budgets::bounds(connection, Spenders::from(&row)).await?;
    let turn = row.turn;
    let task = read::record(connection, turn.task).await?;
    let attempt = attempt(connection, turn.attempt).await?;
    let Resume { history, mut pins, layers, layers_at, live, saved, saved_at } =
        resume(connection, turn.attempt).await?;
    pins.generation = generation::of(connection, &task.request.source.repository).await?;
    let messages = messages::to_hear(connection, turn.id).await?;
    let next_item = next_item(connection, turn.attempt).await?;
    Ok(Assignment {
        lease,
        task,
        attempt,
        turn,
        history,
        pins,
        layers,
        layers_at,
        live,
        saved,
        saved_at,
        messages,
        // The store has them sealed; whoever has the key adds them.
        secrets: Vec::new(),
        next_item,
        spending,
    })
}

pub(crate) async fn attempt(connection: &mut Connection, id: AttemptId) -> Result<Attempt, Error> {
    let row = sqlx::query("SELECT id, task, number FROM attempts WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Error::NotFound { what: "attempt", id: id.to_string() })?;
    read::attempt(&row)
}

impl Store {
    /// The URLs of what is laid beside an attempt's checkout.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn extra_repositories(&self, id: AttemptId) -> Result<Vec<String>, Error> {
        let mut connection = self.readers.acquire().await?;
        let Attempt { task, .. } = attempt(&mut connection, id).await?;
        let task = read::record(&mut connection, task).await?;
        Ok(task.request.environment.repositories.into_iter().map(|extra| extra.url).collect())
    }
}

/// The log, folded.
pub(crate) async fn resume(connection: &mut Connection, attempt: AttemptId) -> Result<Resume, Error> {
    let mut resume = Resume::default();
    for event in steps(connection, attempt).await? {
        resume.apply(event.kind);
    }
    Ok(resume)
}

/// The few kinds of events that matter to who goes on, which have indexes of their own: the cost does not grow with the
/// output that the log holds.
pub(crate) async fn steps(connection: &mut Connection, attempt: AttemptId) -> Result<Vec<Event>, Error> {
    const STEPS: [&str; 2] = [
        "SELECT line FROM events WHERE attempt = $1 AND kind IN ('base', 'context', 'snapshot') ORDER BY seq",
        "SELECT line FROM events WHERE attempt = $1 AND kind = 'patch' ORDER BY seq",
    ];
    let mut steps: Vec<Event> = Vec::new();
    for query in STEPS {
        let rows = sqlx::query(query).bind(attempt.to_string()).fetch_all(&mut *connection).await?;
        for row in &rows {
            steps.push(json(row, "line")?);
        }
    }
    steps.sort_by_key(|event| event.seq);
    Ok(steps)
}

impl Resume {
    pub(crate) fn apply(&mut self, kind: EventKind) {
        match kind {
            EventKind::Context { context, .. } => {
                if context.change == ContextChange::Replace {
                    // None of the new entries is one that the layers have seen.
                    (self.layers_at, self.saved_at) = (0, 0);
                }
                context.apply(&mut self.history);
            }
            // The first base holds: later patches are against it.
            EventKind::Base { commit, image, repositories, .. } => {
                if self.pins.commit.is_none() {
                    self.pins = Pins { commit: Some(commit), image, repositories, generation: 0 };
                }
            }
            EventKind::Snapshot { layers, live, saved, .. } => {
                self.layers_at = self.history.len() as u64;
                // Without layers the attempt begins anew.
                if saved.is_some() || layers.is_empty() {
                    (self.saved, self.saved_at) = (saved, self.layers_at);
                }
                (self.layers, self.live) = (layers, live);
            }
            // It is made of the layers that the last snapshot names.
            EventKind::Patch { patch, .. } => {
                (self.saved, self.saved_at) = (Some(Saved { patch: Some(patch) }), self.layers_at);
            }
            EventKind::State { .. }
            | EventKind::ItemStarted { .. }
            | EventKind::ItemUpdated { .. }
            | EventKind::ItemCompleted { .. }
            | EventKind::Usage { .. }
            | EventKind::Verdict { .. }
            | EventKind::Artifact { .. }
            | EventKind::Connection { .. } => {}
        }
    }
}

async fn next_item(connection: &mut Connection, attempt: AttemptId) -> Result<u32, Error> {
    let row = sqlx::query(
        "SELECT COALESCE(MAX(item), 0) + 1 AS next FROM events WHERE attempt = $1 AND item IS NOT NULL",
    )
    .bind(attempt.to_string())
    .fetch_one(connection)
    .await?;
    number(&row, "next")
}
