//! A store with a clock and ids of the test's own, and the checker of what must hold for every log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use legwork_domain::{
    Actor, Assignment, AttemptId, CommandRun, Ended, Event, EventBatch, EventKind, Finish, Item, ItemBody,
    ItemId, ItemStatus, LeaseId, LocalChanges, NewEvent, NewTask, Outcome, Phase, Source, State, TaskId,
    TaskQuery, TaskRow, TaskView, Timestamp, Transition, Turn, TurnId, UserId, Visible, WorkerId,
};
use legwork_store::{Act, Claim, Copying, Error, QueueRules, Renewal, Sent, Store, TaskIds};
use tempfile::TempDir;

use crate::postgres::Database;

pub(crate) const LEASE_MS: i64 = 30_000;

/// A machine that is not heard of is waited for as long as two leases.
pub(crate) const RULES: QueueRules =
    QueueRules { user_turns_max: None, files_wait_ms: 2 * LEASE_MS.unsigned_abs() };

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) place: Place,
    clock: Arc<AtomicI64>,
    numbers: Arc<AtomicU64>,
}

/// A database of the test's own; gone with the last clone.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite(Arc<TempDir>),
    Postgres {
        database: Arc<Database>,
        url: String,
    },
    /// One that the test looks after.
    Elsewhere(String),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// On a file system in memory, where there is a large one: for tests that make a hundred thousand commits and pull no plug.
    pub(crate) fn sqlite_in_memory() -> Self {
        const MEMORY: &str = "/dev/shm";
        /// Many times what all tests at once write there.
        const FREE_MIN: u64 = 1 << 30;
        let free = rustix::fs::statvfs(MEMORY).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
        if free < FREE_MIN {
            return Self::sqlite();
        }
        Self::Sqlite(Arc::new(tempfile::tempdir_in(MEMORY).unwrap()))
    }

    pub(crate) fn postgres() -> Self {
        let database = Database::new();
        Self::Postgres { url: database.url(), database: Arc::new(database) }
    }

    /// A new one of the same kind.
    pub(crate) fn another(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite(),
            Self::Postgres { database, .. } => {
                Self::Postgres { url: database.schema_url(), database: Arc::clone(database) }
            }
            Self::Elsewhere(url) => Self::Elsewhere(url.clone()),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}/legwork.db", folder.path().display()),
            Self::Postgres { url, .. } | Self::Elsewhere(url) => url.clone(),
        }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::connect(&self.url()).await.unwrap()
    }
}

impl World {
    pub(crate) async fn new(place: Place) -> Self {
        let (clock, numbers) = (Arc::new(AtomicI64::new(1_000_000)), Arc::new(AtomicU64::new(1)));
        Self { store: place.open().await, place, clock, numbers }
    }

    /// Another server that shares the database.
    pub(crate) async fn beside(&self) -> Self {
        Self {
            store: self.place.open().await,
            place: self.place.clone(),
            clock: Arc::clone(&self.clock),
            numbers: Arc::clone(&self.numbers),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn pass_ms(&self, ms: i64) {
        self.clock.fetch_add(ms * 1000, Ordering::Relaxed);
    }

    pub(crate) fn term(&self) -> Renewal {
        let now = self.now();
        Renewal { now, until: now.plus_ms(LEASE_MS) }
    }

    pub(crate) fn number(&self) -> u128 {
        u128::from(self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// The local owner, now.
    pub(crate) fn act(&self) -> Act {
        Act { actor: Actor::PROCESS, at: self.now() }
    }

    pub(crate) fn sent<'a>(&self, key: Option<&'a str>) -> Sent<'a> {
        Sent { act: self.act(), key, queued_max: None, access: None }
    }

    /// Of one who knows no secrets.
    pub(crate) fn copying<'a>(&self, key: Option<&'a str>) -> Copying<'a> {
        Copying { sent: self.sent(key), redact: &|_| () }
    }

    pub(crate) fn ids(&self, attempts: u8) -> TaskIds {
        TaskIds::draw(attempts, || self.number())
    }

    pub(crate) async fn create(&self, prompt: &str, key: Option<&str>) -> Result<TaskView, Error> {
        self.store.create_task(request(prompt, 1), self.sent(key), &self.ids(1)).await
    }

    pub(crate) async fn list(&self, query: &TaskQuery) -> Vec<TaskRow> {
        self.store.tasks(Visible::All, UserId::LOCAL, query).await.unwrap().tasks
    }

    pub(crate) async fn lease(&self) -> Option<Assignment> {
        self.lease_of(None).await
    }

    pub(crate) async fn lease_of(&self, task: Option<TaskId>) -> Option<Assignment> {
        self.try_lease(task).await.unwrap()
    }

    pub(crate) async fn try_lease(&self, task: Option<TaskId>) -> Result<Option<Assignment>, Error> {
        let (id, worker) = (LeaseId::from_u128(self.number()), WorkerId::from_u128(self.number()));
        let (labels, term, rules) = (Vec::new(), self.term(), RULES);
        self.store.lease(&Claim { id, worker, machine: None, task, labels, rules, term }).await
    }

    pub(crate) async fn append(&self, turn: TurnId, batch: EventBatch) -> Result<Turn, Error> {
        self.store.append(turn, batch, self.term()).await.map(|recorded| recorded.turn)
    }

    pub(crate) async fn log(&self, attempt: AttemptId) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = self.store.events(attempt, after, 7).await.unwrap();
            if page.is_empty() {
                return events;
            }
            for line in page {
                let event: Event = serde_json::from_str(&line.json).unwrap();
                assert_eq!(event.seq, line.seq);
                events.push(event);
            }
        }
    }

    /// What must hold for every log at every time.
    pub(crate) async fn check(&self, attempt: AttemptId) -> Vec<Event> {
        let log = self.log(attempt).await;
        let seqs: Vec<u64> = log.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>(), "seq is 1..n");
        assert_eq!(self.store.log_end(attempt).await.unwrap().last_seq, log.len() as u64);
        check_items(&log);
        check_states(&log);
        log
    }
}

fn check_items(log: &[Event]) {
    let (mut started, mut completed) = (BTreeSet::new(), BTreeSet::new());
    let mut asking = BTreeSet::new();
    for event in log {
        match &event.kind {
            EventKind::ItemStarted { item } if item.asks() => drop(asking.insert(item.id)),
            EventKind::ItemCompleted { item } if item.asks() => {
                assert!(asking.remove(&item.id), "{} completed twice", item.id);
            }
            EventKind::ItemStarted { item } => assert!(started.insert(item.id), "{} started twice", item.id),
            EventKind::ItemCompleted { item } => {
                assert!(started.contains(&item.id), "{} completed before it started", item.id);
                assert!(completed.insert(item.id), "{} completed twice", item.id);
            }
            EventKind::State { state, .. } if state.lease().is_none() => {
                assert_eq!(started, completed, "an ended lease left items open");
                assert!(state.ended().is_none() || asking.is_empty(), "an ended turn still asks");
            }
            _ => {}
        }
    }
}

fn check_states(log: &[Event]) {
    let mut epochs: BTreeMap<TurnId, u64> = BTreeMap::new();
    let mut finished: BTreeSet<TurnId> = BTreeSet::new();
    for event in log {
        let EventKind::State { turn, state } = &event.kind else { continue };
        assert!(!finished.contains(turn), "terminal is final");
        match state {
            State::Finished(_) => assert!(finished.insert(*turn)),
            State::Leased { lease } => {
                let epoch = epochs.insert(*turn, lease.epoch).unwrap_or(0);
                assert_eq!(lease.epoch, epoch + 1, "each lease raises the epoch by one");
            }
            _ => {}
        }
    }
    let first = log.first().map(|event| &event.kind);
    assert!(matches!(first, Some(EventKind::State { state: State::Queued, .. })), "{first:?}");
}

pub(crate) fn request(prompt: &str, attempts: u8) -> NewTask {
    let source = Source { repository: "/r".into(), base: None, local_changes: LocalChanges::Leave };
    NewTask { attempts, ..NewTask::new(prompt.into(), source, "scripted/x".into()) }
}

pub(crate) fn tell(kind: EventKind) -> NewEvent {
    NewEvent { at: Timestamp::from_micros(1), kind }
}

pub(crate) fn started(turn: TurnId, n: u32) -> NewEvent {
    NewEvent {
        at: Timestamp::from_micros(7),
        kind: EventKind::ItemStarted { item: item(turn, n, ItemStatus::InProgress) },
    }
}

pub(crate) fn completed(turn: TurnId, n: u32) -> NewEvent {
    NewEvent {
        at: Timestamp::from_micros(8),
        kind: EventKind::ItemCompleted { item: item(turn, n, ItemStatus::Completed) },
    }
}

pub(crate) fn updated(n: u32, delta: &str) -> NewEvent {
    NewEvent {
        at: Timestamp::from_micros(9),
        kind: EventKind::ItemUpdated { item: ItemId::new(n), delta: delta.into() },
    }
}

fn item(turn: TurnId, n: u32, status: ItemStatus) -> Item {
    let ended_at = (status != ItemStatus::InProgress).then(|| Timestamp::from_micros(8));
    let body = ItemBody::Command(CommandRun {
        command: "true".into(),
        workdir: "/workspace".into(),
        phase: Phase::Agent,
        output: String::new(),
        output_bytes: 0,
        exit_code: ended_at.map(|_| 0),
        duration_ms: None,
    });
    Item { id: ItemId::new(n), turn, status, started_at: Timestamp::from_micros(7), ended_at, body }
}

pub(crate) fn batch(epoch: u64, first: u64, events: Vec<NewEvent>) -> EventBatch {
    EventBatch { epoch, lease: None, first, events, transition: None }
}

pub(crate) fn moving(epoch: u64, first: u64, transition: Transition) -> EventBatch {
    EventBatch { epoch, lease: None, first, events: Vec::new(), transition: Some(transition) }
}

pub(crate) fn end(epoch: u64, first: u64, events: Vec<NewEvent>) -> Finish {
    let ended = Ended::nothing(Outcome::NoChange, "Done.", Timestamp::from_micros(9));
    Finish { epoch, lease: None, first, events, ended, blobs: Vec::new() }
}
