//! Keeps the disk from filling up with what no turn has used for long.
//!
//! Frozen layers and mirrors are made again or done without when they are gone: a checkout and a set-up are made anew, and
//! an attempt that is taken up later says that its files are no longer here (its patches are blobs and stay). So whatever
//! is used leaves a mark, a small file with the thing's path (of a sandbox that may be lost: its name) whose time is the last
//! use, and at a worker's start the things with the oldest marks go. Nothing goes that was used within a day, because a turn may stand on it.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use legwork_sandbox::{Backend, Layer};

use crate::cache;

/// What nothing has used for so long goes.
const UNUSED_MAX: Duration = Duration::from_secs(14 * DAY);

/// Longer than any turn (a sandbox lives for a day).
const UNUSED_MIN: Duration = Duration::from_secs(DAY + 3600);

const DAY: u64 = 24 * 60 * 60;

/// Things kept, however young: some hundred tasks, and a directory that is listed in a millisecond.
const KEPT_MAX: usize = 2000;

/// With less than one part in so many free, all goes that may go.
const FREE_PART: u64 = 10;

/// The marks of a worker's data directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    data: PathBuf,
}

/// A thing and how long it was not used.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    unused: Duration,
    mark: PathBuf,
}

impl Shelf {
    pub(crate) fn new(data: PathBuf) -> Self {
        Self { data }
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
    pub(crate) async fn sweep(&self, backend: &dyn Backend) {
        let shelf = self.clone();
        let going = tokio::task::spawn_blocking(move || shelf.going()).await.unwrap_or_default();
        for mark in going {
            let Ok(path) = std::fs::read(&mark) else { continue };
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
            let gone = if path.is_relative() {
                discard_left(backend, &path).await
            } else if path.starts_with(self.data.join("mirrors")) {
                tokio::fs::remove_dir_all(&path).await.is_ok() || !path.exists()
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
            Some(Kept { unused, mark: entry.path() })
        });
        chosen(kept.collect(), self.age_max())
    }

    /// How long something may lie unused, as full as the disk is.
    fn age_max(&self) -> Duration {
        let full = rustix::fs::statvfs(&self.data)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(FREE_PART) < disk.f_blocks);
        if full { UNUSED_MIN } else { UNUSED_MAX }
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

fn chosen(mut kept: Vec<Kept>, age_max: Duration) -> Vec<PathBuf> {
    kept.sort_by_key(|kept| kept.unused);
    let goes =
        |(at, kept): &(usize, Kept)| kept.unused > UNUSED_MIN && (kept.unused > age_max || *at >= KEPT_MAX);
    kept.into_iter().enumerate().filter(goes).map(|(_, kept)| kept.mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(days: u64, name: &str) -> Kept {
        Kept { unused: Duration::from_secs(days * DAY), mark: name.into() }
    }

    #[test]
    fn the_old_goes_and_the_used_stays() {
        let all = || vec![kept(15, "old"), kept(0, "new"), kept(3, "used")];
        assert_eq!(chosen(all(), UNUSED_MAX), [PathBuf::from("old")]);
        assert_eq!(chosen(all(), UNUSED_MIN), [PathBuf::from("used"), PathBuf::from("old")]);
    }

    #[test]
    fn too_many_are_cut_from_the_old_end_but_never_what_a_turn_may_stand_on() {
        let many: Vec<Kept> = (0..=KEPT_MAX).map(|_| kept(2, "x")).chain([kept(3, "oldest")]).collect();
        assert_eq!(chosen(many, UNUSED_MAX), [PathBuf::from("x"), PathBuf::from("oldest")]);
        assert!(chosen((0..=KEPT_MAX).map(|_| kept(1, "x")).collect(), UNUSED_MAX).is_empty());
    }

    #[test]
    fn a_use_makes_a_mark_young_again() {
        let at = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(at.path().to_path_buf());
        shelf.used([Path::new("/x")]);
        let mark = std::fs::read_dir(shelf.marks()).unwrap().next().unwrap().unwrap().path();
        let old = SystemTime::now() - UNUSED_MAX * 2;
        File::options().write(true).open(&mark).unwrap().set_modified(old).unwrap();
        assert_eq!(shelf.going(), [mark]);
        shelf.used([Path::new("/x")]);
        assert!(shelf.going().is_empty());
    }
}
