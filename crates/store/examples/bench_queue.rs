//! How long a lease takes beside 5,000 queued turns, and a page of a list of 10,000 tasks:
//! `cargo run --release -p legwork-store --example bench_queue [postgres://…]`. Over a file of SQLite if no database is
//! named. It accepts 10,000 tasks first, which takes a while.

#![expect(clippy::print_stdout, reason = "a program that reports figures")]

use std::time::{Duration, Instant};

use legwork_domain::{
    Actor, LeaseId, LocalChanges, NewTask, Source, TaskQuery, TaskState, Timestamp, TurnId, UserId, Visible,
    WorkerId,
};
use legwork_store::{Act, Claim, Error, Renewal, Sent, Store, TaskIds};

const TASKS: u32 = 10_000;
const QUEUED: u32 = 5_000;
const PEOPLE: u32 = 25;
const ROUNDS: u32 = 200;

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
    for n in 0..TASKS {
        let mut request = NewTask::new(prompt.clone(), source.clone(), "scripted/x".into());
        if n % 3 == 0 {
            request.labels.push("gpu".to_owned());
        }
        let actor = Actor { user: UserId::from_u128(u128::from(n % PEOPLE)), ..Actor::PROCESS };
        let act = Act { actor, at: clock.now() };
        let ids = TaskIds::draw(1, || clock.next());
        let view = store.create_task(request, Sent { act, key: None, queued_max: None }, &ids).await?;
        if n >= QUEUED {
            store.cancel(view.task.id, clock.now()).await?;
        }
    }
    Ok(())
}

async fn leases(store: &Store, clock: &mut Clock) -> Result<Option<TurnId>, Error> {
    let (mut times, mut last) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let (id, now) = (LeaseId::from_u128(clock.next()), clock.now());
        let term = Renewal { now, until: now.plus_ms(60_000) };
        let worker = WorkerId::from_u128(1);
        let claim = Claim { id, worker, task: None, labels: Vec::new(), user_turns_max: Some(1_000), term };
        let start = Instant::now();
        last = store.lease(&claim).await?.map(|job| job.turn.id);
        times.push(start.elapsed());
    }
    report("a lease, 5,000 queued", times);
    Ok(last)
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
        store.places(&view, Some(4), clock.now()).await?;
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
    leases(&store, &mut clock).await?;
    lists(&store).await?;
    places(&store, &mut clock).await
}
