//! Calls that are made again until the server is back.

use std::time::Duration;

use legwork_agent::now;
use legwork_client::Error;
use tokio::time::Instant;

/// How long a call is made again whose failure ends the turn. A server that is away so long has cost the lease already;
/// one that hears all else and only refuses this is to be told of, not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Growing pauses between tries: 50 ms doubled up to 2 s, each cut at random to between half and whole, so that many
/// workers do not return at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        const FIRST_MS: u64 = 50;
        const DOUBLINGS_MAX: u32 = 5;
        const LONGEST_MS: u64 = 2000;
        let whole = (FIRST_MS << self.tries.min(DOUBLINGS_MAX)).min(LONGEST_MS);
        self.tries = self.tries.saturating_add(1);
        // The clock's last digits are random enough to spread calls.
        let spread = u64::try_from(now().micros()).unwrap_or(0) % (whole / 2 + 1);
        Duration::from_millis(whole - spread)
    }
}

/// Makes a call that is harmless to repeat until it has its answer: a server or database that is away for a moment costs no
/// turn. Who waits is dropped with the turn if the lease is lost meanwhile.
///
/// # Errors
/// The last answer, if waiting cannot help or did not.
pub(crate) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let (mut backoff, since) = (Backoff::default(), Instant::now());
    loop {
        match call().await {
            Err(error) if error.is_retryable() && since.elapsed() < PATIENCE => {
                tracing::debug!(%error, "the server is asked again");
                tokio::time::sleep(backoff.next()).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        let first = backoff.next();
        assert!((25..=50).contains(&first.as_millis()), "{first:?}");
        let last = std::iter::repeat_with(|| backoff.next()).take(20).last().unwrap();
        assert!((800..=2000).contains(&last.as_millis()), "{last:?}");
    }
}
