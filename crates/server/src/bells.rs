//! Notices that something may have changed. They carry nothing and may be late, merged or lost: who hears one looks into
//! the store, and who waits also looks by itself from time to time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use legwork_domain::AttemptId;
use tokio::sync::watch;

/// One bell for the queue and one for each attempt that is watched.
#[derive(Default)]
pub(crate) struct Bells {
    queue: watch::Sender<()>,
    attempts: Mutex<HashMap<AttemptId, watch::Sender<()>>>,
}

impl Bells {
    /// Hears of new work from now on.
    pub(crate) fn queue(&self) -> watch::Receiver<()> {
        self.queue.subscribe()
    }

    /// There may be work.
    pub(crate) fn ring_queue(&self) {
        self.queue.send_replace(());
    }

    /// Hears of an attempt's new events from now on.
    pub(crate) fn attempt(&self, attempt: AttemptId) -> watch::Receiver<()> {
        let mut attempts = self.attempts();
        // Here and not when a receiver goes, so that going needs no lock. The map holds at most the watched ones and
        // those that were watched since somebody last came.
        attempts.retain(|_, bell| bell.receiver_count() > 0);
        attempts.entry(attempt).or_default().subscribe()
    }

    /// The attempt's log may have grown.
    pub(crate) fn ring(&self, attempt: AttemptId) {
        if let Some(bell) = self.attempts().get(&attempt) {
            bell.send_replace(());
        }
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<AttemptId, watch::Sender<()>>> {
        // Each change to the map is one call, so a panic elsewhere leaves it whole.
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rings_for_its_attempt_and_is_taken_down_when_nobody_listens() {
        let bells = Bells::default();
        let (one, two) = (AttemptId::from_u128(1), AttemptId::from_u128(2));
        let (hears, quiet) = (bells.attempt(one), bells.attempt(two));
        bells.ring(one);
        assert!(hears.has_changed().unwrap() && !quiet.has_changed().unwrap());
        drop((hears, quiet));
        drop(bells.attempt(one));
        assert_eq!(bells.attempts().len(), 1);
    }
}
