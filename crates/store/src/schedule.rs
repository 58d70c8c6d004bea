//! Which queued turn goes next: fair between people, then by priority and age, and only where the worker has what it
//! needs.
//!
//! Turns of one person that need the same labels stand in one line, which has an index. The heads of all lines are found
//! by jumping from line to line, so it costs the same whether ten turns wait in them or ten thousand.

use std::collections::{BTreeSet, HashMap};

use legwork_domain::{Timestamp, TurnId};
use sqlx::Row as _;

use crate::dialect::{Lock, locking};
use crate::turn_row::{id, json, number};
use crate::turns::Claim;
use crate::{Connection, Error, Row};

/// Lines that are looked at: people times sets of labels.
const LINES_MAX: i64 = 2000;

/// The queued turns of one person that need the same labels.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) owner: String,
    /// As the column has them.
    pub(crate) key: String,
    pub(crate) labels: BTreeSet<String>,
    /// Turns of the person that workers have.
    pub(crate) live: u32,
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
    Ok(in_order(lines(connection).await?, claim).first().map(|line| line.head))
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
    const HEAD: &str = "SELECT id FROM turns WHERE state_name = 'queued' AND ready = 1 AND owner = $1 AND labels = $2 \
                        ORDER BY priority DESC, created_at, id LIMIT 1";
    if let Some(task) = claim.task {
        return of_task(connection, &task.to_string(), claim, lock).await;
    }
    for line in in_order(lines(connection).await?, claim) {
        if !has_room(connection, &line.owner, claim).await? {
            continue;
        }
        let row = sqlx::query(locking(connection, HEAD, lock))
            .bind(line.owner)
            .bind(line.key)
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
    const QUEUED: &str = "SELECT id, labels FROM turns WHERE state_name = 'queued' AND ready = 1 AND task = $1 \
                          ORDER BY created_at, id";
    let rows = sqlx::query(locking(connection, QUEUED, lock)).bind(task).fetch_all(connection).await?;
    for row in &rows {
        if fits(&json(row, "labels")?, claim) {
            return id(row, "id").map(Some);
        }
    }
    Ok(None)
}

/// The lines that the worker can serve: those of the person with the fewest live turns first; of two such persons, of who
/// waits longer; of one person by priority and age.
fn in_order(lines: Vec<Line>, claim: &Claim) -> Vec<Line> {
    let most = claim.user_turns_max.unwrap_or(u32::MAX);
    let mut lines: Vec<Line> =
        lines.into_iter().filter(|line| line.live < most && fits(&line.labels, claim)).collect();
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

fn fits(labels: &BTreeSet<String>, claim: &Claim) -> bool {
    labels.iter().all(|label| claim.labels.contains(label))
}

/// Whether the person may have one more live turn. Holds until the transaction ends: other servers wait.
async fn has_room(connection: &mut Connection, owner: &str, claim: &Claim) -> Result<bool, Error> {
    let Some(most) = claim.user_turns_max else { return Ok(true) };
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

/// All lines, each with its head.
pub(crate) async fn lines(connection: &mut Connection) -> Result<Vec<Line>, Error> {
    let rows = sqlx::query(
        "WITH RECURSIVE lines (owner, labels) AS ( \
         SELECT (SELECT owner FROM turns WHERE state_name = 'queued' AND ready = 1 ORDER BY owner, labels LIMIT 1), \
         (SELECT labels FROM turns WHERE state_name = 'queued' AND ready = 1 ORDER BY owner, labels LIMIT 1) \
         UNION ALL SELECT \
         (SELECT t.owner FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND (t.owner, t.labels) > (l.owner, l.labels) ORDER BY t.owner, t.labels LIMIT 1), \
         (SELECT t.labels FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND (t.owner, t.labels) > (l.owner, l.labels) ORDER BY t.owner, t.labels LIMIT 1) \
         FROM lines l WHERE l.owner IS NOT NULL), \
         heads AS (SELECT l.owner, l.labels, (SELECT t.id FROM turns t WHERE t.state_name = 'queued' AND t.ready = 1 \
         AND t.owner = l.owner AND t.labels = l.labels ORDER BY t.priority DESC, t.created_at, t.id LIMIT 1) AS head \
         FROM lines l WHERE l.owner IS NOT NULL LIMIT $1) \
         SELECT h.owner, h.labels, t.id, t.priority, t.created_at, \
         (SELECT COUNT(*) FROM turns r WHERE r.lease_until IS NOT NULL AND r.owner = h.owner) AS live \
         FROM heads h JOIN turns t ON t.id = h.head",
    )
    .bind(LINES_MAX)
    .fetch_all(connection)
    .await?;
    rows.iter().map(line).collect()
}

fn line(row: &Row) -> Result<Line, Error> {
    Ok(Line {
        owner: row.try_get("owner")?,
        key: row.try_get("labels")?,
        labels: json(row, "labels")?,
        live: number(row, "live")?,
        head: id(row, "id")?,
        priority: row.try_get("priority")?,
        since: Timestamp::from_micros(row.try_get("created_at")?),
    })
}
