//! Looks at the state again and again and acts on what it sees. Whatever was missed while nobody looked is seen at the
//! next look, so there is nothing to restore after a crash.

use std::sync::Arc;
use std::time::Duration;

use legwork_domain::State;
use tokio::time::MissedTickBehavior;

use crate::{Server, now};

/// How long a lapsed lease may go unseen; short beside the lease itself.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs until the server shuts down.
pub(crate) async fn run(server: Arc<Server>) {
    if let Err(error) = server.blobs.sweep() {
        tracing::warn!(%error, "could not remove unfinished blobs; the next start tries again");
    }
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = server.shutdown.cancelled() => return,
        }
        if let Err(error) = expire(&server).await {
            tracing::warn!(%error, "could not look for lapsed leases; the next look comes in {INTERVAL:?}");
        }
    }
}

/// Takes lapsed leases back until there is none.
async fn expire(server: &Server) -> Result<(), legwork_store::Error> {
    loop {
        let expired = server.store.expire(now()).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for turn in expired {
            tracing::warn!(task = %turn.task, attempt = %turn.attempt, turn = %turn.id, state = turn.state.name(), "a lease lapsed");
            server.bells.ring(turn.attempt);
            if turn.state == State::Queued {
                server.bells.ring_queue();
            }
        }
    }
}
