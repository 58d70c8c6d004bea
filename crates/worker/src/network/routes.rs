//! Tries to reach an address past the proxy, by number.
//!
//! No route leads out of a sandbox, so the kernel refuses at once and the proxy hears nothing. But it counts, for each network of its
//! own, what it had no route for, and that is enough to tell a program and a person that something tried.

use std::path::Path;
use std::sync::{Arc, Weak};

use legwork_sandbox::{COUNTERS, Sandbox};
use tokio::sync::Mutex;

/// Many times as long as they are.
const COUNTERS_BYTES_MAX: u64 = 64 * 1024;

/// What a sandbox had no route for.
pub(super) struct Routes {
    // A command that runs keeps no sandbox alive.
    sandbox: Weak<dyn Sandbox>,
    told: Mutex<u64>,
}

impl Routes {
    pub(super) fn of(sandbox: &Arc<dyn Sandbox>) -> Self {
        Self { sandbox: Arc::downgrade(sandbox), told: Mutex::new(0) }
    }

    /// Tries since the last look. A sandbox that has ended tells of none.
    pub(super) async fn fresh(&self) -> u64 {
        let Some(sandbox) = self.sandbox.upgrade() else { return 0 };
        let mut told = self.told.lock().await;
        let mut all = 0;
        let counts: [fn(&str) -> Option<u64>; 2] = [of_4, of_6];
        for (path, count) in COUNTERS.into_iter().zip(counts) {
            let Ok(file) = sandbox.read(Path::new(path), COUNTERS_BYTES_MAX).await else { continue };
            all += count(&String::from_utf8_lossy(&file.contents)).unwrap_or(0);
        }
        let fresh = all.saturating_sub(*told);
        *told = all.max(*told);
        fresh
    }
}

/// A line of names and a line of numbers.
fn of_4(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    pairs.find(|(name, _)| *name == "OutNoRoutes")?.1.parse().ok()
}

/// A name and a number on each line.
fn of_6(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counters_are_read() {
        let four = "Ip: Forwarding InReceives OutNoRoutes ReasmFails\nIp: 2 30 7 0\nIcmp: InMsgs\nIcmp: 0\n";
        assert_eq!((of_4(four), of_4("Tcp: a\nTcp: 1\n")), (Some(7), None));
        assert_eq!(
            of_6("Ip6InReceives                   \t0\nIp6OutNoRoutes                  \t12\n"),
            Some(12)
        );
        // As this machine's kernel writes them.
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(of_4(&read("/proc/self/net/snmp")).is_some());
    }
}
