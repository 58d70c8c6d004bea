//! What the control plane costs: `cargo xtask bench server`.
//!
//! One server process over a file of SQLite with a full sync for each commit, real HTTP over loopback. Workers and watchers
//! are calls of this process, so its own work is in the times; the server's processor time and memory are the server's alone.

#![expect(clippy::print_stdout, reason = "figures for a person are the purpose")]

mod figures;
mod growth;
mod live;
mod process;
mod recovery;

use std::error::Error;

use legwork_client::Client;
use legwork_domain::{
    Assignment, EventBatch, EventKind, ItemId, LeaseRequest, LocalChanges, NewEvent, NewTask, Source,
    Timestamp, WorkerId,
};

use figures::many;
use process::Process;

/// Tasks of the list that is read.
const LISTED: u32 = 10_000;
/// Of these, what is queued while turns run.
const QUEUED: u32 = 5_000;
/// Tasks that are handed over one after the other for the time of one.
const ACCEPTED: u32 = 300;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    if process::is_server().await? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let server = Process::start(folder.path()).await?;
    println!("{:>9.1} MiB  server at rest", server.memory_mib()?);
    many("accept a task, full sync", ACCEPTED, async |n| {
        server.client.create_task(&task(), &n.to_string()).await.map(drop)
    })
    .await?;
    for n in ACCEPTED..QUEUED {
        server.client.create_task(&task(), &n.to_string()).await?;
    }
    live::run(&server).await?;
    growth::run(&server).await?;
    recovery::run(&server).await?;
    for n in QUEUED..LISTED {
        server.client.create_task(&task(), &n.to_string()).await?;
    }
    many(&format!("a page of the list of {LISTED} tasks"), 100, async |_| {
        server.client.tasks(&legwork_domain::TaskQuery::default()).await.map(drop)
    })
    .await?;
    println!("{:>9.1} MiB  server at the end", server.memory_mib()?);
    Ok(())
}

fn task() -> NewTask {
    let source = Source { repository: "/r".to_owned(), base: None, local_changes: LocalChanges::Leave };
    NewTask::new(
        "Fix the off-by-one in pagination and add a test".to_owned(),
        source,
        "scripted/x".to_owned(),
    )
}

/// So many tasks, each leased by a worker.
async fn leased(client: &Client, count: u32, keys: &str) -> Result<Vec<Assignment>, Failed> {
    let mut jobs = Vec::new();
    for n in 0..count {
        let view = client.create_task(&task(), &format!("{keys}-{n}")).await?;
        let asks = LeaseRequest { task: Some(view.task.id), ..asks() };
        jobs.push(client.lease(&asks).await?.ok_or("no turn")?);
    }
    Ok(jobs)
}

fn asks() -> LeaseRequest {
    LeaseRequest::of(WorkerId::from_u128(1))
}

/// A batch as commands make them: each event some lines of output.
fn batch(job: &Assignment, first: u64, events: u64) -> EventBatch {
    let kind = EventKind::ItemUpdated { item: ItemId::new(1), delta: "a line of output\n".repeat(6) };
    let at = now();
    let event = || NewEvent { at, kind: kind.clone() };
    let events = (0..events).map(|_| event()).collect();
    EventBatch { epoch: job.lease.epoch, lease: Some(job.lease.id), first, events, transition: None }
}

fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}
