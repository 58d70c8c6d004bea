//! How a process that stays is stopped.

use std::time::Duration;

use crate::exit::Exit;
use crate::run::say;
use crate::signals::Signals;
use crate::text::{DIM, Line, WARN};

/// How long stopping in good order may take: what supervisors give a service before they kill it (systemd 90 s,
/// Kubernetes and Docker with a usual setting 30 s).
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Lets `drain` end in good order; a signal meanwhile, or the end of its time, leaves at once.
///
/// # Errors
/// What `drain` ended with.
pub(super) async fn drained(
    signals: &mut Signals,
    drain: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Exit> {
    say(&Line::default()
        .with(WARN, "Stopping: turns under way are given back.")
        .with(DIM, " Again stops at once."));
    tokio::select! {
        done = drain => done.map(|()| Exit::Done),
        () = signals.next() => {
            say(&Line::of("Stopped at once. What was recorded is kept; turns go on at the next start, or elsewhere when their leases have lapsed."));
            Ok(Exit::Interrupted)
        }
        () = tokio::time::sleep(DRAIN_MAX) => {
            let seconds = DRAIN_MAX.as_secs();
            say(&Line::of(&format!("Not all was given back within {seconds} s; those turns go on when their leases have lapsed.")));
            Ok(Exit::Failed)
        }
    }
}
