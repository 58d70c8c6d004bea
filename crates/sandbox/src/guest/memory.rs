//! A limit on memory where no control group sets one: the guest looks, and kills the largest.
//!
//! It is coarser than the kernel's: between two looks a process may take more. `probe` says so.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Between two looks: a process that touches memory at full speed takes about a GiB in it.
const PERIOD: Duration = Duration::from_millis(250);

/// A look may take this share of the time at most, however many processes there are.
const COST_SHARE: u32 = 20;

/// Watches over the memory of all processes inside.
pub(super) struct Watch {
    bytes_max: u64,
    next: Instant,
}

/// What one process holds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holding {
    pid: i32,
    bytes: u64,
}

impl Watch {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, next: Instant::now() + PERIOD }
    }

    pub(super) fn wake_at(&self) -> Instant {
        self.next
    }

    /// Looks if it is time, and kills the largest process if all together hold too much.
    pub(super) fn advance(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        let holdings = holdings();
        if let Some(largest) =
            excess(&holdings, self.bytes_max).and_then(|holding| Pid::from_raw(holding.pid))
        {
            let _ = kill_process(largest, Signal::KILL);
        }
        let cost = now.elapsed();
        self.next = Instant::now() + PERIOD.max(cost * COST_SHARE);
    }
}

/// The largest, if all together are above the limit.
fn excess(holdings: &[Holding], bytes_max: u64) -> Option<Holding> {
    let all: u64 = holdings.iter().map(|holding| holding.bytes).sum();
    holdings.iter().copied().max_by_key(|holding| holding.bytes).filter(|_| all > bytes_max)
}

fn holdings() -> Vec<Holding> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != 1);
    others
        .filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            Some(Holding { pid, bytes: own_bytes(&status) })
        })
        .collect()
}

/// Anonymous and shared memory of a process, from `/proc/PID/status` (`proc_pid_status(5)`, kB).
fn own_bytes(status: &str) -> u64 {
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        line.trim_end_matches("kB").trim().parse().unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssShmem:")) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_process_holds() {
        assert_eq!(
            own_bytes("Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t 7 kB\nRssShmem:\t  20 kB\n"),
            120 << 10
        );
        assert_eq!(own_bytes(""), 0);
    }

    #[test]
    fn the_largest_goes_when_all_are_too_much() {
        let holdings = [Holding { pid: 2, bytes: 60 }, Holding { pid: 3, bytes: 70 }];
        assert_eq!(excess(&holdings, 130), None);
        assert_eq!(excess(&holdings, 129), Some(holdings[1]));
    }
}
