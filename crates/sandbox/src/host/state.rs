//! The state directory: frozen layers, and one directory for each live sandbox.
//!
//! ```text
//! base/DIGEST            the skeleton of the root file system
//! layers/NAME            frozen layers
//! live/NAME@PID-START    a sandbox of the process PID that began at START: upper, work
//! mount/root             where each guest mounts its root, in its own mount namespace: always empty here
//! ```
//!
//! The owner stands in the directory's *name*, so that it is there from the first moment and nobody can find a directory
//! without one. A process is known by its number and its start time, for numbers come again.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, XattrFlags};
use rustix::io::Errno;

use super::{Step, merge, tree};
use crate::{Error, Layer};

/// The user and group that stand behind the inside's one user when the worker is root: nothing inside is ever root's.
/// systemd's table of ids leaves 0x70000000 to 0x7ffffffe to nobody (systemd.io/UIDS-GIDS); the rest spells "LW".
const INNER_ID: u32 = 0x7000_4c57;

/// The longest name of a sandbox: directories and control groups are named after it.
const NAME_MAX: usize = 64;

/// The parts of the state directory, and their rights. Guests open the mount point by its descriptor as the inside's user.
const PARTS: [(&str, u32); 6] = [
    ("", 0o700),
    ("base", 0o700),
    ("layers", 0o700),
    ("live", 0o700),
    ("mount", 0o755),
    ("mount/root", 0o755),
];

/// The attribute of a sandbox's directory that tells its first process.
const GUEST: &str = "user.legwork.guest";

/// The attribute of a sandbox's directory whose files outlive its worker.
const KEPT: &str = "user.legwork.kept";

/// How names of what is to be removed begin.
const TRASH: &str = "discarded-";

/// A 32-bit number, a dash, and a 64-bit one.
const OWNER_BYTES_MAX: usize = 32;

/// A process that can be told from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: i32,
    /// Clock ticks between the machine's start and its own (`proc_pid_stat(5)`, field 22).
    start: u64,
}

impl Owner {
    /// The process of this number, if there is one.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a file name in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let start = fields.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, start })
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pid, start) = text.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.pid, self.start)
    }
}

/// The state directory of this process.
#[derive(Debug)]
pub(super) struct State {
    root: PathBuf,
    owner: Owner,
    /// Ids on the host behind the inside's user.
    pub(super) ids: (u32, u32),
}

impl State {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        for (part, mode) in PARTS {
            let path = root.join(part);
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .step(format!("make {}", path.display()))?;
        }
        spread(&root.join("live"));
        let root = root.canonicalize().step(format!("find {}", root.display()))?;
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let owner = Owner::of(pid).ok_or(Errno::NOENT).step("read /proc/self/stat")?;
        Ok(Self { root, owner, ids: inner_ids() })
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.root.join(part)
    }

    /// Makes the directory of a new sandbox, empty.
    pub(super) fn claim(&self, name: &str) -> Result<Live, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) {
            return Err(Error::Invalid(format!(
                "{name:?} cannot name a sandbox: 1 to {NAME_MAX} of a-z A-Z 0-9 _ -"
            )));
        }
        let label = format!("{name}@{}", self.owner);
        let live = self.live(label);
        match std::fs::create_dir(&live.path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Invalid(format!("a sandbox named {name} is alive already")));
            }
            Err(error) => return Err(error).step(format!("make {}", live.path.display())),
        }
        Ok(live)
    }

    fn live(&self, label: String) -> Live {
        Live { path: self.root.join("live").join(&label), label }
    }

    /// Whether a layer is one of ours, and where its tree is.
    pub(super) fn layer(&self, layer: &Layer) -> Result<PathBuf, Error> {
        let is_ours =
            layer.path.parent() == Some(&self.root.join("layers")) && layer.path.file_name().is_some();
        if is_ours && layer.path.is_dir() {
            return Ok(layer.path.clone());
        }
        Err(Error::Invalid(format!("{} is no layer of this backend", layer.path.display())))
    }

    /// Turns the writable layer of a sandbox that has ended into a frozen one. One rename, whatever its size.
    pub(super) fn freeze(&self, live: &Live) -> Result<Layer, Error> {
        let path = self.root.join("layers").join(&live.label);
        let path =
            (0..u32::MAX).map(|count| path.with_extension(count.to_string())).find(|path| !path.exists());
        let path = path.ok_or(Errno::EXIST).step("name a layer")?;
        // Its commands may have closed the root; moving a directory writes into it.
        let _ = std::fs::set_permissions(live.upper(), std::fs::Permissions::from_mode(0o755));
        std::fs::rename(live.upper(), &path).step(format!("freeze {}", live.label))?;
        Ok(Layer { path })
    }

    /// Makes one layer of several, where a crash leaves it to `reap`.
    pub(super) fn merge(&self, layers: &[Layer]) -> Result<Merged, Error> {
        let paths = layers.iter().map(|layer| self.layer(layer)).collect::<Result<Vec<_>, _>>()?;
        let path = self.root.join("live").join(trash_name(self.owner));
        std::fs::DirBuilder::new().mode(0o700).create(&path).step(format!("make {}", path.display()))?;
        let merged = Merged { path };
        let step = || format!("merge {} layers", paths.len());
        merge::merge(paths.iter().map(PathBuf::as_path), &merged.path).step(step())?;
        Ok(merged)
    }

    /// Turns a merged layer into a frozen one.
    pub(super) fn keep(&self, merged: &Merged) -> Result<Layer, Error> {
        let name = format!("merged-{:016x}@{}.0", fastrand::u64(..), self.owner);
        let path = self.root.join("layers").join(name);
        std::fs::rename(&merged.path, &path).step(format!("freeze {}", path.display()))?;
        Ok(Layer { path })
    }

    /// Removes a layer. It first becomes a dead sandbox's, so that a crash on the way leaves it to `reap`.
    pub(super) fn discard(&self, layer: &Layer) -> Result<(), Error> {
        let Ok(path) = self.layer(layer) else { return Ok(()) };
        let trash = self.root.join("live").join(trash_name(self.owner));
        std::fs::rename(&path, &trash).step(format!("discard {}", path.display()))?;
        tree::remove(&trash).step(format!("remove {}", trash.display()))
    }

    /// The directories of sandboxes whose process is dead.
    pub(super) fn abandoned(&self) -> Result<Vec<Live>, Error> {
        let labels = self.entries("live")?.into_iter();
        Ok(labels.filter(|label| is_abandoned(label)).map(|label| self.live(label)).collect())
    }

    /// The directory of the sandbox of this name, whoever's it is.
    pub(super) fn find(&self, name: &str) -> Result<Option<Live>, Error> {
        let label = self.entries("live")?.into_iter().find(|label| is_of(label, name));
        Ok(label.map(|label| self.live(label)))
    }

    /// The layer that the sandbox of this name was frozen into, whatever its holder made of it.
    pub(super) fn frozen(&self, name: &str) -> Result<Option<Layer>, Error> {
        let entry = self.entries("layers")?.into_iter().find(|entry| is_of(entry, name));
        // No name has a dot: the first is before the layer's number, a second before what a holder added.
        let layer = entry.map(|entry| entry.splitn(3, '.').take(2).collect::<Vec<_>>().join("."));
        Ok(layer.map(|layer| Layer { path: self.root.join("layers").join(layer) }))
    }

    fn entries(&self, part: &str) -> Result<Vec<String>, Error> {
        let path = self.root.join(part);
        let entries = std::fs::read_dir(&path).step(format!("list {}", path.display()))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

/// Tells ext4 that the directories in this one have nothing to do with each other, so that it puts each where there is
/// room (`chattr(1)`, T). Side by side, a new one is sought among all that were removed of late, which in a file system
/// without a journal takes longer than all else. Other file systems do not know the mark and need none.
fn spread(path: &Path) {
    let Ok(directory) = std::fs::File::open(path) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(&directory)
        && !flags.contains(IFlags::TOPDIR)
    {
        let _ = rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
}

/// A name for what is to be removed, not that of any sandbox.
fn trash_name(owner: impl std::fmt::Display) -> String {
    format!("{TRASH}{:016x}@{owner}", fastrand::u64(..))
}

/// Whether an entry of the state directory is of the sandbox of this name.
fn is_of(entry: &str, name: &str) -> bool {
    entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('@'))
}

/// Whether a label tells its owner, and that one is dead.
#[must_use]
pub fn is_abandoned(label: &str) -> bool {
    let owner = label.rsplit_once('@').and_then(|(_, owner)| Owner::parse(owner));
    owner.is_some_and(|owner| !owner.is_alive())
}

/// A layer that was merged and is not kept yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Merged {
    path: PathBuf,
}

impl Drop for Merged {
    fn drop(&mut self) {
        // Not there any more if it was kept.
        if let Err(error) = tree::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove what was being merged");
        }
    }
}

/// The directory of one sandbox.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) path: PathBuf,
    /// Name, process and its start.
    pub(super) label: String,
}

impl Live {
    /// Makes what an overlay writes to.
    pub(super) fn fill(&self, (uid, gid): (u32, u32)) -> Result<(), Error> {
        for part in ["upper", "work"] {
            let path = self.path.join(part);
            std::fs::DirBuilder::new().mode(0o755).create(&path).step(format!("make {}", path.display()))?;
            if rustix::process::geteuid().as_raw() != uid {
                std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                    .step(format!("give away {}", path.display()))?;
            }
        }
        Ok(())
    }

    pub(super) fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// Notes that the files outlive the worker.
    pub(super) fn keep(&self) -> Result<(), Error> {
        rustix::fs::setxattr(&self.path, KEPT, b"1", XattrFlags::empty())
            .step(format!("mark {}", self.path.display()))
    }

    /// Whether there are files that outlive the worker. What its holder gave up or froze does not.
    pub(super) fn is_kept(&self) -> bool {
        let marked = rustix::fs::getxattr(&self.path, KEPT, &mut [0_u8; 1]).is_ok();
        marked && !self.label.starts_with(TRASH) && self.upper().is_dir()
    }

    /// The first process of a sandbox, if it still runs.
    pub(super) fn guest(&self) -> Option<Owner> {
        let mut bytes = [0; OWNER_BYTES_MAX];
        let count = rustix::fs::getxattr(&self.path, GUEST, &mut bytes).ok()?;
        let text = std::str::from_utf8(bytes.get(..count)?).ok()?;
        Owner::parse(text).filter(|guest| guest.is_alive())
    }

    /// Frees the name and leaves the files to whoever calls `remove`, or to `reap`. One rename, whatever their number.
    pub(super) fn set_aside(self) -> Self {
        let owner = self.label.rsplit_once('@').map_or("", |(_, owner)| owner);
        let trash = self.path.with_file_name(trash_name(owner));
        match std::fs::rename(&self.path, &trash) {
            Ok(()) => Self { path: trash, ..self },
            Err(_) => self,
        }
    }

    /// Removes what is left. What cannot be removed now is left to `reap`.
    pub(super) fn remove(&self) {
        if let Err(error) = tree::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a sandbox's files");
        }
    }
}

/// Writes down which process is the first of the sandbox in this directory, for the case that this one dies. An attribute needs
/// no inode of its own; file systems without them cannot hold a writable layer either.
pub(super) fn note_guest(directory: &Path, pid: i32) {
    if let Some(guest) = Owner::of(pid) {
        let text = guest.to_string();
        let _ = rustix::fs::setxattr(directory, GUEST, text.as_bytes(), XattrFlags::empty());
    }
}

/// The ids behind the inside's user: our own as an ordinary user, as root one that is nobody's. A root that is itself in
/// a user namespace takes the highest id it has, or its own if it has no other.
pub(crate) fn inner_ids() -> (u32, u32) {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if own.0 != 0 {
        return own;
    }
    let choose = |map: &str| {
        let text = std::fs::read_to_string(map).unwrap_or_default();
        choose_id(&text)
    };
    match (choose("/proc/self/uid_map"), choose("/proc/self/gid_map")) {
        (Some(uid), Some(gid)) => (uid, gid),
        _ => own,
    }
}

/// From an id map's lines `inside outside count`: our id if it is mapped, else the highest that is, but never 0.
fn choose_id(map: &str) -> Option<u32> {
    let ranges = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u32>().ok());
        let (first, _, count) = (fields.next()??, fields.next()??, fields.next()??);
        Some(first..=first.saturating_add(count.saturating_sub(1)))
    });
    let ranges: Vec<_> = ranges.collect();
    if ranges.iter().any(|range| range.contains(&INNER_ID)) {
        return Some(INNER_ID);
    }
    ranges.iter().map(|range| *range.end()).max().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_chosen_from_what_is_mapped() {
        assert_eq!(choose_id("         0          0 4294967295\n"), Some(INNER_ID));
        assert_eq!(choose_id("0 1000 1\n1 100000 65536\n"), Some(65_536));
        assert_eq!(choose_id("0 1000 1\n"), None);
        assert_eq!(choose_id(""), None);
    }

    #[test]
    fn a_directory_knows_its_first_process() {
        let place = tempfile::tempdir().unwrap();
        let live = State::open(place.path()).unwrap().claim("x").unwrap();
        assert_eq!(live.guest(), None);
        let own = i32::try_from(std::process::id()).unwrap();
        note_guest(&live.path, own);
        assert_eq!(live.guest(), Owner::of(own));
        let name = live.path.clone();
        let files = live.set_aside();
        assert!(!name.exists() && files.path.is_dir());
        assert!(!is_abandoned(files.path.file_name().unwrap().to_str().unwrap()));
        files.remove();
        assert!(!files.path.exists());
    }

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = Owner::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        assert!(!Owner { start: own.start + 1, ..own }.is_alive());
        assert_eq!(Owner::parse(&own.to_string()), Some(own));
        assert_eq!(Owner::parse("12"), None);
    }
}
