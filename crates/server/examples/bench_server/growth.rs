//! What an event costs as its log grows, and what the longest log costs who resumes or replays it.

use std::time::Instant;

use futures::StreamExt;

use crate::figures::{ms, spread};
use crate::process::Process;
use crate::{Failed, asks, batch, leased};

/// Lengths at which the cost is taken.
const LENGTHS: [u64; 3] = [100, 10_000, 100_000];
/// Events of one batch.
const EVENTS: u64 = 20;
/// Batches that are timed.
const BATCHES: u64 = 100;
/// Events of one batch where nothing is timed.
const FILL: u64 = 1000;

pub(crate) async fn run(server: &Process) -> Result<(), Failed> {
    let job = leased(&server.client, 1, "growth").await?.remove(0);
    let mut length = 0;
    for mark in LENGTHS {
        while length < mark {
            let events = FILL.min(mark - length);
            server.client.append(job.turn.id, &batch(&job, length, events)).await?;
            length += events;
        }
        let (processor, written) = (server.processor()?, server.written()?);
        let mut times = Vec::new();
        for _ in 0..BATCHES {
            let started = Instant::now();
            server.client.append(job.turn.id, &batch(&job, length, EVENTS)).await?;
            times.push(started.elapsed());
            length += EVENTS;
        }
        let events = (BATCHES * EVENTS) as f64;
        let processor = (server.processor()? - processor).as_secs_f64() * 1e6 / events;
        let written = (server.written()? - written) as f64 / events;
        spread(&format!("a batch of {EVENTS} events at {mark} events"), times);
        println!("{processor:>9.1} µs  of the server's processor for each event at {mark} events");
        println!("{written:>9.0} B   written for each event at {mark} events");
    }
    resume(server, &job).await
}

/// The worker is lost; another takes the turn up, and a watcher reads all of it.
async fn resume(server: &Process, job: &legwork_domain::Assignment) -> Result<(), Failed> {
    let store = legwork_store::Store::open(&server.data.join("legwork.db")).await?;
    store.expire(crate::now().plus_ms(1_000_000)).await?;
    let started = Instant::now();
    let wish = legwork_domain::LeaseRequest { task: Some(job.task.id), ..asks() };
    server.client.lease(&wish).await?.ok_or("no turn")?;
    println!("{:>9.2} ms  until a turn of {} events is resumed", ms(started.elapsed()), LENGTHS[2]);
    let started = Instant::now();
    let events = server.client.events_so_far(job.attempt.id).count().await;
    println!("{:>9.0} ms  for all {events} events to a watcher that comes new", ms(started.elapsed()));
    Ok(())
}
