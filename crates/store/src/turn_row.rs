//! A turn between its row and [`Turn`].

use std::collections::BTreeSet;

use legwork_domain::{AttemptId, MachineId, Task, TaskId, Timestamp, Trust, Turn, TurnId, UserId};
use serde::de::DeserializeOwned;
use sqlx::Row as _;

use crate::dialect::{Lock, locking};
use crate::{Connection, Error, Row, machines};

/// All columns by name: a prepared `SELECT *` fails once another server's migration has added one.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, task, attempt, number, created_at, input, images, epoch, tries, cancel_requested_at, ",
            "state, usage, received, revision, owner, metered_at, machine, outsider FROM turns ",
            $rest
        )
    };
}

const OF_TASKS: &str = select!("WHERE task BETWEEN $1 AND $2 ORDER BY attempt, number");

/// A turn as it stood when the transaction read it.
#[derive(Debug)]
pub(crate) struct TurnRow {
    pub(crate) turn: Turn,
    /// Events that came under the present epoch.
    pub(crate) received: u64,
    /// Who asked for the turn and pays for it.
    pub(crate) owner: UserId,
    /// Until when the time of the present lease is counted.
    pub(crate) metered_at: Option<Timestamp>,
    /// That of the present lease, or else of the attempt's files.
    pub(crate) machine: Option<MachineId>,
    /// An outsider's: whatever worker has the turn got it as such. A member's may be leased as an outsider's since.
    pub(crate) trust: Trust,
    /// Rises with each write.
    pub(crate) revision: i64,
}

/// Whether a turn may be leased as soon as it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// When the attempt's earlier turns have ended.
    AfterEarlier = 0,
    /// At once.
    Now = 1,
}

/// What the row keeps of a turn's present lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// Events that came under it.
    pub(crate) received: u64,
    /// Until when its time is counted.
    pub(crate) metered_at: Option<Timestamp>,
    /// Its worker's; where there is none, that of the attempt's files.
    pub(crate) machine: Option<MachineId>,
}

impl TurnRow {
    /// A turn that no worker had yet.
    pub(crate) fn new(turn: Turn, owner: UserId) -> Self {
        Self { turn, received: 0, owner, metered_at: None, machine: None, trust: Trust::Member, revision: 0 }
    }

    /// The turn, locked for the transaction.
    pub(crate) async fn load(connection: &mut Connection, id: TurnId) -> Result<Self, Error> {
        Self::get(connection, id, Lock::Wait).await
    }

    /// The turn, where only reading is allowed or [`Lock::None`] is enough.
    pub(crate) async fn get(connection: &mut Connection, id: TurnId, lock: Lock) -> Result<Self, Error> {
        let row = sqlx::query(locking(connection, select!("WHERE id = $1"), lock))
            .bind(id.to_string())
            .fetch_optional(connection)
            .await?
            .ok_or_else(|| Error::NotFound { what: "turn", id: id.to_string() })?;
        Self::read(&row)
    }

    /// The turns of all tasks from `oldest` to `newest`.
    pub(crate) async fn load_tasks(
        connection: &mut Connection,
        oldest: TaskId,
        newest: TaskId,
    ) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query(OF_TASKS)
            .bind(oldest.to_string())
            .bind(newest.to_string())
            .fetch_all(connection)
            .await?;
        rows.iter().map(Self::read).collect()
    }

    /// The turns of one attempt.
    pub(crate) async fn load_attempt(
        connection: &mut Connection,
        attempt: AttemptId,
    ) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query(select!("WHERE attempt = $1 ORDER BY number"))
            .bind(attempt.to_string())
            .fetch_all(connection)
            .await?;
        rows.iter().map(Self::read).collect()
    }

    /// The turns of one task without what was said to them, which may be long.
    pub(crate) async fn standings(connection: &mut Connection, task: TaskId) -> Result<Vec<Turn>, Error> {
        let rows = sqlx::query(
            "SELECT id, task, attempt, number, created_at, '\"\"' AS input, '[]' AS images, epoch, tries, \
             cancel_requested_at, state, usage, received, revision, owner, metered_at, machine, outsider FROM turns \
             WHERE task = $1 ORDER BY attempt, number",
        )
        .bind(task.to_string())
        .fetch_all(connection)
        .await?;
        rows.iter().map(|row| Self::read(row).map(|row| row.turn)).collect()
    }

    /// The attempt's turns that have not ended, and the last one, locked for the transaction in their order: so no turn
    /// of it begins, ends or is added meanwhile.
    pub(crate) async fn lock_attempt(
        connection: &mut Connection,
        attempt: AttemptId,
    ) -> Result<Vec<Self>, Error> {
        const OPEN: &str = select!(
            "WHERE attempt = $1 AND (state_name <> 'finished' OR \
             number = (SELECT MAX(number) FROM turns WHERE attempt = $1)) ORDER BY number"
        );
        let rows = sqlx::query(locking(connection, OPEN, Lock::Wait))
            .bind(attempt.to_string())
            .fetch_all(connection)
            .await?;
        rows.iter().map(Self::read).collect()
    }

    /// The turns of one task, locked for the transaction.
    pub(crate) async fn load_task(connection: &mut Connection, task: TaskId) -> Result<Vec<Self>, Error> {
        let rows = sqlx::query(locking(connection, OF_TASKS, Lock::Wait))
            .bind(task.to_string())
            .bind(task.to_string())
            .fetch_all(connection)
            .await?;
        rows.iter().map(Self::read).collect()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        let turn = Turn {
            id: id::<TurnId>(row, "id")?,
            task: id(row, "task")?,
            attempt: id::<AttemptId>(row, "attempt")?,
            number: number(row, "number")?,
            input: json(row, "input")?,
            images: json(row, "images")?,
            created_at: Timestamp::from_micros(row.try_get("created_at")?),
            epoch: number(row, "epoch")?,
            tries: number(row, "tries")?,
            cancel_requested_at: row
                .try_get::<Option<i64>, _>("cancel_requested_at")?
                .map(Timestamp::from_micros),
            usage: json(row, "usage")?,
            state: json(row, "state")?,
        };
        Ok(Self {
            turn,
            received: number(row, "received")?,
            owner: id(row, "owner")?,
            metered_at: row.try_get::<Option<i64>, _>("metered_at")?.map(Timestamp::from_micros),
            machine: machines::named(row)?,
            trust: if number::<u64>(row, "outsider")? == 0 { Trust::Member } else { Trust::Outsider },
            revision: row.try_get("revision")?,
        })
    }

    /// The task gives what the scheduler looks at.
    pub(crate) async fn insert(
        &self,
        connection: &mut Connection,
        task: &Task,
        ready: Ready,
    ) -> Result<(), Error> {
        let turn = &self.turn;
        // Sorted, so that the same labels are one text.
        let labels: BTreeSet<&str> = task.request.labels.iter().map(String::as_str).collect();
        sqlx::query(
            "INSERT INTO turns (id, task, attempt, number, created_at, input, images, epoch, tries, \
             cancel_requested_at, state_name, state, lease_until, received, revision, usage, owner, priority, labels, ready, machine, outsider) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10, $11, NULL, 0, 0, $12, $13, $14, $15, $16, $17, $18)",
        )
        .bind(turn.id.to_string())
        .bind(turn.task.to_string())
        .bind(turn.attempt.to_string())
        .bind(i64::from(turn.number))
        .bind(turn.created_at.micros())
        .bind(text(&turn.input)?)
        .bind(text(&turn.images)?)
        .bind(column(turn.epoch)?)
        .bind(i64::from(turn.tries))
        .bind(turn.state.name())
        .bind(text(&turn.state)?)
        .bind(text(&turn.usage)?)
        .bind(self.owner.to_string())
        .bind(task.request.priority as i64)
        .bind(text(&labels)?)
        .bind(ready as i64)
        .bind(machines::word(self.machine))
        .bind(i64::from(task.request.trust == Trust::Outsider))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Sets the row to `next` if it is still the one that was read.
    pub(crate) async fn replace(
        &self,
        connection: &mut Connection,
        next: &Turn,
        tally: Tally,
    ) -> Result<(), Error> {
        let done = sqlx::query(
            "UPDATE turns SET epoch = $3, tries = $4, cancel_requested_at = $5, state_name = $6, state = $7, \
             lease_until = $8, received = $9, usage = $10, metered_at = $11, machine = $12, \
             revision = revision + 1 WHERE id = $1 AND revision = $2",
        )
        .bind(next.id.to_string())
        .bind(self.revision)
        .bind(column(next.epoch)?)
        .bind(i64::from(next.tries))
        .bind(next.cancel_requested_at.map(Timestamp::micros))
        .bind(next.state.name())
        .bind(text(&next.state)?)
        .bind(next.state.lease().map(|lease| lease.until.micros()))
        .bind(column(tally.received)?)
        .bind(text(&next.usage)?)
        .bind(tally.metered_at.map(Timestamp::micros))
        .bind(machines::word(tally.machine))
        .execute(connection)
        .await?;
        // The row is locked since before the read, so a miss means that the lock did not hold.
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Busy(sqlx::Error::RowNotFound)) }
    }
}

pub(crate) fn id<T>(row: &Row, name: &str) -> Result<T, Error>
where
    T: std::str::FromStr<Err = legwork_domain::IdError>,
{
    parsed(row.try_get(name)?)
}

/// An id that was kept as text.
pub(crate) fn parsed<T>(text: &str) -> Result<T, Error>
where
    T: std::str::FromStr<Err = legwork_domain::IdError>,
{
    text.parse().map_err(|error| Error::corrupt("id")(Box::new(error)))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row, name: &str) -> Result<T, Error> {
    let text: &str = row.try_get(name)?;
    serde_json::from_str(text).map_err(|error| Error::corrupt("document")(Box::new(error)))
}

pub(crate) fn number<T: TryFrom<i64>>(row: &Row, name: &str) -> Result<T, Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(row.try_get(name)?).map_err(|error| Error::corrupt("number")(Box::new(error)))
}

/// The JSON text of a value of ours.
pub(crate) fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Invalid(format!("It cannot be written as JSON: {error}.")))
}

/// A count as a column holds it.
pub(crate) fn column(count: u64) -> Result<i64, Error> {
    i64::try_from(count).map_err(|_| Error::Invalid(format!("{count} is beyond any real count.")))
}
