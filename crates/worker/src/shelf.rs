//! Keeps the disk from filling up with what no turn has used for long.
//!
//! Frozen layers and mirrors are made again or done without when they are gone: a checkout and a set-up are made anew, and
//! an attempt that is taken up later says that its files are no longer here (its patches are blobs and stay). So whatever
//! is used leaves a mark, a small file with the thing's path (of a sandbox that may be lost: its name) whose time is the last
//! use, and at a worker's start the things with the oldest marks go. Nothing goes that was used within a day, because a turn may stand on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use legwork_sandbox::{Backend, Layer};

use crate::cache;

/// How long the files of attempts, checkouts and set-ups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What nothing has used for so long goes. Less than a day counts as a day: a turn may stand on it.
    pub unused: Duration,
    /// Bytes on disk above which the longest unused goes; `None`: as long as a tenth of the disk is free.
    pub disk_bytes: Option<u64>,
}

impl Default for Keep {
    /// A week: somebody comes back to a task after a weekend, and rarely after two.
    fn default() -> Self {
        Self { unused: Duration::from_secs(7 * DAY), disk_bytes: None }
    }
}

/// Longer than any turn (a sandbox lives for a day).
const UNUSED_MIN: Duration = Duration::from_secs(DAY + 3600);

const DAY: u64 = 24 * 60 * 60;

/// The unit of `st_blocks` (inode(7)).
const BLOCK_BYTES: u64 = 512;

/// Things kept, however young: some hundred tasks, and a directory that is listed in a millisecond.
const KEPT_MAX: usize = 2000;

/// With less than one part in so many free, all goes that may go.
const FREE_PART: u64 = 10;

/// The marks of a worker's data directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    data: PathBuf,
    keep: Keep,
}

/// A thing and how long it was not used.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    unused: Duration,
    bytes: u64,
    mark: PathBuf,
}

impl Shelf {
    pub(crate) const fn new(data: PathBuf, keep: Keep) -> Self {
        Self { data, keep }
    }

    /// How long what nothing uses is kept, while there is room on the disk.
    pub(crate) fn keeps(&self) -> Duration {
        self.keep.unused.max(UNUSED_MIN)
    }

    /// Notes that these are used now. A mark that cannot be written costs disk, never a turn.
    pub(crate) fn used<'a>(&self, things: impl IntoIterator<Item = &'a Path>) {
        for thing in things {
            if let Err(error) = self.mark(thing) {
                tracing::warn!(%error, thing = %thing.display(), "the use of a layer could not be noted");
            }
        }
    }

    fn mark(&self, thing: &Path) -> io::Result<()> {
        let marks = self.marks();
        let mark = marks.join(cache::key(&[thing.as_os_str().as_bytes()]));
        if let Ok(known) = File::options().write(true).open(&mark) {
            return known.set_modified(SystemTime::now());
        }
        std::fs::create_dir_all(&marks)?;
        std::fs::write(mark, thing.as_os_str().as_bytes())
    }

    /// Removes what is too old or too much. What cannot be removed is tried again at the next start.
    pub(crate) async fn sweep(&self, backend: &dyn Backend, images: &legwork_image::Store) {
        let shelf = self.clone();
        let going = tokio::task::spawn_blocking(move || shelf.going()).await.unwrap_or_default();
        for mark in going {
            let Ok(path) = std::fs::read(&mark) else { continue };
            let path = PathBuf::from(OsStr::from_bytes(&path));
            let gone = if path.is_relative() {
                discard_left(backend, &path).await
            } else if path.starts_with(self.data.join("mirrors")) {
                tokio::fs::remove_dir_all(&path).await.is_ok() || !path.exists()
            } else if images.discard(&path) {
                true
            } else {
                backend.discard(Layer { path }).await.is_ok()
            };
            if gone {
                let _ = std::fs::remove_file(mark);
            }
        }
    }

    fn going(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.marks()).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let modified = entry.metadata().ok()?.modified().ok()?;
            // A time in the future is now.
            let unused = modified.elapsed().unwrap_or_default();
            // Sizes are looked at only where they count: it takes as long as there are files.
            let bytes = self.keep.disk_bytes.map_or(0, |_| marked_bytes(&entry.path()));
            Some(Kept { unused, bytes, mark: entry.path() })
        });
        chosen(kept.collect(), self.age_max(), self.keep.disk_bytes.unwrap_or(u64::MAX))
    }

    /// How long something may lie unused, as full as the disk is.
    fn age_max(&self) -> Duration {
        let full = rustix::fs::statvfs(&self.data)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(FREE_PART) < disk.f_blocks);
        if full { UNUSED_MIN } else { self.keeps() }
    }

    fn marks(&self) -> PathBuf {
        self.data.join("used")
    }
}

/// Discards what a sandbox of this name left that nobody salvaged.
async fn discard_left(backend: &dyn Backend, name: &Path) -> bool {
    match backend.salvage(&name.to_string_lossy()).await {
        Ok(Some(layer)) => backend.discard(layer).await.is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// What is too old, or beyond the number or the bytes that are kept, the youngest kept first.
fn chosen(mut kept: Vec<Kept>, age_max: Duration, bytes_max: u64) -> Vec<PathBuf> {
    kept.sort_by_key(|kept| kept.unused);
    let mut bytes: u64 = 0;
    let mut going = Vec::new();
    for (at, kept) in kept.into_iter().enumerate() {
        bytes = bytes.saturating_add(kept.bytes);
        let too_much = at >= KEPT_MAX || bytes > bytes_max;
        if kept.unused > UNUSED_MIN && (kept.unused > age_max || too_much) {
            going.push(kept.mark);
        }
    }
    going
}

/// Bytes on disk of what a mark names.
fn marked_bytes(mark: &Path) -> u64 {
    let Ok(path) = std::fs::read(mark) else { return 0 };
    bytes_of(Path::new(OsStr::from_bytes(&path)))
}

/// Bytes on disk below a directory that hostile commands made: no link is followed, and what lies deeper than any path can
/// name is not counted.
fn bytes_of(path: &Path) -> u64 {
    let (mut bytes, mut directories) = (0_u64, vec![path.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK_BYTES));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(days: u64, name: &str) -> Kept {
        Kept { unused: Duration::from_secs(days * DAY), bytes: 10, mark: name.into() }
    }

    fn going(kept: Vec<Kept>, age_max: Duration) -> Vec<PathBuf> {
        chosen(kept, age_max, u64::MAX)
    }

    #[test]
    fn the_old_goes_and_the_used_stays() {
        let all = || vec![kept(8, "old"), kept(0, "new"), kept(3, "used")];
        assert_eq!(going(all(), Keep::default().unused), [PathBuf::from("old")]);
        assert_eq!(going(all(), UNUSED_MIN), [PathBuf::from("used"), PathBuf::from("old")]);
    }

    #[test]
    fn too_many_are_cut_from_the_old_end_but_never_what_a_turn_may_stand_on() {
        let week = Keep::default().unused;
        let many: Vec<Kept> = (0..=KEPT_MAX).map(|_| kept(2, "x")).chain([kept(3, "oldest")]).collect();
        assert_eq!(going(many, week), [PathBuf::from("x"), PathBuf::from("oldest")]);
        assert!(going((0..=KEPT_MAX).map(|_| kept(1, "x")).collect(), week).is_empty());
    }

    #[test]
    fn a_quota_keeps_the_youngest() {
        let all = vec![kept(2, "two"), kept(4, "four"), kept(3, "three"), kept(0, "now")];
        let gone = chosen(all, Keep::default().unused, 25);
        assert_eq!(gone, [PathBuf::from("three"), PathBuf::from("four")]);
        let at = tempfile::tempdir().unwrap();
        std::fs::create_dir(at.path().join("deep")).unwrap();
        std::fs::write(at.path().join("deep/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", at.path().join("link")).unwrap();
        assert!((100_000..1_000_000).contains(&bytes_of(at.path())), "{}", bytes_of(at.path()));
    }

    #[test]
    fn a_use_makes_a_mark_young_again() {
        let at = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(at.path().to_path_buf(), Keep::default());
        shelf.used([Path::new("/x")]);
        let mark = std::fs::read_dir(shelf.marks()).unwrap().next().unwrap().unwrap().path();
        let old = SystemTime::now() - Keep::default().unused * 2;
        File::options().write(true).open(&mark).unwrap().set_modified(old).unwrap();
        assert_eq!(shelf.going(), [mark]);
        shelf.used([Path::new("/x")]);
        assert!(shelf.going().is_empty());
    }
}
