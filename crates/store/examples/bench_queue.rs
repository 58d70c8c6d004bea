//! How long a lease takes beside 5,000 queued turns, and a page of a list of 10,000 tasks:
//! `cargo run --release -p legwork-store --example bench_queue [postgres://…]`. Over a file of SQLite if no database is
//! named. It accepts 10,000 tasks first, which takes a while.

#![expect(clippy::print_stdout, reason = "a program that reports figures")]

use std::time::{Duration, Instant};

use legwork_domain::{
    Actor, Ended, EventBatch, EventKind, Finish, FollowUp, LeaseId, LocalChanges, MachineId, NewEvent,
    NewTask, Outcome, Source, TaskQuery, TaskState, TaskView, Timestamp, TurnId, UserId, Visible, WorkerId,
};
use legwork_store::{Act, Claim, Error, Presence, QueueRules, Renewal, Sent, Store, TaskIds};

const TASKS: u32 = 10_000;
const QUEUED: u32 = 5_000;
const PEOPLE: u32 = 25;
const ROUNDS: u32 = 200;
/// Of three that wait, one goes on from files that one of these machines has.
const MACHINES: u32 = 8;
const RULES: QueueRules = QueueRules { user_turns_max: Some(1_000), files_wait_ms: 300_000 };

/// Draws ids and times.
struct Clock(u64);

impl Clock {
    fn next(&mut self) -> u128 {
        self.0 += 1;
        u128::from(self.0)
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::from_micros(1_000_000 + i64::try_from(self.next()).unwrap_or(i64::MAX))
    }
}

fn percentile(times: &mut [Duration], part: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * part / 100).min(times.len() - 1)]
}

fn report(what: &str, mut times: Vec<Duration>) {
    let (half, most) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!("{what:<44} p50 {half:>10.2?}  p99 {most:>10.2?}");
}

async fn fill(store: &Store, clock: &mut Clock) -> Result<(), Error> {
    let source = Source { repository: "/r".into(), base: None, local_changes: LocalChanges::Leave };
    let prompt = "Make the parser accept a comment at the end of the file\n".repeat(8);
    for n in 1..PEOPLE {
        let act = Act { actor: Actor::PROCESS, at: clock.now() };
        store.create_user(UserId::from_u128(u128::from(n)), &format!("person {n}"), &act).await?;
    }
    // Files of a machine that nobody has heard of are known to be gone.
    ask(store, clock).await?;
    for n in 0..TASKS {
        let mut request = NewTask::new(prompt.clone(), source.clone(), "scripted/x".into());
        if n % 3 == 0 {
            request.labels.push("gpu".to_owned());
        }
        let actor = Actor { user: UserId::from_u128(u128::from(n % PEOPLE)), ..Actor::PROCESS };
        let act = Act { actor, at: clock.now() };
        let ids = TaskIds::draw(1, || clock.next());
        let view =
            store.create_task(request, Sent { act, key: None, queued_max: None, access: None }, &ids).await?;
        if n < QUEUED && n % 3 == 1 {
            go_on(store, clock, &view, MachineId::from_u128(u128::from(n % MACHINES))).await?;
        }
        if n >= QUEUED {
            store.cancel(view.task.id, clock.now()).await?;
        }
    }
    Ok(())
}

fn claim(clock: &mut Clock, machine: Option<MachineId>) -> Claim {
    let (id, now) = (LeaseId::from_u128(clock.next()), clock.now());
    let term = Renewal { now, until: now.plus_ms(60_000) };
    let worker = WorkerId::from_u128(machine.map_or(u128::MAX, MachineId::number));
    Claim { id, worker, machine, task: None, labels: Vec::new(), rules: RULES, term }
}

/// Runs the task's turn on the machine, and queues another one.
async fn go_on(store: &Store, clock: &mut Clock, view: &TaskView, machine: MachineId) -> Result<(), Error> {
    let mut claim = claim(clock, Some(machine));
    claim.task = Some(view.task.id);
    claim.labels = vec!["gpu".to_owned()];
    let (turn, attempt) = (view.attempts[0].turns[0].id, view.attempts[0].attempt.id);
    store.lease(&claim).await?;
    let kind = EventKind::Snapshot { turn, layers: vec!["/l".to_owned()], live: None, saved: None };
    let events = vec![NewEvent { at: clock.now(), kind }];
    let batch = EventBatch { epoch: 1, lease: None, first: 0, events, transition: None };
    store.append(turn, batch, claim.term).await?;
    let ended = Ended::nothing(Outcome::NoChange, "Done.", clock.now());
    let finish = Finish { epoch: 1, lease: None, first: 1, events: Vec::new(), ended, blobs: Vec::new() };
    store.finish(turn, finish, clock.now()).await?;
    let actor = Actor { user: view.task.created_by, ..Actor::PROCESS };
    let (id, act) = (TurnId::from_u128(clock.next()), Act { actor, at: clock.now() });
    let more = FollowUp::new("More".to_owned(), Vec::new());
    store
        .follow_up(attempt, id, more, Sent { act, key: None, queued_max: None, access: None })
        .await
        .map(drop)
}

/// A worker of each machine asks for work.
async fn ask(store: &Store, clock: &mut Clock) -> Result<(), Error> {
    for n in 0..MACHINES {
        let (id, machine) = (WorkerId::from_u128(u128::from(n)), Some(MachineId::from_u128(u128::from(n))));
        let labels = vec!["gpu".to_owned()];
        let worker = Presence { id, machine, labels, slots: 1, version: String::new(), keeps_ms: None };
        store.touch_worker(&worker, clock.now()).await?;
    }
    Ok(())
}

async fn leases(store: &Store, clock: &mut Clock, (what, machine): (&str, u128)) -> Result<(), Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let claim = claim(clock, Some(MachineId::from_u128(machine)));
        let start = Instant::now();
        store.lease(&claim).await?;
        times.push(start.elapsed());
    }
    report(what, times);
    Ok(())
}

async fn lists(store: &Store) -> Result<(), Error> {
    let queries = [
        ("a page of 50 of 10,000 tasks", TaskQuery::default()),
        ("of those that are queued", TaskQuery { state: Some(TaskState::Queued), ..TaskQuery::default() }),
        ("of one person", TaskQuery { created_by: Some(UserId::from_u128(3)), ..TaskQuery::default() }),
        ("with words that no title has", TaskQuery { title: Some("nowhere".into()), ..TaskQuery::default() }),
    ];
    for (what, query) in queries {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            store.tasks(Visible::All, UserId::LOCAL, &query).await?;
            times.push(start.elapsed());
        }
        report(what, times);
    }
    Ok(())
}

async fn places(store: &Store, clock: &mut Clock) -> Result<(), Error> {
    let query = TaskQuery { state: Some(TaskState::Queued), ..TaskQuery::default() };
    let page = store.tasks(Visible::All, UserId::LOCAL, &query).await?.tasks;
    let mut times = Vec::new();
    for row in page {
        let view = store.task(row.id).await?;
        let start = Instant::now();
        store.places(&view, RULES, clock.now()).await?;
        times.push(start.elapsed());
    }
    report("where a turn stands, 5,000 queued", times);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(|error| Error::Invalid(error.to_string()))?;
    let file = format!("sqlite:{}/bench.db", folder.path().display());
    let store = Store::connect(&std::env::args().nth(1).unwrap_or(file)).await?;
    let mut clock = Clock(0);
    let start = Instant::now();
    fill(&store, &mut clock).await?;
    println!("{TASKS} tasks accepted, half of them cancelled, in {:.1?}", start.elapsed());
    ask(&store, &mut clock).await?;
    for lease in [("a lease, 5,000 queued", 1), ("of a machine with no files", 1000)] {
        leases(&store, &mut clock, lease).await?;
    }
    clock.0 += 1_000_000 * RULES.files_wait_ms;
    leases(&store, &mut clock, ("the same when all others are gone", 1000)).await?;
    lists(&store).await?;
    places(&store, &mut clock).await
}
