//! Who comes first when there are not enough processors: a sandbox that takes little before one that takes all it can.
//!
//! The kernel divides each processor by itself among the groups that want it. A group that wants all of them therefore takes
//! half of the one that a neighbour's single process needs whole, though there is a processor for each. So who takes more than
//! an even part of the machine yields: its weight falls until it takes clearly less. Nobody starves of that, for those with
//! full weight take no more than their even part; what is left is at least one even part for who yields.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often it is looked at what each takes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who takes more than this many even parts yields.
const YIELDS_ABOVE: f64 = 1.1;

/// Who has taken less than this many even parts for some time yields no longer.
const RECOVERS_BELOW: f64 = 0.5;

/// How much the last look counts in what has been taken for some time: that is one to two seconds.
const LAST_COUNTS: f64 = 1.0 / 16.0;

/// Who takes fewer processors than this wants none.
const IDLE: f64 = 0.05;

/// Where a group's use is read and its weight set.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// Holds what was used: a number of nanoseconds, or a line `usage_usec`.
    pub(super) usage: PathBuf,
    /// Holds a line `nr_throttled`.
    pub(super) throttled: PathBuf,
    pub(super) weight: PathBuf,
    pub(super) weights: Weights,
}

/// What is written for a weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    pub(super) full: u32,
    pub(super) yields: u32,
}

/// The sandboxes of one backend.
#[derive(Debug)]
pub(super) struct Fairness {
    processors: f64,
    crowd: Mutex<Crowd>,
}

#[derive(Debug, Default)]
struct Crowd {
    members: Vec<Watched>,
    next: u64,
    is_watched: bool,
}

#[derive(Debug)]
struct Watched {
    id: u64,
    meter: Meter,
    seen: Option<Seen>,
    conduct: Conduct,
}

/// A group's counters at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    at: Instant,
    used: Duration,
    throttled: u64,
}

/// What one look found.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// Processors that were used since the last look.
    processors: f64,
    /// It wanted more than its quota.
    is_throttled: bool,
}

/// How a sandbox behaves.
#[derive(Clone, Copy, Debug, Default)]
struct Conduct {
    /// Processors that it has used of late.
    lately: f64,
    yields: bool,
}

/// A sandbox's place in the crowd, until it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    id: u64,
    fairness: Weak<Fairness>,
}

impl Fairness {
    pub(super) fn new() -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        #[expect(clippy::cast_precision_loss, reason = "processors are few")]
        Arc::new(Self { processors: processors as f64, crowd: Mutex::default() })
    }

    /// Looks after one more. The watch runs while there are two.
    pub(super) fn join(self: &Arc<Self>, meter: Meter) -> Member {
        let mut crowd = self.crowd();
        let id = crowd.next;
        crowd.next += 1;
        crowd.members.push(Watched { id, meter, seen: None, conduct: Conduct::default() });
        if crowd.members.len() > 1 && !crowd.is_watched {
            let fairness = Arc::downgrade(self);
            let watch = std::thread::Builder::new().name("sandbox-fairness".to_owned());
            // Without it all have the same weight, as without all this.
            crowd.is_watched = watch.spawn(move || watch_over(&fairness)).is_ok();
        }
        Member { id, fairness: Arc::downgrade(self) }
    }

    /// One look at all. False once there is nobody to be fair to.
    fn look(&self) -> bool {
        let mut crowd = self.crowd();
        if crowd.members.len() < 2 {
            crowd.is_watched = false;
            crowd.members.iter_mut().for_each(|member| member.seen = None);
            return false;
        }
        let looks: Vec<_> = crowd.members.iter_mut().map(Watched::look).collect();
        let part = even_part(self.processors, looks.iter().flatten());
        for (member, look) in crowd.members.iter_mut().zip(looks) {
            let Some(look) = look else { continue };
            let before = member.conduct.yields;
            member.conduct.judge(look, part);
            if member.conduct.yields != before {
                member.weigh();
            }
        }
        true
    }

    fn crowd(&self) -> std::sync::MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch_over(fairness: &Weak<Fairness>) {
    while fairness.upgrade().is_some_and(|fairness| fairness.look()) {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How many processors each may have if all that want some are to have as many. One that is alone leaves room for a second,
/// who shall not have to wait until it is seen.
fn even_part<'a>(processors: f64, looks: impl Iterator<Item = &'a Look>) -> f64 {
    let wanting = looks.filter(|look| look.processors > IDLE).count();
    #[expect(clippy::cast_precision_loss, reason = "sandboxes are few")]
    let wanting = wanting.max(2) as f64;
    processors / wanting
}

impl Conduct {
    fn judge(&mut self, look: Look, part: f64) {
        self.lately += (look.processors - self.lately) * LAST_COUNTS;
        if look.processors > part * YIELDS_ABOVE || look.is_throttled {
            self.yields = true;
            // Who is held back has used less than it wanted, and is not at every look.
            self.lately = self.lately.max(look.processors).max(part);
        } else if self.lately < part * RECOVERS_BELOW {
            self.yields = false;
        }
    }
}

impl Watched {
    /// `None` the first time, and when its group is gone.
    fn look(&mut self) -> Option<Look> {
        let now = self.meter.read()?;
        let before = self.seen.replace(now)?;
        let passed = now.at.duration_since(before.at);
        Some(Look {
            processors: now.used.saturating_sub(before.used).as_secs_f64() / passed.as_secs_f64(),
            is_throttled: now.throttled > before.throttled,
        })
    }

    fn weigh(&self) {
        let Weights { full, yields } = self.meter.weights;
        let weight = if self.conduct.yields { yields } else { full };
        // A group that is gone has none.
        let _ = std::fs::write(&self.meter.weight, weight.to_string());
    }
}

impl Meter {
    pub(super) fn read(&self) -> Option<Seen> {
        let usage = std::fs::read_to_string(&self.usage).ok()?;
        let used = match usage.trim().parse() {
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
            Err(_) => Duration::from_micros(line(&usage, "usage_usec")?),
        };
        let throttled = std::fs::read_to_string(&self.throttled).ok();
        let throttled = throttled.and_then(|text| line(&text, "nr_throttled")).unwrap_or_default();
        Some(Seen { at: Instant::now(), used, throttled })
    }
}

/// The number in the line of this name.
fn line(text: &str, name: &str) -> Option<u64> {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    found.trim().parse().ok()
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(fairness) = self.fairness.upgrade() {
            fairness.crowd().members.retain(|member| member.id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn using(processors: f64) -> Look {
        Look { processors, is_throttled: false }
    }

    fn after(conduct: &mut Conduct, looks: usize, processors: f64, part: f64) -> bool {
        (0..looks).for_each(|_| conduct.judge(using(processors), part));
        conduct.yields
    }

    #[test]
    fn who_takes_more_than_an_even_part_yields_at_once_and_not_for_long() {
        let mut one = Conduct::default();
        assert!(!after(&mut one, 100, 1.0, 1.0), "an even part is its own");
        assert!(after(&mut one, 1, 1.5, 1.0));
        assert!(after(&mut one, 100, 0.9, 1.0), "it has what the other leaves, and would take more");
        assert!(after(&mut one, 5, 0.0, 1.0), "a pause is no change of mind");
        assert!(!after(&mut one, 20, 0.0, 1.0));
    }

    #[test]
    fn who_wants_more_than_its_quota_yields() {
        let mut one = Conduct::default();
        one.judge(Look { processors: 0.2, is_throttled: true }, 1.0);
        assert!(after(&mut one, 3, 0.2, 1.0), "it is held back again at the next look");
        assert!(!after(&mut one, 20, 0.0, 1.0));
    }

    #[test]
    fn an_even_part_counts_those_who_want_one_and_leaves_room_for_one_more() {
        let part =
            |looks: &[f64]| even_part(8.0, looks.iter().map(|used| using(*used)).collect::<Vec<_>>().iter());
        assert_eq!([part(&[8.0]), part(&[8.0, 0.01]), part(&[3.0, 0.2, 0.2, 4.0])], [4.0, 4.0, 2.0]);
    }

    #[test]
    fn both_versions_of_a_groups_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let stat = file("cpu.stat", "usage_usec 2500000\nuser_usec 1\nnr_periods 9\nnr_throttled 4\n");
        let read = |usage: PathBuf| {
            let weights = Weights { full: 100, yields: 3 };
            let seen =
                Meter { usage, throttled: stat.clone(), weight: PathBuf::new(), weights }.read().unwrap();
            (seen.used, seen.throttled)
        };
        assert_eq!(read(stat.clone()), (Duration::from_millis(2500), 4));
        assert_eq!(read(file("cpuacct.usage", "7000\n")), (Duration::from_micros(7), 4));
    }
}
