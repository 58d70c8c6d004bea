//! Where queued turns stand and why, and who asks for work.

use std::collections::{BTreeMap, BTreeSet};

use legwork_domain::{
    AttemptView, Hold, MachineId, QueuePlace, State, TaskView, Timestamp, Turn, TurnId, TurnView, WorkerId,
    WorkerList, WorkerRecord,
};
use sqlx::Row as _;

use crate::dialect::{Lock, one_at_a_time};
use crate::machines::{self, QueueRules, SILENT_MS, Standing};
use crate::turn_row::{TurnRow, column, id, json, number, text};
use crate::{Connection, Error, Row, Sent, Store, schedule};

/// A worker that asked for work within this time counts: the longest wait of one call and a margin.
const LATELY_MS: i64 = 60_000;

/// How long a worker that does not ask any more is remembered.
const FORGOTTEN_MS: i64 = 24 * 60 * 60 * 1000;

/// A worker's record is written anew after this time, so that short waits do not become writes.
const TOUCH_MS: i64 = 10_000;

/// Workers of one list.
const WORKERS_MAX: i64 = 1000;

/// What a worker says of itself when it asks for work.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Its id.
    pub id: WorkerId,
    /// Where it keeps the files of attempts, if it says so.
    pub machine: Option<MachineId>,
    /// What it has.
    pub labels: Vec<String>,
    /// How many turns it runs at a time.
    pub slots: u32,
    /// Its program's version.
    pub version: String,
    /// How long it keeps files of attempts that nothing uses, if it says so.
    pub keeps_ms: Option<u64>,
}

impl Store {
    /// Notes that a worker asks for work.
    ///
    /// # Errors
    /// As every write.
    pub async fn touch_worker(&self, worker: &Presence, now: Timestamp) -> Result<(), Error> {
        let labels = text(&worker.labels)?;
        let known = sqlx::query(
            "SELECT id FROM workers WHERE id = $1 AND labels = $2 AND slots = $3 AND version = $4 AND last_seen > $5 \
             AND machine = $6",
        )
        .bind(worker.id.to_string())
        .bind(labels.as_str())
        .bind(i64::from(worker.slots))
        .bind(worker.version.as_str())
        .bind(now.plus_ms(-TOUCH_MS).micros())
        .bind(machines::word(worker.machine))
        .fetch_optional(&self.readers)
        .await?;
        if known.is_some() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO workers (id, labels, slots, version, last_seen, keeps_ms, machine) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET labels = excluded.labels, slots = excluded.slots, \
             version = excluded.version, last_seen = excluded.last_seen, keeps_ms = excluded.keeps_ms, \
             machine = excluded.machine, heard_at = NULL",
        )
        .bind(worker.id.to_string())
        .bind(labels)
        .bind(i64::from(worker.slots))
        .bind(worker.version.as_str())
        .bind(now.micros())
        .bind(worker.keeps_ms.map(column).transpose()?)
        .bind(machines::word(worker.machine))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The workers that are remembered, those seen last first.
    ///
    /// # Errors
    /// As every read.
    pub async fn workers(&self) -> Result<WorkerList, Error> {
        let mut connection = self.readers.acquire().await?;
        let rows = sqlx::query("SELECT * FROM workers ORDER BY last_seen DESC, id LIMIT $1")
            .bind(WORKERS_MAX)
            .fetch_all(&mut *connection)
            .await?;
        let running = running(&mut connection).await?;
        let workers = rows.iter().map(|row| record(row, &running)).collect::<Result<Vec<_>, _>>()?;
        Ok(WorkerList { workers })
    }

    /// Forgets workers that have not asked for work for a day.
    ///
    /// # Errors
    /// As every write.
    pub async fn forget_workers(&self, now: Timestamp) -> Result<(), Error> {
        sqlx::query("DELETE FROM workers WHERE last_seen < $1")
            .bind(now.plus_ms(-FORGOTTEN_MS).micros())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A turn, and where it stands in the queue.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn turn(&self, id: TurnId, rules: QueueRules, now: Timestamp) -> Result<TurnView, Error> {
        let mut connection = self.readers.acquire().await?;
        let turn = TurnRow::get(&mut connection, id, Lock::None).await?.turn;
        let queue = match turn.state {
            State::Queued => Some(place(&mut connection, &turn, (rules, now)).await?),
            State::Leased { .. }
            | State::Preparing { .. }
            | State::Running { .. }
            | State::Waiting { .. }
            | State::Parked { .. }
            | State::Finished(_) => None,
        };
        Ok(TurnView { turn, queue })
    }

    /// Where the queued turns of a task stand.
    ///
    /// # Errors
    /// As every read.
    pub async fn places(
        &self,
        view: &TaskView,
        rules: QueueRules,
        now: Timestamp,
    ) -> Result<Vec<QueuePlace>, Error> {
        let turns = view.attempts.iter().flat_map(|AttemptView { turns, .. }| turns);
        let queued: Vec<&Turn> = turns.filter(|turn| turn.state == State::Queued).collect();
        let mut places = Vec::with_capacity(queued.len());
        if queued.is_empty() {
            return Ok(places);
        }
        let mut connection = self.readers.acquire().await?;
        for turn in queued {
            places.push(place(&mut connection, turn, (rules, now)).await?);
        }
        Ok(places)
    }
}

fn record(row: &Row, running: &BTreeMap<WorkerId, u32>) -> Result<WorkerRecord, Error> {
    let id = id(row, "id")?;
    Ok(WorkerRecord {
        id,
        machine: machines::named(row)?,
        labels: json(row, "labels")?,
        slots: number(row, "slots")?,
        version: row.try_get("version")?,
        last_seen: Timestamp::from_micros(row.try_get("last_seen")?),
        running: running.get(&id).copied().unwrap_or(0),
    })
}

/// How many turns each worker has.
async fn running(connection: &mut Connection) -> Result<BTreeMap<WorkerId, u32>, Error> {
    let rows =
        sqlx::query("SELECT state FROM turns WHERE lease_until IS NOT NULL").fetch_all(connection).await?;
    let mut running = BTreeMap::new();
    for row in &rows {
        if let Some(lease) = json::<State>(row, "state")?.lease() {
            *running.entry(lease.worker).or_insert(0) += 1;
        }
    }
    Ok(running)
}

async fn place(
    connection: &mut Connection,
    turn: &Turn,
    (rules, now): (QueueRules, Timestamp),
) -> Result<QueuePlace, Error> {
    let row = sqlx::query("SELECT owner, labels, ready, priority, machine FROM turns WHERE id = $1")
        .bind(turn.id.to_string())
        .fetch_one(&mut *connection)
        .await?;
    if row.try_get::<i64, _>("ready")? == 0 {
        return Ok(QueuePlace::new(turn.id, 0, Hold::EarlierTurn));
    }
    let owner: String = row.try_get("owner")?;
    let labels: BTreeSet<String> = json(&row, "labels")?;
    let bound = bound(connection, machines::named(&row)?, &labels, (rules, now)).await?;
    let at = bound.as_ref().map(|(machine, _)| *machine);
    let mine = ahead_of(connection, turn, (&owner, row.try_get("priority")?), at).await?;
    let people = people(connection, at).await?;
    let live = people.get(&owner).map_or(0, |person| person.live);
    let others: u32 = people
        .iter()
        .filter(|(name, _)| **name != owner)
        // They get slots until they have as many live turns as this person when the turn's time has come.
        .map(|(_, person)| person.queued.min((live + mine).saturating_sub(person.live)))
        .sum();
    let needs = match &bound {
        Some(_) => None,
        None => needs(connection, &labels, now).await?,
    };
    let own = rules.user_turns_max.filter(|most| live >= *most);
    let own = own.map(|most| Hold::OwnTurns { running: live, most });
    let hold = needs.or(own).or(bound.map(|(_, hold)| hold)).unwrap_or(Hold::Slot);
    Ok(QueuePlace::new(turn.id, mine + others, hold))
}

/// The machine that the turn waits for, and what it is to be told of that.
async fn bound(
    connection: &mut Connection,
    machine: Option<MachineId>,
    labels: &BTreeSet<String>,
    (rules, now): (QueueRules, Timestamp),
) -> Result<Option<(MachineId, Hold)>, Error> {
    let Some(machine) = machine else { return Ok(None) };
    let Standing::Around { heard_at } = machines::standing(connection, machine, labels, (rules, now)).await?
    else {
        return Ok(None);
    };
    let silent_ms = now.ms_since(heard_at);
    let left_ms = rules.files_wait_ms.saturating_sub(silent_ms);
    let hold = match silent_ms > SILENT_MS {
        true => Hold::SilentMachine { machine, silent_ms, left_ms },
        false => Hold::Machine { machine },
    };
    Ok(Some((machine, hold)))
}

/// The person's turns that go before this one: where it is bound to a machine, those that the machine may take.
async fn ahead_of(
    connection: &mut Connection,
    turn: &Turn,
    (owner, priority): (&str, i64),
    at: Option<MachineId>,
) -> Result<u32, Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS ahead FROM turns WHERE state_name = 'queued' AND ready = 1 AND owner = $1 \
         AND (priority > $2 OR (priority = $2 AND (created_at < $3 OR (created_at = $3 AND id < $4)))) \
         AND ($5 = '' OR machine = '' OR machine = $5)",
    )
    .bind(owner.to_owned())
    .bind(priority)
    .bind(turn.created_at.micros())
    .bind(turn.id.to_string())
    .bind(machines::word(at))
    .fetch_one(connection)
    .await?;
    number(&row, "ahead")
}

/// What one person has in the queue and at work.
struct Person {
    queued: u32,
    live: u32,
}

async fn people(
    connection: &mut Connection,
    at: Option<MachineId>,
) -> Result<BTreeMap<String, Person>, Error> {
    let rows = sqlx::query(
        "SELECT owner, COUNT(*) AS queued FROM turns WHERE state_name = 'queued' AND ready = 1 \
         AND ($1 = '' OR machine = '' OR machine = $1) GROUP BY owner",
    )
    .bind(machines::word(at))
    .fetch_all(&mut *connection)
    .await?;
    let live = schedule::live(connection).await?;
    let person = |row: &Row| -> Result<(String, Person), Error> {
        let owner: String = row.try_get("owner")?;
        let live = live.get(&owner).copied().unwrap_or(0);
        Ok((owner, Person { queued: number(row, "queued")?, live }))
    };
    rows.iter().map(person).collect()
}

/// What no worker that asks for work, or has some, has of what the turn needs.
async fn needs(
    connection: &mut Connection,
    labels: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Option<Hold>, Error> {
    let rows = sqlx::query("SELECT id, labels, last_seen FROM workers ORDER BY last_seen DESC, id LIMIT $1")
        .bind(WORKERS_MAX)
        .fetch_all(&mut *connection)
        .await?;
    // A worker whose slots are all taken does not ask.
    let busy = running(connection).await?;
    let (mut workers, since): (Vec<BTreeSet<String>>, _) = (Vec::new(), now.plus_ms(-LATELY_MS).micros());
    for row in &rows {
        if row.try_get::<i64, _>("last_seen")? > since || busy.contains_key(&id(row, "id")?) {
            workers.push(json(row, "labels")?);
        }
    }
    if workers.iter().any(|has| labels.is_subset(has)) {
        return Ok(None);
    }
    if workers.is_empty() {
        return Ok(busy.is_empty().then_some(Hold::Worker));
    }
    let nowhere = |label: &&String| !workers.iter().any(|has| has.contains(*label));
    let missing: Vec<String> = labels.iter().filter(nowhere).cloned().collect();
    let labels = if missing.is_empty() { labels.iter().cloned().collect() } else { missing };
    Ok(Some(Hold::Labels { labels }))
}

/// Refuses what would put more turns of its sender into the queue than it may have there; of calls at the same moment each
/// sees what the one before it put there. Asked after an earlier answer to the same call was looked for: a call that is sent
/// again makes nothing.
pub(crate) async fn room(connection: &mut Connection, sent: &Sent<'_>, turns: u32) -> Result<(), Error> {
    let Some(most) = sent.queued_max else { return Ok(()) };
    one_at_a_time(connection, &format!("queue/{}", sent.act.actor.user)).await?;
    let row = sqlx::query(
        "SELECT COUNT(*) AS queued FROM (SELECT id FROM turns WHERE state_name = 'queued' AND ready = 1 AND owner = $1 \
         LIMIT $2) AS waiting",
    )
    .bind(sent.act.actor.user.to_string())
    .bind(i64::from(most))
    .fetch_one(connection)
    .await?;
    let queued: u32 = number(&row, "queued")?;
    if queued + turns <= most {
        return Ok(());
    }
    let sentence = format!(
        "{queued} turns of yours wait in the queue, and {most} may. Wait until some have begun, or cancel some."
    );
    Err(Error::conflict(Error::QUEUE_FULL, sentence))
}
