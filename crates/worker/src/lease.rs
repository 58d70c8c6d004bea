//! The lease loop: a free slot, then work for it, then a task of its own for the turn.

use std::sync::Arc;
use std::time::Duration;

use legwork_domain::LeaseRequest;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::turn;
use crate::worker::Worker;
use crate::{Error, trace};

/// How long one lease call waits: the most that the API takes.
const WAIT_MS: u64 = 30_000;

/// How long a stop may take in all: below the 30 s that supervisors give.
const DRAIN_MAX: Duration = Duration::from_secs(28);

/// Between two looks for what may go: hours are short beside the days that things are kept.
const TEND_PERIOD: Duration = Duration::from_secs(60 * 60);

/// Leases while there are free slots. A slot is taken *before* the server is asked, so that a turn is never leased that
/// nobody here could start at once.
pub(crate) async fn run(worker: Arc<Worker>, shutdown: CancellationToken) -> Result<(), Error> {
    // Dead workers' sandboxes are no reason to wait: reaping is safe beside live ones.
    let reaper = tokio::spawn(reap(Arc::clone(&worker)));
    let _tends = AbortOnDropHandle::new(tokio::spawn(tend(Arc::clone(&worker))));
    let slots = Arc::new(Semaphore::new(worker.config.slots.max(1)));
    let request = LeaseRequest {
        worker: worker.config.id,
        machine: Some(worker.machine),
        wait_ms: WAIT_MS,
        task: worker.config.task,
        labels: worker.config.labels.clone(),
        slots: u32::try_from(worker.config.slots).unwrap_or(u32::MAX),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        keeps_ms: u64::try_from(worker.shelf.keeps().as_millis()).ok(),
    };
    let mut turns = JoinSet::new();
    let mut backoff = Backoff::default();
    let mut reaped = Some(reaper);
    loop {
        let lease = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, worker.config.client.lease(&request).await)
        };
        let (slot, leased) = tokio::select! {
            () = shutdown.cancelled() => break,
            leased = lease => leased,
        };
        match leased {
            Ok(Some(assignment)) => {
                backoff = Backoff::default();
                let worker = Arc::clone(&worker);
                turns.spawn(async move {
                    let span = trace::turn(&assignment);
                    turn::run(worker, assignment).instrument(span).await;
                    drop(slot);
                });
            }
            Ok(None) => backoff = Backoff::default(),
            Err(error) if error.is_retryable() => pause(backoff.next(), &shutdown).await,
            Err(error) => return Err(Error::Server(error)),
        }
        while turns.try_join_next().is_some() {}
        if let Some(reaper) = reaped.take_if(|reaper| reaper.is_finished()) {
            reaper.await.unwrap_or(Ok(())).map_err(Error::Sandbox)?;
        }
    }
    drain(&worker, turns).await;
    Ok(())
}

/// Lets turns end or be given back.
async fn drain(worker: &Worker, mut turns: JoinSet<()>) {
    worker.draining.cancel();
    let all = async { while turns.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, all).await.is_err() {
        tracing::warn!(left = turns.len(), "turns could not be given back in time; their leases will lapse");
    }
    turns.shutdown().await;
}

async fn reap(worker: Arc<Worker>) -> Result<(), legwork_sandbox::Error> {
    worker.shelf.sweep(worker.config.backend.as_ref(), &worker.config.images).await;
    let reaped = worker.config.backend.reap().await?;
    if reaped > 0 {
        tracing::info!(reaped, "removed what sandboxes of dead workers left behind");
    }
    Ok(())
}

/// Cleans up again and again: a worker may run for months.
async fn tend(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(TEND_PERIOD).await;
        if let Err(error) = reap(Arc::clone(&worker)).await {
            tracing::warn!(%error, "could not clean up; the next time is in an hour");
        }
    }
}

async fn pause(time: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
