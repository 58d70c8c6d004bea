//! Limits that the kernel does not set: the size of the writable layer, and the sandbox's own time.
//!
//! An ordinary user has no quota on a directory, so the layer is looked at. Walking it costs as much as it has files;
//! so it is walked only when the whole file system has lost as much room as would bring the layer over its limit, and
//! seldom otherwise. A sandbox that is over its limit ends.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat};

use super::blocking;

/// Between two looks at the file system's room: one system call.
const PERIOD: Duration = Duration::from_millis(250);

/// A walk at least so often, for room that others free hides what is taken.
const WALK_PERIOD: Duration = Duration::from_secs(30);

/// A walk may take this share of the time at most.
const WALK_SHARE: u32 = 10;

/// What a file costs beside its blocks: an inode and a directory entry of ext4.
const ENTRY_BYTES: u64 = 512;

/// Directories below which the walk does not go: deeper ones are counted as one entry. No build makes them so deep, and
/// each level holds a descriptor.
const DEPTH_MAX: usize = 128;

/// A file system with less room than this cannot take the worker's own files any more.
const ROOM_MIN: u64 = 64 << 20;

/// Watches one sandbox.
pub(super) struct Warden {
    upper: PathBuf,
    disk_bytes: u64,
    used: u64,
    room: u64,
    walk_at: Instant,
    not_before: Instant,
}

/// Why a sandbox is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its writable layer is too large.
    Disk,
    /// The host's file system is full.
    HostDisk,
    /// Its time is over.
    Time,
}

impl Warden {
    pub(super) fn new(upper: PathBuf, disk_bytes: u64) -> Self {
        let now = Instant::now();
        let room = room(&upper);
        Self { upper, disk_bytes, used: 0, room, walk_at: now + WALK_PERIOD, not_before: now }
    }

    /// Returns when the sandbox must end.
    pub(super) async fn watch(mut self, wall: Duration) -> Verdict {
        let end = tokio::time::sleep(wall);
        tokio::pin!(end);
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut end => return Verdict::Time,
                _ = tick.tick() => {}
            }
            if let Some(verdict) = self.look().await {
                return verdict;
            }
        }
    }

    async fn look(&mut self) -> Option<Verdict> {
        let now = Instant::now();
        let room = room(&self.upper);
        if room < ROOM_MIN {
            return Some(Verdict::HostDisk);
        }
        let taken = self.room.saturating_sub(room);
        let may_be_over = self.used.saturating_add(taken) > self.disk_bytes;
        if !(may_be_over && now >= self.not_before) && now < self.walk_at {
            return None;
        }
        let upper = self.upper.clone();
        self.used = blocking(move || Ok(size(&upper))).await.unwrap_or(0);
        self.room = room;
        self.not_before = Instant::now() + now.elapsed() * WALK_SHARE;
        self.walk_at = Instant::now() + WALK_PERIOD.max(now.elapsed() * WALK_SHARE);
        (self.used > self.disk_bytes).then_some(Verdict::Disk)
    }
}

/// Free bytes of a file system, inodes counted in.
fn room(path: &Path) -> u64 {
    let Ok(found) = rustix::fs::statvfs(path) else { return u64::MAX };
    let inodes = if found.f_files == 0 { 0 } else { found.f_ffree.saturating_mul(ENTRY_BYTES) };
    found.f_bavail.saturating_mul(found.f_frsize).saturating_add(inodes)
}

/// Bytes of a tree that changes at this moment, and that hostile commands change: no link is followed.
fn size(path: &Path) -> u64 {
    let Ok(top) = open_directory(CWD, path) else { return 0 };
    let Ok(entries) = Dir::new(top) else { return 0 };
    let mut stack = vec![entries];
    let mut sum = 0;
    while !stack.is_empty() {
        let may_descend = stack.len() < DEPTH_MAX;
        let Some(entries) = stack.last_mut() else { break };
        let Some(Ok(entry)) = entries.read() else {
            stack.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(at) = entries.fd() else { continue };
        let Ok(stat) = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        sum += ENTRY_BYTES + u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory
            && may_descend
            && let Ok(below) = open_directory(at, name)
            && let Ok(below) = Dir::new(below)
        {
            stack.push(below);
        }
    }
    sum
}

fn open_directory<F: std::os::fd::AsFd, P: rustix::path::Arg>(at: F, path: P) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
