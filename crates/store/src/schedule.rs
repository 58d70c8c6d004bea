//! Which queued turn goes next: fair between people, then by priority and age, and only where the worker has what it
//! needs, its files first of all.
//!
//! Turns that need the same labels and whose files are on the same machine stand in one queue, of which there are few; those of
//! one person in it are a line. There is an index for that, and the heads of all lines that a worker may take are found by
//! jumping from line to line: so it costs the same whether ten turns wait in them or ten thousand, and other machines'
//! lines cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use legwork_domain::{MachineId, Timestamp, TurnId};
use sqlx::{AssertSqlSafe, Row as _};

use crate::dialect::{Lock, locking};
use crate::machines::{self, Lately, Standing};
use crate::turn_row::{id, json, number};
use crate::turns::Claim;
use crate::{Connection, Error, Row};

/// Queues that are looked at: machines times sets of labels.
const QUEUES_MAX: i64 = 500;

/// Lines that are looked at: queues that the worker may serve times people.
const LINES_MAX: i64 = 2000;

/// Queues whose lines one statement reads. A worker serves a few: those without files, its machine's, and those of machines
/// that are gone.
const QUEUES_AT_ONCE: usize = 16;

/// What a worker must have to take certain turns.
#[derive(Clone, Debug)]
struct Queue {
    /// Where their files are.
    machine: Option<MachineId>,
    /// As the column has them.
    key: String,
    labels: BTreeSet<String>,
}

/// The queued turns of one person in one queue.
#[derive(Debug)]
struct Line {
    owner: String,
    /// As the columns have them.
    machine: String,
    labels: String,
    /// Turns of the person that workers have.
    live: u32,
    /// Its first turn.
    head: TurnId,
    priority: i64,
    since: Timestamp,
}

/// The turn that is next for the worker, as things stand now.
pub(crate) async fn look(connection: &mut Connection, claim: &Claim) -> Result<Option<TurnId>, Error> {
    if let Some(task) = claim.task {
        return of_task(connection, &task.to_string(), claim, Lock::None).await;
    }
    Ok(in_order(lines(connection, claim).await?, claim).first().map(|line| line.head))
}

/// The turn that is next for the worker, locked. One that nobody else holds, if there is; else it waits, since who holds
/// it (to cancel it, or in a write that was given up) may leave it queued.
pub(crate) async fn take(connection: &mut Connection, claim: &Claim) -> Result<Option<TurnId>, Error> {
    for lock in [Lock::Skip, Lock::Wait] {
        if let Some(turn) = try_take(connection, claim, lock).await? {
            return Ok(Some(turn));
        }
    }
    Ok(None)
}

async fn try_take(connection: &mut Connection, claim: &Claim, lock: Lock) -> Result<Option<TurnId>, Error> {
    const HEAD: &str = "SELECT id FROM turns WHERE state_name = 'queued' AND ready = 1 AND machine = $1 \
                        AND labels = $2 AND owner = $3 ORDER BY priority DESC, created_at, id LIMIT 1";
    if let Some(task) = claim.task {
        return of_task(connection, &task.to_string(), claim, lock).await;
    }
    for line in in_order(lines(connection, claim).await?, claim) {
        if !has_room(connection, &line.owner, claim).await? {
            continue;
        }
        let row = sqlx::query(locking(connection, HEAD, lock))
            .bind(line.machine)
            .bind(line.labels)
            .bind(line.owner)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = row {
            return id(&row, "id").map(Some);
        }
    }
    Ok(None)
}

/// The oldest turn of the one task that the worker is there for; neither fairness nor limits matter to it.
async fn of_task(
    connection: &mut Connection,
    task: &str,
    claim: &Claim,
    lock: Lock,
) -> Result<Option<TurnId>, Error> {
    const QUEUED: &str = "SELECT id, labels, machine FROM turns WHERE state_name = 'queued' AND ready = 1 AND task = $1 \
                          ORDER BY created_at, id";
    let query = sqlx::query(locking(connection, QUEUED, lock)).bind(task);
    for row in &query.fetch_all(&mut *connection).await? {
        if may_take(connection, &queue(row)?, claim).await? {
            return id(row, "id").map(Some);
        }
    }
    Ok(None)
}

/// The lines that the worker can serve: those of the person with the fewest live turns first; of two such persons, of who
/// waits longer; of one person by priority and age.
fn in_order(lines: Vec<Line>, claim: &Claim) -> Vec<Line> {
    let most = claim.rules.user_turns_max.unwrap_or(u32::MAX);
    let mut lines: Vec<Line> = lines.into_iter().filter(|line| line.live < most).collect();
    let mut since: HashMap<String, Timestamp> = HashMap::new();
    for line in &lines {
        let oldest = since.entry(line.owner.clone()).or_insert(line.since);
        *oldest = line.since.min(*oldest);
    }
    lines.sort_by(|a, b| {
        let of = |line: &Line| {
            (
                line.live,
                since.get(&line.owner).copied(),
                line.owner.clone(),
                -line.priority,
                line.since,
                line.head,
            )
        };
        of(a).cmp(&of(b))
    });
    lines
}

/// Whether the worker has what the queue's turns need. Files that are elsewhere are nothing to wait for once their machine
/// is gone.
async fn may_take(connection: &mut Connection, queue: &Queue, claim: &Claim) -> Result<bool, Error> {
    if !queue.labels.iter().all(|label| claim.labels.contains(label)) {
        return Ok(false);
    }
    match queue.machine.filter(|machine| Some(*machine) != claim.machine) {
        None => Ok(true),
        Some(machine) => {
            let present = (claim.rules, claim.term.now);
            Ok(machines::standing(connection, machine, &queue.labels, present).await? == Standing::Gone)
        }
    }
}

/// Whether the person may have one more live turn. Holds until the transaction ends: other servers wait.
async fn has_room(connection: &mut Connection, owner: &str, claim: &Claim) -> Result<bool, Error> {
    let Some(most) = claim.rules.user_turns_max else { return Ok(true) };
    sqlx::query(
        "INSERT INTO limited (owner) VALUES ($1) ON CONFLICT (owner) DO UPDATE SET owner = excluded.owner",
    )
    .bind(owner.to_owned())
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query("SELECT COUNT(*) AS live FROM turns WHERE owner = $1 AND lease_until IS NOT NULL")
        .bind(owner.to_owned())
        .fetch_one(connection)
        .await?;
    Ok(number::<u32>(&row, "live")? < most)
}

/// The lines that the worker may serve, each with its head.
async fn lines(connection: &mut Connection, claim: &Claim) -> Result<Vec<Line>, Error> {
    let queues = queues(connection).await?;
    let elsewhere = |queue: &Queue| queue.machine.filter(|machine| Some(*machine) != claim.machine);
    let lately = match queues.iter().any(|queue| elsewhere(queue).is_some()) {
        true => Lately::read(connection, (claim.rules, claim.term.now)).await?,
        false => Lately::default(),
    };
    let mut served = Vec::new();
    for queue in queues {
        let is_held = elsewhere(&queue).is_some_and(|machine| lately.holds(machine, &queue.labels));
        if !is_held && may_take(connection, &queue, claim).await? {
            served.push(queue);
        }
    }
    if served.is_empty() {
        return Ok(Vec::new());
    }
    let live = live(connection).await?;
    let mut lines = Vec::new();
    for some in served.chunks(QUEUES_AT_ONCE) {
        let mut query = sqlx::query(AssertSqlSafe(heads(some.len())));
        for queue in some {
            query = query.bind(machines::word(queue.machine)).bind(queue.key.clone());
        }
        let rows = query.bind(LINES_MAX).fetch_all(&mut *connection).await?;
        for row in &rows {
            lines.push(line(row, &live)?);
        }
    }
    Ok(lines)
}

/// All queues in which a turn waits. One column is jumped over at a time: SQLite would read a whole queue to pass it by a
/// comparison of two.
async fn queues(connection: &mut Connection) -> Result<Vec<Queue>, Error> {
    let rows = sqlx::query(
        "WITH RECURSIVE machines (machine) AS ( \
         SELECT (SELECT machine FROM turns WHERE state_name = 'queued' AND ready = 1 ORDER BY machine LIMIT 1) \
         UNION ALL SELECT (SELECT t.machine FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine > m.machine ORDER BY t.machine LIMIT 1) FROM machines m WHERE m.machine IS NOT NULL), \
         queues (machine, labels) AS ( \
         SELECT m.machine, (SELECT t.labels FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine = m.machine ORDER BY t.labels LIMIT 1) FROM machines m WHERE m.machine IS NOT NULL \
         UNION ALL SELECT q.machine, (SELECT t.labels FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine = q.machine AND t.labels > q.labels ORDER BY t.labels LIMIT 1) \
         FROM queues q WHERE q.labels IS NOT NULL) \
         SELECT machine, labels FROM queues WHERE labels IS NOT NULL LIMIT $1",
    )
    .bind(QUEUES_MAX)
    .fetch_all(connection)
    .await?;
    rows.iter().map(queue).collect()
}

fn queue(row: &Row) -> Result<Queue, Error> {
    Ok(Queue { machine: machines::named(row)?, key: row.try_get("labels")?, labels: json(row, "labels")? })
}

/// How many turns of each person workers have.
pub(crate) async fn live(connection: &mut Connection) -> Result<BTreeMap<String, u32>, Error> {
    let rows =
        sqlx::query("SELECT owner, COUNT(*) AS live FROM turns WHERE lease_until IS NOT NULL GROUP BY owner")
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row| Ok((row.try_get("owner")?, number(row, "live")?))).collect()
}

/// The statement that reads the heads of so many queues' lines.
fn heads(queues: usize) -> String {
    let mut named = String::new();
    for n in 0..queues {
        let comma = if n == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(named, "{comma}(${}, ${})", 2 * n + 1, 2 * n + 2);
    }
    format!(
        "WITH RECURSIVE queues (machine, labels) AS (VALUES {named}), \
         lines (machine, labels, owner) AS ( \
         SELECT q.machine, q.labels, (SELECT t.owner FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine = q.machine AND t.labels = q.labels ORDER BY t.owner LIMIT 1) FROM queues q \
         UNION ALL SELECT l.machine, l.labels, (SELECT t.owner FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine = l.machine AND t.labels = l.labels AND t.owner > l.owner ORDER BY t.owner LIMIT 1) \
         FROM lines l WHERE l.owner IS NOT NULL), \
         heads (head) AS (SELECT (SELECT t.id FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.machine = l.machine AND t.labels = l.labels AND t.owner = l.owner \
         ORDER BY t.priority DESC, t.created_at, t.id LIMIT 1) \
         FROM lines l WHERE l.owner IS NOT NULL LIMIT ${}) \
         SELECT t.id, t.machine, t.labels, t.owner, t.priority, t.created_at FROM heads h JOIN turns t ON t.id = h.head",
        2 * queues + 1
    )
}

fn line(row: &Row, live: &BTreeMap<String, u32>) -> Result<Line, Error> {
    let owner: String = row.try_get("owner")?;
    Ok(Line {
        live: live.get(&owner).copied().unwrap_or(0),
        owner,
        machine: row.try_get("machine")?,
        labels: row.try_get("labels")?,
        head: id(row, "id")?,
        priority: row.try_get("priority")?,
        since: Timestamp::from_micros(row.try_get("created_at")?),
    })
}
