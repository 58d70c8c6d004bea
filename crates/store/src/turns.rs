//! The door: the only way for a turn to change, and the worker's calls that go through it.

use legwork_domain::{
    Assignment, Bounds, EventBatch, EventKind, Finish, Lease, LeaseId, MachineId, Message, NewEvent, State,
    TaskId, TaskView, Timestamp, Transition, Turn, TurnId, Usage, WorkerId,
};

use crate::budgets::{self, Spenders};
use crate::deliveries::{self, News};
use crate::turn_row::{Tally, TurnRow, id, json, number};
use crate::{
    Connection, Error, QueueRules, Store, alarm, assignment, follow_up, listing, log, machines, messages,
    read, schedule, spending,
};

/// Most events of one batch (the API's word).
pub const BATCH_EVENTS_MAX: usize = 1000;

/// Lapsed leases that one sweep ends. The next one follows at once if there were as many.
const SWEEP_MAX: i64 = 100;

/// Under which epoch a caller believes a turn to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The caller does not act for a lease.
    Any,
    /// The caller acts for the lease of this epoch.
    Epoch(u64),
}

/// A worker's wish for a turn.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The new lease's id.
    pub id: LeaseId,
    /// Who.
    pub worker: WorkerId,
    /// Where its files are.
    pub machine: Option<MachineId>,
    /// Only turns of this task.
    pub task: Option<TaskId>,
    /// What the worker has.
    pub labels: Vec<String>,
    /// What bounds the queue.
    pub rules: QueueRules,
    /// From when until when.
    pub term: Renewal,
}

/// The present, and until when a lease holds from now on.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// The server's clock.
    pub now: Timestamp,
    /// When the lease lapses unless it is renewed again.
    pub until: Timestamp,
}

/// What a worker hears when its events are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The turn as it is now.
    pub turn: Turn,
    /// What it has not heard yet, in order.
    pub messages: Vec<Message>,
    /// Whether a budget bounds it. Looked up only where the batch told of spending.
    pub bounds: Option<Bounds>,
    /// Whether the list of tasks may show something else now.
    pub listed: bool,
}

impl Store {
    /// Moves a turn: reads, applies, compares and sets, and adds the event, in one transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::StaleEpoch`], [`Error::Refused`].
    pub async fn advance(
        &self,
        turn: TurnId,
        expected: Expected,
        transition: Transition,
        now: Timestamp,
    ) -> Result<Turn, Error> {
        let mut transaction = self.write().await?;
        let row = TurnRow::load(&mut transaction, turn).await?;
        if let Expected::Epoch(epoch) = expected {
            fence(&row.turn, epoch, None)?;
        }
        let next = row.turn.apply(transition, now)?;
        let next = pass(&mut transaction, &row, next, Vec::new(), now).await?;
        listing::commit(transaction, next.task, now).await?;
        Ok(next)
    }

    /// Leases the queued turn that is next for the worker. `None`: there is none.
    ///
    /// # Errors
    /// As every write. An assignment that cannot be built leaves a lease that lapses, so that a damaged log costs its
    /// own turn and not the queue.
    pub async fn lease(&self, claim: &Claim) -> Result<Option<Assignment>, Error> {
        // Looking is cheap and needs no lock: an idle worker disturbs nobody.
        if schedule::look(&mut *self.readers.acquire().await?, claim).await?.is_none() {
            return Ok(None);
        }
        let mut transaction = self.write().await?;
        let Some(turn) = schedule::take(&mut transaction, claim).await? else {
            return Ok(None);
        };
        let Claim { id, worker, machine, term: Renewal { now, until }, .. } = *claim;
        let row = TurnRow { machine, ..TurnRow::load(&mut transaction, turn).await? };
        let next = row.turn.apply(Transition::Lease { id, worker, until }, now)?;
        let next = pass(&mut transaction, &row, next, Vec::new(), now).await?;
        listing::commit(transaction, next.task, now).await?;
        let Some(lease) = next.state.lease().copied() else {
            return Ok(None);
        };
        let row = TurnRow { turn: next, ..row };
        assignment::build(&mut *self.readers.acquire().await?, row, lease).await.map(Some)
    }

    /// Adds a worker's events, renews its lease and moves the turn if the batch says so.
    ///
    /// A batch that came before is answered as if it were new and writes only the renewal.
    ///
    /// # Errors
    /// [`Error::StaleEpoch`], [`Error::Gap`], [`Error::Invalid`], [`Error::Refused`]: then nothing of it was written.
    pub async fn append(&self, turn: TurnId, batch: EventBatch, term: Renewal) -> Result<Recorded, Error> {
        let EventBatch { epoch, lease, first, events, transition } = batch;
        check_events(turn, &events)?;
        let mut transaction = self.write().await?;
        let row = TurnRow::load(&mut transaction, turn).await?;
        fence(&row.turn, epoch, lease)?;
        let heartbeat = events.is_empty() && transition.is_none();
        let sent = events.len();
        let fresh = if heartbeat { events } else { unseen(&row, first, events)? };
        let repeated = sent > 0 && fresh.is_empty();
        let mut next = row.turn.apply(Transition::Renew { until: term.until }, term.now)?;
        if let Some(transition) = transition {
            next = moved(next, transition, repeated, term.now)?;
        }
        if messages::waits_for_a_word(&next.state) && messages::answer_waits(&mut transaction, turn).await? {
            // The word came while the worker was on its way to wait for it.
            next = next.apply(Transition::Wake, term.now)?;
        }
        let told_usage = fresh.iter().any(|event| spent(event).is_some());
        let next = pass(&mut transaction, &row, next, fresh, term.now).await?;
        let messages = messages::to_hear(&mut transaction, turn).await?;
        let bounds = match told_usage {
            true => Some(budgets::bounds(&mut transaction, Spenders::from(&row)).await?),
            false => None,
        };
        let listed = told_usage || differs(&row.turn.state, &next.state);
        match listed {
            true => listing::commit(transaction, next.task, term.now).await?,
            false => transaction.commit().await?,
        }
        Ok(Recorded { turn: next, messages, bounds, listed })
    }

    /// Ends a turn with its last events. The same end a second time is answered with the turn as it is.
    ///
    /// # Errors
    /// As [`Store::append`]; [`Error::StaleEpoch`] also if the turn ended in another way.
    pub async fn finish(&self, turn: TurnId, finish: Finish, now: Timestamp) -> Result<Turn, Error> {
        check_events(turn, &finish.events)?;
        let is_alarm = alarm::is_one(finish.ended.outcome);
        let mut transaction = if is_alarm { alarm::begin(self, turn).await? } else { self.write().await? };
        let row = TurnRow::load(&mut transaction, turn).await?;
        if row.turn.epoch == finish.epoch && row.turn.state.ended() == Some(&finish.ended) {
            return Ok(row.turn);
        }
        fence(&row.turn, finish.epoch, finish.lease)?;
        let fresh = unseen(&row, finish.first, finish.events)?;
        let next = row.turn.apply(Transition::Finish(Box::new(finish.ended)), now)?;
        let next = pass(&mut transaction, &row, next, fresh, now).await?;
        if is_alarm {
            alarm::raise(&mut transaction, &row, &next, now).await?;
        }
        listing::commit(transaction, next.task, now).await?;
        Ok(next)
    }

    /// Asks all turns of a task to stop, in one transaction. What has ended, or was asked before, stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<TaskView, Error> {
        let mut transaction = self.write().await?;
        stop_all(&mut transaction, task, now).await?;
        let view = read::task(&mut transaction, task).await?;
        listing::commit(transaction, task, now).await?;
        Ok(view)
    }

    /// Takes lapsed leases from their workers and gives back the turns as they are now: queued again, or finished where
    /// no try is left. At most 100 at a time, the oldest first.
    ///
    /// # Errors
    /// As every write; turns that were done before the error stay done.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<Turn>, Error> {
        let rows =
            sqlx::query("SELECT id, epoch FROM turns WHERE lease_until < $1 ORDER BY lease_until LIMIT $2")
                .bind(now.micros())
                .bind(SWEEP_MAX)
                .fetch_all(&self.readers)
                .await?;
        let mut expired = Vec::with_capacity(rows.len());
        for row in &rows {
            let epoch: u64 = number(row, "epoch")?;
            let lapsed = |lease: &Lease| lease.epoch == epoch && lease.until < now;
            expired.extend(self.expire_one(id(row, "id")?, lapsed, now).await?);
        }
        Ok(expired)
    }

    /// Takes all leases of a worker that is known to be dead, as if they had lapsed, and gives back the turns as they are
    /// now. What it still sends is refused as that of any worker whose lease lapsed.
    ///
    /// # Errors
    /// As [`Store::expire`].
    pub async fn expire_of(&self, worker: WorkerId, now: Timestamp) -> Result<Vec<Turn>, Error> {
        let rows = sqlx::query("SELECT id, state FROM turns WHERE lease_until IS NOT NULL")
            .fetch_all(&self.readers)
            .await?;
        let is_its = |lease: &Lease| lease.worker == worker;
        let mut expired = Vec::new();
        for row in &rows {
            if json::<State>(row, "state")?.lease().is_some_and(is_its) {
                expired.extend(self.expire_one(id(row, "id")?, is_its, now).await?);
            }
        }
        Ok(expired)
    }

    /// `None` if the lease is none of those that are meant, or not any more.
    async fn expire_one(
        &self,
        turn: TurnId,
        is_meant: impl Fn(&Lease) -> bool + Send,
        now: Timestamp,
    ) -> Result<Option<Turn>, Error> {
        let mut transaction = self.write().await?;
        let row = TurnRow::load(&mut transaction, turn).await?;
        if !row.turn.state.lease().is_some_and(is_meant) {
            return Ok(None);
        }
        let next = row.turn.apply(Transition::Expire, now)?;
        let next = pass(&mut transaction, &row, next, Vec::new(), now).await?;
        listing::commit(transaction, next.task, now).await?;
        Ok(Some(next))
    }
}

/// Asks the turns of a task to stop that have not ended and were not asked before.
pub(crate) async fn stop_all(connection: &mut Connection, task: TaskId, now: Timestamp) -> Result<(), Error> {
    for row in TurnRow::load_task(connection, task).await? {
        if row.turn.state.ended().is_some() || row.turn.cancel_requested_at.is_some() {
            continue;
        }
        let next = row.turn.apply(Transition::Cancel, now)?;
        pass(connection, &row, next, Vec::new(), now).await?;
    }
    Ok(())
}

/// Writes the turn's next form with what the log gets for it: the worker's new events, an end for every item that a
/// lease leaves open when it ends, and the new state if it differs.
pub(crate) async fn pass(
    connection: &mut Connection,
    row: &TurnRow,
    next: Turn,
    fresh: Vec<NewEvent>,
    now: Timestamp,
) -> Result<Turn, Error> {
    let mut next = next;
    let told = fresh.iter().rev().find_map(spent);
    next.usage = told.unwrap_or(next.usage);
    // The end may tell of more than the last event did.
    if let Some(ended) = next.state.ended().filter(|ended| ended.usage.tokens() > next.usage.tokens()) {
        next.usage = ended.usage;
    }
    let kept = if next.epoch == row.turn.epoch { row.received } else { 0 };
    let received = kept + fresh.len() as u64;
    let mut events = messages::hear(connection, next.id, fresh, now).await?;
    let let_go = row.turn.state.lease().filter(|_| next.state.lease().is_none());
    let ends = next.state.ended().is_some();
    if ends {
        follow_up::lock_later(connection, &next).await?;
    }
    machines::told(connection, (&next, row.machine), &events).await?;
    if next.state.lease().is_none() {
        log::append(connection, next.attempt, events).await?;
        events = log::interruptions(connection, &next, now).await?;
    }
    if differs(&row.turn.state, &next.state) {
        let kind = EventKind::State { turn: next.id, state: next.state.clone() };
        events.push(NewEvent { at: now, kind });
    }
    log::append(connection, next.attempt, events).await?;
    // Not with each heartbeat, which is to stay cheap.
    let counts = told.is_some() || let_go.is_some() || ends;
    if counts {
        spending::count(connection, row, &next, now).await?;
        budgets::settle(connection, &next).await?;
    }
    let starts = next.epoch != row.turn.epoch;
    let metered_at = if counts || starts { Some(now) } else { row.metered_at };
    let metered_at = metered_at.filter(|_| next.state.lease().is_some());
    let machine = match next.state.lease() {
        Some(_) => row.machine,
        None => machines::of_attempt(connection, next.attempt).await?,
    };
    row.replace(connection, &next, Tally { received, metered_at, machine }).await?;
    if let Some(lease) = let_go {
        machines::heard(connection, lease.worker, lease.until.min(now)).await?;
    }
    if let Some(news) = News::of_turn(&row.turn.state, &next, row.revision, now) {
        deliveries::announce(connection, news).await?;
    }
    if ends {
        follow_up::after(connection, &next, now).await?;
    }
    Ok(next)
}

/// What the event says that the turn has spent.
const fn spent(event: &NewEvent) -> Option<Usage> {
    if let EventKind::Usage { usage, .. } = event.kind { Some(usage) } else { None }
}

/// Whether a view should hear of it; a lease that holds longer is no news.
fn differs(old: &State, new: &State) -> bool {
    match (old, new) {
        (State::Waiting { on: old, .. }, State::Waiting { on: new, .. }) => old != new,
        _ => old.name() != new.name(),
    }
}

pub(crate) fn fence(turn: &Turn, epoch: u64, id: Option<LeaseId>) -> Result<(), Error> {
    match turn.state.lease() {
        Some(lease) if lease.epoch == epoch && id.is_none_or(|id| id == lease.id) => Ok(()),
        _ => Err(Error::StaleEpoch { turn: turn.id, epoch }),
    }
}

/// The events of a batch that were not stored yet.
fn unseen(row: &TurnRow, first: u64, mut events: Vec<NewEvent>) -> Result<Vec<NewEvent>, Error> {
    let seen = row.received.checked_sub(first).ok_or(Error::Gap { first, expected: row.received })?;
    let seen = usize::try_from(seen).unwrap_or(usize::MAX).min(events.len());
    events.drain(..seen);
    Ok(events)
}

/// Applies a worker's transition. One that already holds, or that came with nothing but events seen before, is the
/// repeat of a batch whose answer was lost.
fn moved(turn: Turn, transition: Transition, repeated: bool, now: Timestamp) -> Result<Turn, Error> {
    let holds = match (&turn.state, &transition) {
        (State::Preparing { .. }, Transition::Prepare) | (State::Running { .. }, Transition::Run) => true,
        (State::Waiting { on, .. }, Transition::Wait { on: wish }) => on == wish,
        (
            _,
            Transition::Prepare
            | Transition::Run
            | Transition::Wait { .. }
            | Transition::Park { .. }
            | Transition::Release,
        ) => false,
        _ => {
            return Err(Error::Invalid(
                "A batch moves a turn by prepare, run, wait, park or release only.".to_owned(),
            ));
        }
    };
    if holds {
        return Ok(turn);
    }
    match turn.apply(transition, now) {
        Err(_) if repeated => Ok(turn),
        result => Ok(result?),
    }
}

/// What a worker may put into a log: nothing of another turn, and no state, which the door alone tells.
fn check_events(turn: TurnId, events: &[NewEvent]) -> Result<(), Error> {
    if events.len() > BATCH_EVENTS_MAX {
        return Err(Error::Invalid(format!(
            "A batch has {} events; at most {BATCH_EVENTS_MAX} are taken.",
            events.len()
        )));
    }
    for event in events {
        let named = match &event.kind {
            EventKind::State { .. } => {
                return Err(Error::Invalid("Only the server tells a turn's state.".to_owned()));
            }
            EventKind::ItemUpdated { .. } => continue,
            EventKind::ItemStarted { item } | EventKind::ItemCompleted { item } => item.turn,
            EventKind::Base { turn, .. }
            | EventKind::Usage { turn, .. }
            | EventKind::Context { turn, .. }
            | EventKind::Snapshot { turn, .. }
            | EventKind::Patch { turn, .. }
            | EventKind::Verdict { turn, .. }
            | EventKind::Artifact { turn, .. }
            | EventKind::Connection { turn, .. } => *turn,
        };
        if named != turn {
            return Err(Error::Invalid(format!("An event of turn {named} was sent for turn {turn}.")));
        }
    }
    Ok(())
}
