//! Keeps the disk from filling up with what no turn has used for long.
//!
//! Frozen layers and mirrors are made again or done without when they are gone: a checkout and a set-up are made anew, and
//! an attempt that is taken up later says that its files are no longer here (its patches are blobs and stay). So whatever
//! is used leaves a mark, a small file with the thing's path (of a sandbox that may be lost: its name) whose time is the last
//! use, and at a worker's start the things with the oldest marks go. Nothing goes that was used within a day, because a turn may stand on it.
//!
//! What outsiders' tasks make is used by nobody else, so it must not push out what members share: it has marks apart, a part of
//! the room that is its own, and goes first from a disk that is full.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use legwork_domain::Trust;
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

/// One part in so many is the most of the room that outsiders' things take from members': theirs serve one task each.
const OUTSIDERS_PART: u32 = 4;

/// With less than one part in so many free, all goes that may go.
const FREE_PART: u64 = 10;

/// The marks of a worker's data directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    data: PathBuf,
    keep: Keep,
    /// Whose uses it notes.
    trust: Trust,
}

/// A thing and how long it was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    unused: Duration,
    bytes: u64,
    mark: PathBuf,
    /// Outsiders': no member has used it.
    trust: Trust,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    things: usize,
    bytes: u64,
}

impl Room {
    fn put(&mut self, kept: &Kept) {
        *self = self.and(Self { things: 1, bytes: kept.bytes });
    }

    const fn and(self, other: Self) -> Self {
        Self {
            things: self.things.saturating_add(other.things),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn at_most(self, other: Self) -> Self {
        Self { things: self.things.min(other.things), bytes: self.bytes.min(other.bytes) }
    }

    const fn fits(self, room: Self) -> bool {
        self.things <= room.things && self.bytes <= room.bytes
    }

    const fn for_outsiders(self) -> Self {
        Self { things: self.things / OUTSIDERS_PART as usize, bytes: self.bytes / OUTSIDERS_PART as u64 }
    }
}

impl Shelf {
    pub(crate) const fn new(data: PathBuf, keep: Keep) -> Self {
        Self { data, keep, trust: Trust::Member }
    }

    /// The same, for the uses of a task of such people.
    pub(crate) fn of(&self, trust: Trust) -> Self {
        Self { trust, ..self.clone() }
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
        let name = cache::key(&[thing.as_os_str().as_bytes()]);
        let [members, outsiders] =
            [Trust::Member, Trust::Outsider].map(|trust| self.marks(trust).join(&name));
        // What members use stays theirs, whoever else uses it.
        if let Ok(known) = File::options().write(true).open(&members) {
            return known.set_modified(SystemTime::now());
        }
        match self.trust {
            Trust::Member => {
                write(&members, thing)?;
                let was = std::fs::remove_file(outsiders);
                was.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            }
            Trust::Outsider => match File::options().write(true).open(&outsiders) {
                Ok(known) => known.set_modified(SystemTime::now()),
                Err(_) => write(&outsiders, thing),
            },
        }
    }

    /// Removes what is too old or too much. What cannot be removed is tried again at the next start.
    pub(crate) async fn sweep(&self, backend: &dyn Backend, images: &legwork_image::Store) {
        // With outsiders' things gone there may be room enough.
        for trust in [Trust::Outsider, Trust::Member] {
            self.sweep_of(trust, backend, images).await;
        }
    }

    async fn sweep_of(&self, trust: Trust, backend: &dyn Backend, images: &legwork_image::Store) {
        let shelf = self.clone();
        let going = tokio::task::spawn_blocking(move || shelf.going(trust)).await.unwrap_or_default();
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

    /// The marks of what goes of those people's.
    fn going(&self, trust: Trust) -> Vec<PathBuf> {
        let outsiders = self.kept(Trust::Outsider);
        if trust == Trust::Outsider && outsiders.is_empty() {
            return Vec::new();
        }
        let kept = [self.kept(Trust::Member), outsiders].concat();
        let mut going = chosen(kept, self.age_max(), self.keep.disk_bytes.unwrap_or(u64::MAX));
        going.retain(|kept| kept.trust == trust);
        going.into_iter().map(|kept| kept.mark).collect()
    }

    fn kept(&self, trust: Trust) -> Vec<Kept> {
        let entries = std::fs::read_dir(self.marks(trust)).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            // A time in the future is now.
            let unused = metadata.modified().ok()?.elapsed().unwrap_or_default();
            // Sizes are looked at only where they count: it takes as long as there are files.
            let bytes = self.keep.disk_bytes.map_or(0, |_| marked_bytes(&entry.path()));
            Some(Kept { unused, bytes, mark: entry.path(), trust })
        });
        kept.collect()
    }

    /// How long something may lie unused, as full as the disk is.
    fn age_max(&self) -> Duration {
        let full = rustix::fs::statvfs(&self.data)
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(FREE_PART) < disk.f_blocks);
        if full { UNUSED_MIN } else { self.keeps() }
    }

    /// Outsiders' are below the others', where workers of earlier versions do not see them.
    fn marks(&self, trust: Trust) -> PathBuf {
        let members = self.data.join("used");
        match trust {
            Trust::Member => members,
            Trust::Outsider => members.join("outsiders"),
        }
    }
}

fn write(mark: &Path, thing: &Path) -> io::Result<()> {
    if let Some(marks) = mark.parent() {
        std::fs::create_dir_all(marks)?;
    }
    std::fs::write(mark, thing.as_os_str().as_bytes())
}

/// Discards what a sandbox of this name left that nobody salvaged.
async fn discard_left(backend: &dyn Backend, name: &Path) -> bool {
    match backend.salvage(&name.to_string_lossy()).await {
        Ok(Some(layer)) => backend.discard(layer).await.is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// What is too old, or beyond the number or the bytes that are kept, the youngest kept first. However much outsiders' things
/// are, they take no more than their part from members'.
fn chosen(mut kept: Vec<Kept>, age_max: Duration, bytes_max: u64) -> Vec<Kept> {
    kept.sort_by_key(|kept| kept.unused);
    let room = Room { things: KEPT_MAX, bytes: bytes_max };
    let (mut members, mut outsiders) = (Room::default(), Room::default());
    kept.retain(|kept| {
        let fits = match kept.trust {
            Trust::Member => {
                members.put(kept);
                true
            }
            Trust::Outsider => {
                outsiders.put(kept);
                outsiders.fits(room.for_outsiders())
            }
        };
        let too_much = !fits || !members.and(outsiders.at_most(room.for_outsiders())).fits(room);
        kept.unused > UNUSED_MIN && (kept.unused > age_max || too_much)
    });
    kept
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
        Kept { unused: Duration::from_secs(days * DAY), bytes: 10, mark: name.into(), trust: Trust::Member }
    }

    fn outsiders(days: u64, name: &str) -> Kept {
        Kept { trust: Trust::Outsider, ..kept(days, name) }
    }

    fn marks(going: Vec<Kept>) -> Vec<PathBuf> {
        going.into_iter().map(|kept| kept.mark).collect()
    }

    fn going(kept: Vec<Kept>, age_max: Duration) -> Vec<PathBuf> {
        marks(chosen(kept, age_max, u64::MAX))
    }

    #[test]
    fn outsiders_push_nothing_of_members_out_beyond_their_part() {
        let week = Keep::default().unused;
        let flood = |days| (0..9 * KEPT_MAX).map(move |n| outsiders(days, &format!("flood {n}")));
        let members = (0..KEPT_MAX * 3 / 4).map(|_| kept(5, "member"));
        // Young ones that must stay, and older ones of which their part stays.
        assert!(going(flood(1).chain(members.clone()).collect(), week).is_empty());
        let gone = going(flood(2).chain(members).collect(), week);
        assert_eq!(gone.len(), 9 * KEPT_MAX - KEPT_MAX / 4);
        assert!(gone.iter().all(|gone| gone.to_string_lossy().starts_with("flood")));
        // Where members have no use for the room, nobody else gets more of it; where they have, it is theirs by age.
        let all = vec![
            outsiders(2, "fits"),
            outsiders(3, "too much"),
            kept(4, "a"),
            kept(4, "b"),
            kept(4, "c"),
            kept(5, "d"),
        ];
        assert_eq!(marks(chosen(all, week, 40)), [PathBuf::from("too much"), PathBuf::from("d")]);
        let all = vec![kept(2, "a"), kept(2, "b"), kept(2, "c"), kept(2, "d"), outsiders(3, "old")];
        assert_eq!(marks(chosen(all, week, 40)), [PathBuf::from("old")]);
    }

    #[test]
    fn what_a_member_uses_is_the_members() {
        let at = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(at.path().to_path_buf(), Keep::default());
        let count = |trust| shelf.kept(trust).len();
        let strangers = shelf.of(Trust::Outsider);
        strangers.used([Path::new("/x"), Path::new("/y")]);
        strangers.used([Path::new("/x")]);
        assert_eq!((count(Trust::Member), count(Trust::Outsider)), (0, 2));
        shelf.used([Path::new("/x")]);
        strangers.used([Path::new("/x")]);
        assert_eq!((count(Trust::Member), count(Trust::Outsider)), (1, 1));
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
        let gone = marks(chosen(all, Keep::default().unused, 25));
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
        let mark = shelf.kept(Trust::Member).remove(0).mark;
        let old = SystemTime::now() - Keep::default().unused * 2;
        File::options().write(true).open(&mark).unwrap().set_modified(old).unwrap();
        assert_eq!((shelf.going(Trust::Outsider), shelf.going(Trust::Member)), (Vec::new(), vec![mark]));
        shelf.used([Path::new("/x")]);
        assert!(shelf.going(Trust::Member).is_empty());
    }
}
