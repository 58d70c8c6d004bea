//! Looks at the state again and again and acts on what it sees. Whatever was missed while nobody looked is seen at the
//! next look, so there is nothing to restore after a crash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_domain::{BlobId, Turn};
use legwork_store::{Gone, Step};
use tokio::time::MissedTickBehavior;

use crate::{Server, now};

/// How long a lapsed lease may go unseen; short beside the lease itself.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long workers have to be heard again after nobody could hear them, at most; well above the longest pause between
/// their tries.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// How often turns that wait for a budget are looked at: a day that begins and a request that cost less than was reserved
/// make room without anybody's call.
const FUNDING_INTERVAL: Duration = Duration::from_secs(10);

/// How often old records are looked for that need not be kept.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// Parts of deleted tasks that one look takes away: together well below a lease, whose lapse the same loop looks for.
const PURGE_STEPS_MAX: usize = 20;

/// Runs until the server shuts down.
pub(crate) async fn run(server: Arc<Server>) {
    if let Err(error) = server.blobs.sweep() {
        tracing::warn!(%error, "could not remove unfinished blobs; the next start tries again");
    }
    while let Ok(true) = server.store.backfill_list().await {
        server.bells.ring_list();
    }
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut funding = tokio::time::interval(FUNDING_INTERVAL);
    funding.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruning = tokio::time::interval(PRUNE_INTERVAL);
    pruning.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hearing = Hearing::new(server.rules.lease.min(RETURN_MAX), Instant::now());
    loop {
        let (done, what) = tokio::select! {
            _ = ticks.tick() => {
                server.buckets.sweep();
                // It has told the log if it failed; the next look tries again.
                let heard = server.reread_secrets().await.is_ok();
                let done = if hearing.judges(heard, Instant::now()) { expire(&server).await } else { Ok(()) };
                (done, "lapsed leases")
            }
            _ = funding.tick() => (wake_funded(&server).await, "budgets with room again"),
            _ = pruning.tick() => (prune(&server).await, "records that need not be kept"),
            () = server.shutdown.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "could not look for {what}; the next look comes in some seconds");
        }
    }
}

/// Since when workers could be heard. A lease that lapsed while the server was down or frozen, or had no database, says
/// nothing of its worker.
struct Hearing {
    needed: Duration,
    since: Instant,
    looked: Instant,
}

impl Hearing {
    const fn new(needed: Duration, now: Instant) -> Self {
        Self { needed, since: now, looked: now }
    }

    /// Whether a lapsed lease tells of a lost worker by now. `heard`: the database answers.
    fn judges(&mut self, heard: bool, now: Instant) -> bool {
        // Looks come at an interval: after a pause of several the process itself was held up.
        if !heard || now - self.looked > 3 * INTERVAL {
            self.since = now;
        }
        self.looked = now;
        now - self.since >= self.needed
    }
}

async fn prune(server: &Server) -> Result<(), legwork_store::Error> {
    server.store.prune_changes().await?;
    server.store.forget_workers(now()).await?;
    purge(server).await
}

/// Takes away what deleted tasks held, and blobs that nothing uses any more: a bounded part, the rest at the next looks.
async fn purge(server: &Server) -> Result<(), legwork_store::Error> {
    let kept_ms = i64::try_from(server.rules.deleted_kept.as_millis()).unwrap_or(i64::MAX);
    for _ in 0..PURGE_STEPS_MAX {
        if server.store.purge(now().plus_ms(kept_ms.saturating_neg()), now()).await? == Step::Done {
            break;
        }
    }
    server.store.end_uploads(now()).await?;
    for blob in server.store.unused_blobs().await? {
        server.store.collect_blob(&blob, removed(server, &blob)).await?;
    }
    Ok(())
}

async fn removed(server: &Server, blob: &BlobId) -> Gone {
    match server.blobs.remove(blob).await {
        Ok(()) => Gone::Yes,
        Err(error) => {
            tracing::warn!(%error, %blob, "a blob that nothing uses could not be removed; the next look tries again");
            Gone::NotYet
        }
    }
}

/// Wakes turns for which there is room in their budgets again.
pub(crate) async fn wake_funded(server: &Server) -> Result<(), legwork_store::Error> {
    for turn in server.store.wake_funded(now()).await? {
        tracing::info!(task = %turn.task, attempt = %turn.attempt, turn = %turn.id, "a turn's budget has room again");
        server.bells.ring_both(turn.attempt);
        server.bells.ring_queue();
    }
    Ok(())
}

/// Takes lapsed leases back until there is none.
async fn expire(server: &Server) -> Result<(), legwork_store::Error> {
    loop {
        let expired = server.store.expire(now()).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for turn in expired {
            lapsed(server, &turn);
        }
    }
}

/// Tells all who wait of a turn that has lost its lease.
pub(crate) fn lapsed(server: &Server, turn: &Turn) {
    server.metrics.lease_lapsed();
    tracing::warn!(task = %turn.task, attempt = %turn.attempt, turn = %turn.id, state = turn.state.name(), "a lease lapsed");
    server.bells.ring_both(turn.attempt);
    // The attempt's next turn may be ready now.
    server.bells.ring_queue();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapsed_lease_tells_of_its_worker_once_that_could_be_heard_long_enough() {
        let start = Instant::now();
        let mut hearing = Hearing::new(Duration::from_secs(5), start);
        let judges = |(at, heard)| hearing.judges(heard, start + Duration::from_secs(at));
        let looks = [
            (0, true),
            (4, true),
            (6, true),
            (8, false),
            (10, true),
            (12, true),
            (14, true),
            // Frozen.
            (44, true),
            (48, true),
            (50, true),
        ];
        let judged = looks.map(judges);
        assert_eq!(judged, [false, false, true, false, false, false, true, false, false, true]);
    }
}
