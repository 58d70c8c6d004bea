//! The receipt: what left, what was kept from leaving, and who wanted it.
//!
//! A program can make a million connections a minute, so what repeats is one entry with a count, and what is too much to
//! tell apart is one entry more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Different entries between two looks. More are counted together.
const ENTRIES_MAX: usize = 128;

/// Who wanted it, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// Its name.
    pub process: String,
    /// Its command line.
    pub command_line: String,
    /// Which of a sandbox's commands it belongs to, if that is known: a number that means something to the sandbox's holder.
    pub command: Option<u32>,
}

/// How something left, or was to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// A connection that nobody looked into.
    Tunnel,
    /// A request over TLS that was looked at.
    Https,
    /// A request without TLS.
    Http,
    /// A question for a name.
    Name,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was let through by this rule.
    Allowed(String),
    /// It was not, for this reason.
    Denied(String),
    /// It was allowed and came to nothing, for this reason.
    Failed(String),
}

/// What is told of connections or requests that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matter {
    /// The host, as far as it could be read: at most 255 characters.
    pub host: String,
    /// The port; 0 if there is none.
    pub port: u16,
    /// How.
    pub way: Way,
    /// The request's method.
    pub method: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Who wanted it.
    pub program: Option<Program>,
}

/// One line of the receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the first of them began.
    pub at: SystemTime,
    /// What they have in common.
    pub matter: Matter,
    /// How many they are.
    pub count: u64,
    /// Bytes to the host, all together, as far as they could be counted.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
}

/// Collects receipts between two looks. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    order: Vec<Receipt>,
    places: HashMap<Matter, usize>,
}

impl Ledger {
    /// What was collected since the last look, in the order of the first of each kind.
    #[must_use]
    pub fn take(&self) -> Vec<Receipt> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.places.clear();
        std::mem::take(&mut book.order)
    }

    pub(crate) fn record(&self, mut receipt: Receipt) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let matter = if book.places.contains_key(&receipt.matter) || book.order.len() < ENTRIES_MAX {
            receipt.matter.clone()
        } else {
            others(&receipt.matter)
        };
        if let Some(place) = book.places.get(&matter).copied()
            && let Some(known) = book.order.get_mut(place)
        {
            known.count += receipt.count;
            known.sent = known.sent.saturating_add(receipt.sent);
            known.received = known.received.saturating_add(receipt.received);
            return;
        }
        let place = book.order.len();
        book.places.insert(matter.clone(), place);
        receipt.matter = matter;
        book.order.push(receipt);
    }
}

/// What is left to say of one that is not told apart.
fn others(matter: &Matter) -> Matter {
    let why = "too many different ones to tell apart".to_owned();
    let outcome = match matter.outcome {
        Outcome::Allowed(_) => Outcome::Allowed(why),
        Outcome::Denied(_) => Outcome::Denied(why),
        Outcome::Failed(_) => Outcome::Failed(why),
    };
    Matter { host: "(others)".to_owned(), port: 0, way: matter.way, method: None, outcome, program: None }
}

/// A connection or request under way: it is receipted when this is dropped, however it ended.
#[derive(Debug)]
pub(crate) struct Entry {
    ledger: Ledger,
    at: SystemTime,
    matter: Mutex<Option<Matter>>,
    pub(crate) bytes: Arc<Bytes>,
}

/// What went both ways.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

impl Entry {
    pub(crate) fn new(ledger: &Ledger, matter: Matter) -> Self {
        Self {
            ledger: ledger.clone(),
            at: SystemTime::now(),
            matter: Mutex::new(Some(matter)),
            bytes: Arc::default(),
        }
    }

    /// It is told by others.
    pub(crate) fn forget(&self) {
        self.matter.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What it came to, if not what was thought at first.
    pub(crate) fn came_to(&self, outcome: Outcome) {
        if let Some(matter) = self.matter.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            matter.outcome = outcome;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let matter = self.matter.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(matter) = matter {
            self.ledger.record(Receipt {
                at: self.at,
                matter,
                count: 1,
                sent: self.bytes.sent.load(Ordering::Relaxed),
                received: self.bytes.received.load(Ordering::Relaxed),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matter(host: &str) -> Matter {
        let outcome = Outcome::Allowed("all".into());
        Matter { host: host.into(), port: 443, way: Way::Tunnel, method: None, outcome, program: None }
    }

    #[test]
    fn what_repeats_is_counted_and_what_is_too_much_is_one() {
        let ledger = Ledger::default();
        for number in 0..3 {
            let entry = Entry::new(&ledger, matter("a.example"));
            entry.bytes.sent.store(number, Ordering::Relaxed);
        }
        let [one] = &ledger.take()[..] else { panic!("not one") };
        assert_eq!((one.count, one.sent), (3, 3));
        for number in 0..1000 {
            drop(Entry::new(&ledger, matter(&format!("h{number}.example"))));
        }
        let all = ledger.take();
        assert_eq!(all.len(), ENTRIES_MAX + 1);
        assert_eq!(all.iter().map(|receipt| receipt.count).sum::<u64>(), 1000);
        assert!(ledger.take().is_empty());
    }
}
