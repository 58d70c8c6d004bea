//! Whether this server can take work: a row is written and read, and a file is written beside the blobs.
//!
//! Trying is the one test that knows of a full disk, a database that is gone and a file system that turned read-only.
//! A try costs a commit and strangers may ask, so its outcome is good for a second.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use legwork_store::Error;
use tokio::sync::Mutex;

use crate::blobs::Blobs;
use crate::{Server, now};

/// How long an outcome is good: short beside what load balancers wait between two questions.
const KEEP: Duration = Duration::from_secs(1);

/// A server that needs longer for a write is no use to a caller; below the time-outs of the usual probes.
const TRY_MAX: Duration = Duration::from_secs(5);

/// One page of a usual file system: some keep shorter files where a full disk still has room.
const PROBE_BYTES: usize = 4096;

/// The last outcome. Who asks during a try waits for it.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), &'static str>)>>);

impl Readiness {
    /// Why the server cannot take work, as a sentence.
    pub(crate) async fn ask(&self, server: &Server) -> Result<(), &'static str> {
        if server.shutdown.is_cancelled() {
            return Err("The server is about to stop.");
        }
        let mut last = self.0.lock().await;
        if let Some((at, outcome)) = *last
            && at.elapsed() < KEEP
        {
            return outcome;
        }
        let outcome = tokio::time::timeout(TRY_MAX, attempt(server))
            .await
            .unwrap_or(Err("The database did not answer in time."));
        *last = Some((Instant::now(), outcome));
        outcome
    }
}

async fn attempt(server: &Server) -> Result<(), &'static str> {
    server.store.probe(now()).await.map_err(|error| {
        tracing::warn!(%error, "the server is not ready");
        sentence(&error)
    })?;
    server.blobs.probe().map_err(|error| {
        tracing::warn!(%error, "the server is not ready");
        if error.kind() == io::ErrorKind::StorageFull {
            "The disk of the blobs is full."
        } else {
            "The directory of the blobs cannot be written."
        }
    })
}

/// No more than a stranger may know.
const fn sentence(error: &Error) -> &'static str {
    if matches!(error, Error::Full(_)) {
        "The disk of the database is full."
    } else if matches!(error, Error::Busy(_)) {
        "The database is busy or cannot be reached."
    } else {
        "The database failed; the server's log says why."
    }
}

impl Blobs {
    /// Writes a small file and forgets it.
    fn probe(&self) -> io::Result<()> {
        let mut file = tempfile::tempfile_in(self.unfinished())?;
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_data()
    }
}
