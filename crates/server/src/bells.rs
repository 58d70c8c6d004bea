//! Notices that something may have changed. They carry nothing and may be late, merged or lost: who hears one looks into
//! the store, and who waits also looks by itself from time to time.

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use legwork_domain::AttemptId;
use legwork_store::Notice;
use tokio::sync::watch;

/// Notices that wait to be told to other servers. Far more than ring between two messages; what is beyond is found by
/// looking.
const OUTBOX_MAX: usize = 2_000;

/// One bell for the queue, one for the list of tasks and one for each attempt that is watched.
#[derive(Default)]
pub(crate) struct Bells {
    queue: watch::Sender<()>,
    list: watch::Sender<()>,
    attempts: Mutex<HashMap<AttemptId, watch::Sender<()>>>,
    /// What rang here, for other servers.
    outbox: watch::Sender<BTreeSet<Notice>>,
}

impl Bells {
    /// Hears of new work from now on.
    pub(crate) fn queue(&self) -> watch::Receiver<()> {
        self.queue.subscribe()
    }

    /// There may be work.
    pub(crate) fn ring_queue(&self) {
        self.hear(Notice::Queue);
        self.post(Notice::Queue);
    }

    /// Hears of changes in the list of tasks from now on.
    pub(crate) fn list(&self) -> watch::Receiver<()> {
        self.list.subscribe()
    }

    /// The list of tasks may have changed.
    pub(crate) fn ring_list(&self) {
        self.hear(Notice::List);
        self.post(Notice::List);
    }

    /// A turn of the attempt has another state: its log and the list have changed.
    pub(crate) fn ring_both(&self, attempt: AttemptId) {
        self.ring(attempt);
        self.ring_list();
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
        self.hear(Notice::Attempt(attempt));
        self.post(Notice::Attempt(attempt));
    }

    /// Rings here alone: another server has told of it.
    pub(crate) fn hear(&self, notice: Notice) {
        match notice {
            Notice::Queue => self.queue.send_replace(()),
            Notice::List => self.list.send_replace(()),
            Notice::Attempt(attempt) => {
                if let Some(bell) = self.attempts().get(&attempt) {
                    bell.send_replace(());
                }
            }
        }
    }

    /// Hears that there is something to tell other servers. Nothing is kept for them unless somebody does.
    pub(crate) fn outbox(&self) -> watch::Receiver<BTreeSet<Notice>> {
        self.outbox.subscribe()
    }

    pub(crate) fn empty_outbox(&self) -> BTreeSet<Notice> {
        let mut notices = BTreeSet::new();
        self.outbox.send_if_modified(|outbox| {
            notices = mem::take(outbox);
            false
        });
        notices
    }

    fn post(&self, notice: Notice) {
        if self.outbox.receiver_count() > 0 {
            self.outbox.send_if_modified(|outbox| outbox.len() < OUTBOX_MAX && outbox.insert(notice));
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

    #[test]
    fn what_rings_here_is_kept_for_others_only_if_there_are_some() {
        let bells = Bells::default();
        let one = AttemptId::from_u128(1);
        bells.ring(one);
        let outbox = bells.outbox();
        assert_eq!(bells.empty_outbox(), BTreeSet::new());
        bells.ring(one);
        bells.ring(one);
        bells.ring_queue();
        bells.hear(Notice::Attempt(AttemptId::from_u128(2)));
        assert!(outbox.has_changed().unwrap());
        assert_eq!(bells.empty_outbox(), BTreeSet::from([Notice::Queue, Notice::Attempt(one)]));
        assert_eq!(bells.empty_outbox(), BTreeSet::new());
    }
}
