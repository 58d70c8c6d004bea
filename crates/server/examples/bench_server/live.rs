//! Many turns at a time and many watchers: how late an event reaches them, and what each costs in memory.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use legwork_domain::{Ended, Finish, Outcome};
use tokio::task::JoinSet;

use crate::figures::spread;
use crate::process::Process;
use crate::{Failed, batch, leased, now};

const TURNS: u32 = 100;
const WATCHERS_A_TURN: u32 = 5;
/// Each turn tells so many events once a second, and sends a heartbeat between, as workers do.
const EVENTS: u64 = 5;
const SECONDS: u64 = 20;

pub(crate) async fn run(server: &Process) -> Result<(), Failed> {
    let rest = server.memory_mib()?;
    let jobs = leased(&server.client, TURNS, "live").await?;
    let mut watchers = JoinSet::new();
    for job in &jobs {
        for _ in 0..WATCHERS_A_TURN {
            let events = server.client.events(job.attempt.id, 0);
            watchers.spawn(watch(events));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = (server.memory_mib()? - rest) * 1024.0 / f64::from(TURNS * WATCHERS_A_TURN);
    println!("{each:>9.1} KiB  server memory for each watcher and its share of a turn");
    let before = server.processor()?;
    let mut turns = JoinSet::new();
    for job in jobs {
        let client = server.client.clone();
        turns.spawn(async move {
            // Spread over the second, as real turns are.
            tokio::time::sleep(Duration::from_millis(u64::from(job.task.id.to_string().as_bytes()[20]) * 7))
                .await;
            for n in 0..SECONDS {
                client.append(job.turn.id, &batch(&job, n * EVENTS, EVENTS)).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
                client.append(job.turn.id, &batch(&job, 0, 0)).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let ended = Ended::nothing(Outcome::NoChange, "Done.", now());
            let first = SECONDS * EVENTS;
            let finish = Finish {
                epoch: job.lease.epoch,
                lease: Some(job.lease.id),
                first,
                events: Vec::new(),
                ended,
                blobs: Vec::new(),
            };
            client.finish(job.turn.id, &finish).await.map(drop)
        });
    }
    while let Some(done) = turns.join_next().await {
        done??;
    }
    let busy = server.processor()?.saturating_sub(before).as_secs_f64() / SECONDS as f64;
    let mut late = Vec::new();
    while let Some(watched) = watchers.join_next().await {
        late.extend(watched??);
    }
    let name = format!("event to watcher, {TURNS} turns, {} watchers", TURNS * WATCHERS_A_TURN);
    spread(&name, late);
    println!("{busy:>9.2}      processors that the server used meanwhile");
    println!("{:>9.1} MiB  server with all of it", server.memory_mib()?);
    Ok(())
}

/// How late each event came. The client refuses a log with a hole.
async fn watch(
    events: impl futures::Stream<Item = Result<legwork_domain::Event, legwork_client::Error>>,
) -> Result<Vec<Duration>, Failed> {
    let (mut late, mut events) = (Vec::new(), pin!(events));
    while let Some(event) = events.next().await {
        let event = event?;
        if matches!(event.kind, legwork_domain::EventKind::ItemUpdated { .. }) {
            late.push(Duration::from_millis(now().ms_since(event.at)));
        }
    }
    Ok(late)
}
