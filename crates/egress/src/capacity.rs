//! How many connections a sandbox has at a time, and their common end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections of one sandbox at the same time: package managers open some tens.
const CONNECTIONS_MAX: u32 = 256;

/// How long the end waits for the ends of connections, which have nothing to wait for.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Room for connections, until the sandbox has ended.
#[derive(Debug)]
pub(crate) struct Capacity {
    free: Arc<Semaphore>,
    /// Nothing is served any more.
    over: CancellationToken,
}

/// Room for one connection of a proxy; there is as much again once the last clone is gone.
#[derive(Clone, Debug)]
pub struct Room {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)), over: CancellationToken::new() }
    }
}

impl Capacity {
    /// Waits until there is room for one more.
    pub(crate) async fn room(&self) -> Room {
        // The semaphore is never closed.
        Room { _permit: Arc::clone(&self.free).acquire_owned().await.ok().map(Arc::new) }
    }

    /// Does the work of a connection until it is done or all is over.
    pub(crate) async fn while_open(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.over.cancelled() => {}
        }
    }

    /// Ends all connections and waits until they have left.
    pub(crate) async fn close(&self) {
        self.over.cancel();
        // One that does not end in time is told without what it still does, which is nothing: its program is dead.
        let _ = tokio::time::timeout(CLOSE_TIME, self.free.acquire_many(CONNECTIONS_MAX)).await;
    }
}
