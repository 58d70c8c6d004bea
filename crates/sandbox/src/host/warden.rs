//! Limits that the kernel does not set: the size of the writable layer, and the sandbox's own time.
//!
//! An ordinary user has no quota on a directory, so the layer is looked at. Walking it costs as much as it has files;
//! so it is walked only when the whole file system has lost as much room as would bring the layer over its limit, and
//! seldom otherwise. What has no name any more but is open is counted too. A sandbox that is over its limit ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::size::{ENTRY_BYTES, Size};
use super::{blocking, unlinked};

/// Between two looks at the file system's room: one system call.
const PERIOD: Duration = Duration::from_millis(250);

/// A walk at least so often, for room that others free hides what is taken.
const WALK_PERIOD: Duration = Duration::from_secs(10);

/// A walk may take this share of the time at most.
const WALK_SHARE: u32 = 10;

/// A file system with less room or fewer free inodes than this cannot take the worker's own files any more: what a fast
/// disk takes between two looks. Of a small one, a twentieth.
const ROOM_MIN: u64 = 256 << 20;
const INODES_MIN: u64 = 1 << 16;
const SMALL_SHARE: u64 = 20;

/// Watches one sandbox.
pub(super) struct Warden {
    upper: PathBuf,
    /// Process 1, by its number here.
    guest: i32,
    disk_bytes: u64,
    used: u64,
    /// What was free at first, and at the last walk.
    room_at_first: u64,
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
    pub(super) fn new(upper: PathBuf, guest: i32, disk_bytes: u64) -> Self {
        let now = Instant::now();
        let room = room(&upper).map_or(u64::MAX, |room| room.bytes);
        Self {
            upper,
            guest,
            disk_bytes,
            used: 0,
            room_at_first: room,
            room,
            walk_at: now + WALK_PERIOD,
            not_before: now,
        }
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
        let Room { bytes: room, is_scarce } = room(&self.upper)?;
        if is_scarce {
            return Some(Verdict::HostDisk);
        }
        let taken = self.room.saturating_sub(room);
        let may_be_over = self.used.saturating_add(taken) > self.disk_bytes;
        if !(may_be_over && now >= self.not_before) && now < self.walk_at {
            return None;
        }
        let (upper, guest) = (self.upper.clone(), self.guest);
        let size = blocking(move || Ok(Size::of(&upper).with(unlinked::measure(guest)))).await.ok()?;
        // What cannot be seen is held to be all that the file system has lost.
        let unseen = if size.is_whole { 0 } else { self.room_at_first.saturating_sub(room) };
        self.used = size.bytes.max(unseen);
        self.room = room;
        self.not_before = Instant::now() + now.elapsed() * WALK_SHARE;
        self.walk_at = Instant::now() + WALK_PERIOD.max(now.elapsed() * WALK_SHARE);
        (self.used > self.disk_bytes).then_some(Verdict::Disk)
    }
}

/// What is free on a file system.
struct Room {
    /// Bytes, inodes counted in.
    bytes: u64,
    is_scarce: bool,
}

fn room(path: &Path) -> Option<Room> {
    let found = rustix::fs::statvfs(path).ok()?;
    let inodes = if found.f_files == 0 { 0 } else { found.f_ffree.saturating_mul(ENTRY_BYTES) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let all = found.f_blocks.saturating_mul(found.f_frsize);
    let is_scarce =
        free < ROOM_MIN.min(all / SMALL_SHARE) || found.f_ffree < INODES_MIN.min(found.f_files / SMALL_SHARE);
    Some(Room { bytes: free.saturating_add(inodes), is_scarce })
}
