//! Files that have no name any more but are still open: a walk over the writable layer cannot find them.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// What `statfs(2)` gives as the type of an overlay (linux/magic.h).
const OVERLAY_MAGIC: rustix::fs::FsWord = 0x794c_7630;

/// Descriptors that are looked at; that many take about a tenth of a second.
const DESCRIPTORS_MAX: usize = 1 << 16;

/// What nameless files hold.
#[derive(Clone, Copy)]
pub(super) struct Unlinked {
    pub(super) bytes: u64,
    /// Whether all was looked at.
    pub(super) is_whole: bool,
}

/// Sums up the nameless files on an overlay that descendants of this process hold open.
///
/// What a process keeps only as a mapping, or has on its way through a socket, is not found.
pub(super) fn measure(guest: i32) -> Unlinked {
    let mut seen = BTreeSet::new();
    let mut left = DESCRIPTORS_MAX;
    let mut bytes = 0;
    for pid in descendants(guest) {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Some(rest) = left.checked_sub(1) else { return Unlinked { bytes, is_whole: false } };
            left = rest;
            // By path alone: a device or a FIFO is not opened by it.
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let Ok(file) = openat(CWD, descriptor.path(), flags, Mode::empty()) else { continue };
            let Ok(stat) = rustix::fs::fstat(&file) else { continue };
            let is_ours = stat.st_nlink == 0
                && rustix::fs::fstatfs(&file).is_ok_and(|system| system.f_type == OVERLAY_MAGIC);
            if is_ours && seen.insert(stat.st_ino) {
                bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            }
        }
    }
    Unlinked { bytes, is_whole: true }
}

/// All processes of a machine but its first: orphans inside become children of that one, so all descend from it.
fn descendants(first: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&first).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// From `/proc/PID/stat` (`proc_pid_stat(5)`): the fourth field, after a name that may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_theirs_are_found() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        let (own, sleeper) = (i32::try_from(std::process::id()).unwrap(), line.trim().parse().unwrap());
        let found = descendants(own);
        assert!(found.contains(&i32::try_from(shell.id()).unwrap()) && found.contains(&sleeper), "{found:?}");
        assert!(!found.contains(&own));
        let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
        rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
    }
}
