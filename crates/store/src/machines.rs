//! Which machine has an attempt's files, and whether it is still waited for.
//!
//! A machine is a data directory of workers. What an attempt's turns leave lies in one, so its next turn goes there for as
//! long as a worker of that machine that could take it asks for work or has a turn. One that was not heard of for some time
//! is waited for no longer: the turn then goes on elsewhere, from what the server has.

use std::collections::{BTreeMap, BTreeSet};

use legwork_domain::{AttemptId, EventKind, Kind, MachineId, NewEvent, State, Timestamp, Turn, WorkerId};
use sqlx::Row as _;

use crate::turn_row::{TurnRow, id, json, number, parsed};
use crate::{Connection, Error, Row, assignment, read};

/// Workers of one machine that are looked at, those that asked last first: a start of a worker is a new one.
const WORKERS_MAX: i64 = 100;

/// Workers that are looked at to see which machines are there: many times what one server serves.
const LATELY_MAX: i64 = 10_000;

/// A machine that was not heard of for so long, and none of whose workers has a turn, is silent. Servers note who waits in a
/// call every ten seconds.
pub(crate) const SILENT_MS: u64 = 20_000;

/// What an operator decides about the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// Live turns that one person may have; `None`: any number. Not looked at for one task.
    pub user_turns_max: Option<u32>,
    /// How long a turn waits for a machine that is not heard of.
    pub files_wait_ms: u64,
}

impl QueueRules {
    /// The earliest time at which a machine that is still waited for was heard of.
    fn since(self, now: Timestamp) -> Timestamp {
        now.plus_ms(-i64::try_from(self.files_wait_ms).unwrap_or(i64::MAX / 2000))
    }
}

/// Whether a turn waits for the machine of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// One of its workers that could take the turn was heard of then.
    Around {
        /// When.
        heard_at: Timestamp,
    },
    /// It is not waited for (any more).
    Gone,
}

/// A worker that was heard of.
struct Heard {
    id: WorkerId,
    labels: BTreeSet<String>,
    at: Timestamp,
}

/// How the machine stands for a turn that needs these labels.
pub(crate) async fn standing(
    connection: &mut Connection,
    machine: MachineId,
    labels: &BTreeSet<String>,
    (rules, now): (QueueRules, Timestamp),
) -> Result<Standing, Error> {
    let workers: Vec<Heard> = workers(connection, machine)
        .await?
        .into_iter()
        .filter(|worker| labels.is_subset(&worker.labels))
        .collect();
    let last = workers.iter().map(|worker| worker.at).max();
    if let Some(heard_at) = last.filter(|at| now.ms_since(*at) <= rules.files_wait_ms.min(SILENT_MS)) {
        return Ok(Standing::Around { heard_at });
    }
    // A worker whose slots are all taken does not ask, and is not silent for that.
    let busy = if workers.is_empty() { BTreeSet::new() } else { busy(connection, machine).await? };
    if workers.iter().any(|worker| busy.contains(&worker.id)) {
        return Ok(Standing::Around { heard_at: now });
    }
    let waited_for = last.filter(|at| *at >= rules.since(now));
    Ok(waited_for.map_or(Standing::Gone, |heard_at| Standing::Around { heard_at }))
}

/// Machines one of whose workers asked for work lately, with what each of these has: a look at all of them costs what a look
/// at one does. Others may be waited for too ([`standing`]).
#[derive(Default)]
pub(crate) struct Lately(BTreeMap<MachineId, Vec<BTreeSet<String>>>);

impl Lately {
    pub(crate) async fn read(
        connection: &mut Connection,
        (rules, now): (QueueRules, Timestamp),
    ) -> Result<Self, Error> {
        let rows = sqlx::query(
            "SELECT machine, labels FROM workers WHERE last_seen >= $1 AND machine <> '' \
             ORDER BY last_seen DESC LIMIT $2",
        )
        .bind(rules.since(now).micros())
        .bind(LATELY_MAX)
        .fetch_all(connection)
        .await?;
        let mut machines: BTreeMap<MachineId, Vec<BTreeSet<String>>> = BTreeMap::new();
        for row in &rows {
            if let Some(machine) = named(row)? {
                machines.entry(machine).or_default().push(json(row, "labels")?);
            }
        }
        Ok(Self(machines))
    }

    /// Whether a turn that needs these labels waits for the machine, as far as this tells.
    pub(crate) fn holds(&self, machine: MachineId, labels: &BTreeSet<String>) -> bool {
        self.0.get(&machine).is_some_and(|workers| workers.iter().any(|has| labels.is_subset(has)))
    }
}

async fn workers(connection: &mut Connection, machine: MachineId) -> Result<Vec<Heard>, Error> {
    let rows = sqlx::query(
        "SELECT id, labels, COALESCE(heard_at, last_seen) AS heard_at FROM workers WHERE machine = $1 \
         ORDER BY last_seen DESC, id LIMIT $2",
    )
    .bind(machine.to_string())
    .bind(WORKERS_MAX)
    .fetch_all(connection)
    .await?;
    let heard = |row: &Row| {
        let at = Timestamp::from_micros(row.try_get("heard_at")?);
        Ok(Heard { id: id(row, "id")?, labels: json(row, "labels")?, at })
    };
    rows.iter().map(heard).collect()
}

/// The machine's workers that have turns.
async fn busy(connection: &mut Connection, machine: MachineId) -> Result<BTreeSet<WorkerId>, Error> {
    let rows = sqlx::query("SELECT state FROM turns WHERE lease_until IS NOT NULL AND machine = $1")
        .bind(machine.to_string())
        .fetch_all(connection)
        .await?;
    let states = rows.iter().map(|row| json::<State>(row, "state")).collect::<Result<Vec<_>, _>>()?;
    Ok(states.iter().filter_map(State::lease).map(|lease| lease.worker).collect())
}

/// Notes that a worker was there until now, when a lease of it ends. One that asks for work says so itself.
pub(crate) async fn heard(connection: &mut Connection, worker: WorkerId, at: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE workers SET heard_at = $2 WHERE id = $1 AND last_seen < $2")
        .bind(worker.to_string())
        .bind(at.micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// Where the attempt's files are.
pub(crate) async fn of_attempt(
    connection: &mut Connection,
    attempt: AttemptId,
) -> Result<Option<MachineId>, Error> {
    let row = sqlx::query("SELECT machine FROM attempts WHERE id = $1")
        .bind(attempt.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Error::NotFound { what: "attempt", id: attempt.to_string() })?;
    named(&row)
}

/// Notes where the files are that a worker's events tell of, if they do. A question that is answered leaves none: what the next
/// one needs, any machine can make.
pub(crate) async fn told(
    connection: &mut Connection,
    (turn, machine): (&Turn, Option<MachineId>),
    events: &[NewEvent],
) -> Result<(), Error> {
    let tells = |event: &NewEvent| matches!(event.kind, EventKind::Snapshot { .. });
    if events.iter().any(tells) {
        put(connection, turn.attempt, machine).await?;
    }
    if turn.state.ended().is_some()
        && of_attempt(connection, turn.attempt).await?.is_some()
        && read::record(connection, turn.task).await?.request.kind == Kind::Ask
    {
        put(connection, turn.attempt, None).await?;
    }
    Ok(())
}

async fn put(
    connection: &mut Connection,
    attempt: AttemptId,
    machine: Option<MachineId>,
) -> Result<(), Error> {
    sqlx::query("UPDATE attempts SET machine = $2 WHERE id = $1")
        .bind(attempt.to_string())
        .bind(word(machine))
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets where the files are that the attempt's turns, none of which has begun, go on from.
pub(crate) async fn set(
    connection: &mut Connection,
    attempt: AttemptId,
    machine: Option<MachineId>,
) -> Result<(), Error> {
    put(connection, attempt, machine).await?;
    sqlx::query("UPDATE turns SET machine = $2 WHERE attempt = $1 AND state_name = 'queued'")
        .bind(attempt.to_string())
        .bind(word(machine))
        .execute(connection)
        .await?;
    Ok(())
}

/// Why the files that were last used then are known to be gone from where they were. `None`: they may be there.
pub(crate) async fn lost(
    connection: &mut Connection,
    machine: Option<MachineId>,
    (used, now): (Timestamp, Timestamp),
) -> Result<Option<String>, Error> {
    // Where nobody knows which machine it is, any may be.
    let row = sqlx::query(
        "SELECT COUNT(*) AS workers, COUNT(keeps_ms) AS told, COALESCE(MAX(keeps_ms), 0) AS kept FROM workers \
         WHERE $1 = '' OR machine = $1",
    )
    .bind(word(machine))
    .fetch_one(connection)
    .await?;
    let (workers, told, kept_ms): (u64, u64, u64) =
        (number(&row, "workers")?, number(&row, "told")?, number(&row, "kept")?);
    if workers == 0 && machine.is_some() {
        return Ok(Some("no worker of the machine that had them is known any more".to_owned()));
    }
    let over = workers > 0 && told == workers && now.ms_since(used) > kept_ms;
    Ok(over.then(|| format!("nothing has used them for {} hours", kept_ms / 3_600_000)))
}

/// Refuses where the files that the attempt's turns left are known to be gone and the server has nothing of them either.
pub(crate) async fn check_files(
    connection: &mut Connection,
    attempt: AttemptId,
    now: Timestamp,
) -> Result<(), Error> {
    let turns = TurnRow::load_attempt(connection, attempt).await?;
    let ends: Option<Vec<Timestamp>> =
        turns.iter().map(|row| row.turn.state.ended().map(|ended| ended.at)).collect();
    // A turn that has not ended uses them.
    let Some(used) = ends.and_then(|ends| ends.into_iter().max()) else { return Ok(()) };
    let machine = of_attempt(connection, attempt).await?;
    let Some(why) = lost(connection, machine, (used, now)).await? else { return Ok(()) };
    let left = assignment::resume(connection, attempt).await?;
    if left.saved.is_some() || left.layers.is_empty() || needs_none(connection, &turns).await? {
        return Ok(());
    }
    let sentence = format!(
        "The files that the attempt's turns left are no longer kept: {why}. They left no patch to go on from either. Try the last turn again from the start, or start a new task."
    );
    Err(Error::conflict("files_gone", sentence))
}

/// Whether the attempt's turns are questions, which go on from the checkout.
async fn needs_none(connection: &mut Connection, turns: &[TurnRow]) -> Result<bool, Error> {
    let Some(row) = turns.first() else { return Ok(true) };
    Ok(read::record(connection, row.turn.task).await?.request.kind == Kind::Ask)
}

/// As the columns have it.
pub(crate) fn word(machine: Option<MachineId>) -> String {
    machine.map(|machine| machine.to_string()).unwrap_or_default()
}

/// From the column `machine`.
pub(crate) fn named(row: &Row) -> Result<Option<MachineId>, Error> {
    let word: &str = row.try_get("machine")?;
    if word.is_empty() { Ok(None) } else { parsed(word).map(Some) }
}
