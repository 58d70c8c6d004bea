//! Times what a turn pays for its durable log: `cargo run --release -p legwork-server --example latency [-- DATABASE_URL]`.
//!
//! One process, real HTTP over loopback, a real file (in the directory for temporary files) or the database named.

#![expect(clippy::print_stdout, reason = "figures for a person are the purpose")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use legwork_client::Client;
use legwork_domain::{
    Assignment, Ended, EventBatch, EventKind, Finish, ItemId, LeaseRequest, LocalChanges, NewEvent, NewTask,
    Outcome, Source, TaskQuery, Timestamp, WorkerId,
};
use legwork_server::Config;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const ROUNDS: u32 = 300;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let database = std::env::args().nth(1);
    let (first, _) = time(serve(folder.path(), database.clone())).await?;
    print("a new data directory until a call is answered", first);
    let (again, (client, _, _)) = time(serve(folder.path(), database.clone())).await?;
    print("an existing one until a call is answered", again);
    let url = database.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("legwork.db").display()));
    let (opened, _) = time(async { Ok(legwork_store::Store::connect(&url).await?) }).await?;
    print("the store alone, existing", opened);

    many("accept a task", async |n| drop(client.create_task(&task(), &n.to_string()).await)).await;
    let asks = LeaseRequest::of(WorkerId::from_u128(1));
    let job = client.lease(&asks).await?.ok_or("no turn")?;
    many("heartbeat (empty batch)", async |_| drop(client.append(job.turn.id, &batch(&job, 0, 0)).await))
        .await;
    many("a list of 50 tasks", async |_| drop(client.tasks(&TaskQuery::default()).await)).await;
    let started = Instant::now();
    many("a batch of 20 events", async |n| drop(client.append(job.turn.id, &batch(&job, n, 20)).await)).await;
    rate("events appended", started.elapsed());
    client.finish(job.turn.id, &finish(&job)).await?;
    let started = Instant::now();
    let read = client.events(job.attempt.id, 0).count().await;
    println!("{read} events replayed");
    rate("events replayed", started.elapsed());
    Ok(())
}

type Serving = (Client, CancellationToken, JoinHandle<Result<(), legwork_server::Error>>);

/// A server that answers.
async fn serve(data: &Path, database: Option<String>) -> Result<Serving, Failed> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let client = Client::new(&format!("http://{}", listener.local_addr()?), "token")?;
    let config = Config { database, ..Config::new(data.to_owned(), "token".to_owned()) };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(legwork_server::serve(listener, config, shutdown.clone()));
    client.tasks(&TaskQuery::default()).await?;
    Ok((client, shutdown, serving))
}

async fn time<T>(what: impl Future<Output = Result<T, Failed>>) -> Result<(Duration, T), Failed> {
    let started = Instant::now();
    let value = what.await?;
    Ok((started.elapsed(), value))
}

/// Median and 99th percentile of many calls, one after the other.
async fn many(name: &str, mut call: impl AsyncFnMut(u32)) {
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let started = Instant::now();
        call(n).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    print(&format!("{name}, median"), at(50));
    print(&format!("{name}, p99"), at(99));
}

fn print(name: &str, time: Duration) {
    println!("{:>9.3} ms  {name}", time.as_secs_f64() * 1000.0);
}

fn rate(name: &str, time: Duration) {
    println!("{:>9.0} /s  {name}", f64::from(ROUNDS * 20) / time.as_secs_f64());
}

fn task() -> NewTask {
    let source = Source { repository: "/r".to_owned(), base: None, local_changes: LocalChanges::Leave };
    NewTask::new(
        "Fix the off-by-one in pagination and add a test".to_owned(),
        source,
        "scripted/x".to_owned(),
    )
}

fn batch(job: &Assignment, n: u32, events: u32) -> EventBatch {
    let kind = EventKind::ItemUpdated { item: ItemId::new(1), delta: "a line of output\n".repeat(6) };
    let event = NewEvent { at: Timestamp::from_micros(1), kind };
    let first = u64::from(n * events);
    EventBatch {
        epoch: job.lease.epoch,
        lease: Some(job.lease.id),
        first,
        events: vec![event; events as usize],
        transition: None,
    }
}

fn finish(job: &Assignment) -> Finish {
    let ended = Ended::nothing(Outcome::NoChange, "Done.", Timestamp::from_micros(1));
    let first = u64::from(ROUNDS * 20);
    Finish {
        epoch: job.lease.epoch,
        lease: Some(job.lease.id),
        first,
        events: Vec::new(),
        ended,
        blobs: Vec::new(),
    }
}
