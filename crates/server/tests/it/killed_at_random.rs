//! Servers that are killed and frozen at random, workers that sleep beyond their leases, watchers that break off: what was
//! accepted ends once, and no log and no transcript has a hole.
//!
//! The seed is printed; it plans the misfortune, and the machine's own timing does the rest. `LEGWORK_KILL_SECONDS` makes it longer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use legwork_client::{Client, Error};
use legwork_domain::{Assignment, LeaseRequest, Outcome, TaskId, Violation, WorkerId};
use legwork_server::{Deep, deep_look};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::postgres::Database;
use crate::process::{LEASE, Process};
use crate::watcher;
use crate::world::{asks, batch, delta, end, request};

/// How long servers are killed in the gate.
const SECONDS: u64 = 6;
const WORKERS: u64 = 6;
/// A server lives at most so long.
const LIFE_MS_MAX: u64 = 900;
/// Batches of one turn.
const BATCHES: u64 = 6;

/// The servers' clients; a call goes to any of them.
#[derive(Clone)]
struct Service {
    clients: Arc<Vec<Client>>,
    addresses: Arc<Vec<SocketAddr>>,
}

impl Service {
    /// Calls one server after the other until there is an answer; a refusal is one.
    async fn call<T>(&self, mut call: impl AsyncFnMut(&Client) -> Result<T, Error>) -> Result<T, Error> {
        for client in self.clients.iter().cycle() {
            match call(client).await {
                Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(20)).await,
                answered => return answered,
            }
        }
        unreachable!("there are servers")
    }
}

/// A watcher's task, what was wrong with its transcript, and where that ended.
type Watched = (TaskId, Vec<Violation>, u64);

/// Hands tasks over until the end of the killing, each twice, and watches each from then on.
async fn people(service: Service, over: watch::Receiver<bool>, mut rng: Rng) -> JoinSet<Watched> {
    let mut watchers = JoinSet::new();
    while !*over.borrow() {
        let key = rng.u128(..).to_string();
        let task = request(&key);
        let view = service.call(async |client| client.create_task(&task, &key).await).await.unwrap();
        let again = service.call(async |client| client.create_task(&task, &key).await).await.unwrap();
        assert_eq!(view.task.id, again.task.id, "one key, one task");
        let (task, attempt) = (view.task.id, view.attempts[0].attempt.id);
        let (addresses, patience) = (Arc::clone(&service.addresses), rng.usize(1..20));
        watchers.spawn(async move {
            let (violations, last) = watcher::follow(&addresses, attempt, patience).await;
            (task, violations, last)
        });
        tokio::time::sleep(Duration::from_millis(rng.u64(10..150))).await;
    }
    watchers
}

/// Works until there is nothing left to do after the end of the killing.
async fn worker(service: Service, over: watch::Receiver<bool>, number: u64, mut rng: Rng) {
    let worker = WorkerId::from_u128(number.into());
    let wish = LeaseRequest { worker, ..asks(200, None) };
    // Nothing to do once is not enough: a turn may be under a lease that nobody heard of.
    let mut idle_since = Instant::now();
    while !*over.borrow() || idle_since.elapsed() < 3 * LEASE {
        if let Some(job) = service.call(async |client| client.lease(&wish).await).await.unwrap() {
            // A lost lease is the turn's next worker's affair.
            let done = work(&service, &job, &mut rng).await;
            assert!(done.is_ok() || done.unwrap_err().code() == Some("stale_epoch"));
            idle_since = Instant::now();
        }
    }
}

async fn work(service: &Service, job: &Assignment, rng: &mut Rng) -> Result<(), Error> {
    let turn = job.turn.id;
    for n in 0..BATCHES {
        let events = vec![delta("a"), delta("b")];
        let batch = batch(job, 2 * n, events);
        service.call(async |client| client.append(turn, &batch).await).await?;
        if rng.u8(..) < 4 {
            // A zombie: what it says next is refused if another has the turn.
            tokio::time::sleep(2 * LEASE).await;
        }
    }
    let finish = end(job, 2 * BATCHES, Outcome::NoChange);
    service.call(async |client| client.finish(turn, &finish).await).await.map(drop)
}

/// Kills and freezes servers for so long.
async fn killer(mut servers: Vec<Process>, time: Duration, mut rng: Rng) -> Vec<Process> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(rng.u64(50..LIFE_MS_MAX))).await;
        let server = rng.usize(..servers.len());
        if rng.u8(..) < 40 {
            servers[server].signal(Signal::STOP);
            tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
            servers[server].signal(Signal::CONT);
        } else {
            servers[server].killed_and_started();
        }
    }
    servers
}

/// Into the test's output, which is shown if it fails.
fn say(words: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{words}").unwrap();
}

async fn all_is_well(database: Option<String>, servers: usize) {
    let seed = std::env::var("LEGWORK_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    say(&format!("LEGWORK_KILL_SEED={seed}"));
    let seconds = std::env::var("LEGWORK_KILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let mut rng = Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let processes: Vec<Process> = (0..servers).map(|_| Process::start(&data, database.as_deref())).collect();
    let service = Service {
        clients: Arc::new(processes.iter().map(Process::client).collect()),
        addresses: Arc::new(processes.iter().map(|process| process.address).collect()),
    };
    let (tell, over) = watch::channel(false);
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn_local(worker(service.clone(), over.clone(), number, rng.fork()));
    }
    let handing_over = tokio::task::spawn_local(people(service.clone(), over.clone(), rng.fork()));
    let servers = killer(processes, time, rng.fork()).await;
    tell.send_replace(true);
    let mut watchers = handing_over.await.unwrap();
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    let (mut tasks, mut lost, mut seen) = (0, 0, 0);
    while let Some(watched) = watchers.join_next().await {
        let (task, violations, last) = watched.unwrap();
        assert_eq!(violations, [], "seed {seed}");
        let view = service.call(async |client| client.task(task).await).await.unwrap();
        let ended = view.attempts[0].turns[0].state.ended().unwrap();
        (tasks, seen, lost) = (tasks + 1, seen + last, lost + u32::from(ended.outcome != Outcome::NoChange));
    }
    drop(servers);
    let found = deep_look(Deep { data, database, secrets: Vec::new(), key: None }).await.unwrap();
    assert_eq!(found.violations, [], "seed {seed}");
    assert_eq!(
        (found.attempts, found.events),
        (tasks, seen),
        "every event of every log was seen, seed {seed}"
    );
    say(&format!("{tasks} tasks, {seen} events, {lost} lost their worker three times"));
    assert!(tasks > 3, "something was done");
}

#[tokio::test]
async fn one_server_on_a_file() {
    LocalSet::new().run_until(all_is_well(None, 1)).await;
}

#[tokio::test]
async fn two_servers_on_postgres() {
    let database = Database::new();
    LocalSet::new().run_until(all_is_well(Some(database.url()), 2)).await;
}
