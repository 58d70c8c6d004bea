//! Makes one layer of several, without anything being run and without a file being copied.
//!
//! What an overlay shows of layers is worked out here as the kernel does it (`Documentation/filesystems/overlayfs.rst`):
//! the topmost entry of a name counts, directories are joined, a *whiteout* (a character device 0/0) hides what lies below
//! its name, an *opaque* directory what lies below itself. Both must also be in the result where they hide what lies below
//! *it*. Files become further names of the same inodes, since nobody writes to a frozen layer.
//!
//! The layers were written by hostile commands. Everything is found by `openat2` below its layer without following a link,
//! nothing recurses, and a tree that is too large, or deeper than any path goes, is refused.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chmod, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat,
    mknodat, openat, openat2, statat,
};
use rustix::io::Errno;

/// Entries of all layers together. The size watch counts 4 KiB for each, so a sandbox of the usual 8 GiB has at most half as
/// many; to link so many takes well below a minute.
const ENTRIES_MAX: usize = 4 << 20;

/// The attribute of a directory that hides all below it, and its value (`y`). `userxattr` puts it among the user's.
const OPAQUE: &CStr = c"user.overlay.opaque";

/// Attributes of overlayfs itself. The overlay gives them to no command, but those that a command sets by this name it keeps
/// under the second one.
const OVERLAY: &[u8] = b"user.overlay.";
const ESCAPED: &[u8] = b"user.overlay.overlay.";

/// What listing and looking into a directory needs.
const LOOK: Mode = Mode::RUSR.union(Mode::XUSR);

/// Fills the empty directory `into` with what layers show together, the lowest first.
pub(super) fn merge<'a>(layers: impl DoubleEndedIterator<Item = &'a Path>, into: &Path) -> Result<(), Errno> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
    };
    let layers = layers.rev().map(open).collect::<Result<Vec<_>, _>>()?;
    let all = (0..layers.len()).collect();
    let mut merge =
        Merge { layers, into: open(into)?, left: ENTRIES_MAX, opened: Vec::new(), made: Vec::new() };
    let mut pending = vec![Directory { path: CString::from(c"."), layers: all, hides: false }];
    while let Some(directory) = pending.pop() {
        pending.extend(merge.fill(directory)?);
    }
    merge.finish()
}

struct Merge {
    /// The topmost first.
    layers: Vec<OwnedFd>,
    into: OwnedFd,
    /// Entries that may still be seen.
    left: usize,
    opened: Vec<Opened>,
    /// What is there, parents before what is in them.
    made: Vec<Made>,
}

/// A directory of the result that is there, but empty.
struct Directory {
    path: CString,
    /// Those that show something of it, the topmost first.
    layers: Vec<usize>,
    /// Whether nothing that lies below the result shows through.
    hides: bool,
}

/// A layer's directory that was closed to us, as an ordinary user's may be to himself.
struct Opened {
    layer: usize,
    path: CString,
    mode: Mode,
}

/// A directory of the result that gets its rights and time once nothing more is put into it.
struct Made {
    path: CString,
    stat: Stat,
}

/// What a name in a directory is, by the topmost layer that has it.
enum Found {
    /// A file, which is in its place.
    File,
    /// Nothing: a whiteout.
    Nothing,
    /// A directory, joined of those in these layers; `cut`: by something else in the next one.
    Directory { layers: Vec<usize>, cut: bool },
}

impl Merge {
    fn fill(&mut self, directory: Directory) -> Result<Vec<Directory>, Errno> {
        let Directory { path, layers, mut hides } = directory;
        let here = open_below(&self.into, &path, OFlags::RDONLY)?;
        let mut found = HashMap::new();
        for (at, layer) in layers.into_iter().enumerate() {
            let (source, stat) = self.open(layer, &path)?;
            let opaque = is_opaque(&source);
            if at == 0 {
                copy_attributes(&source, &here)?;
                self.made.push(Made { path: path.clone(), stat });
            }
            self.take(&source, layer, &here, &mut found)?;
            if opaque {
                hides = true;
                break;
            }
        }
        if hides {
            fsetxattr(&here, OPAQUE, b"y", XattrFlags::empty())?;
        }
        Self::settle(&here, &path, hides, found)
    }

    /// Puts in place what no layer above has, and notes the directories.
    fn take(
        &mut self,
        source: &OwnedFd,
        layer: usize,
        here: &OwnedFd,
        found: &mut HashMap<CString, Found>,
    ) -> Result<(), Errno> {
        for entry in Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.left = self.left.checked_sub(1).ok_or(Errno::FBIG)?;
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                kind = FileType::from_raw_mode(statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            }
            match found.get_mut(name) {
                None => {
                    found.insert(name.to_owned(), first(source, name, kind, (layer, here))?);
                }
                Some(Found::Directory { layers, cut: false }) if kind == FileType::Directory => {
                    layers.push(layer);
                }
                Some(Found::Directory { cut, .. }) => *cut = true,
                Some(Found::File | Found::Nothing) => {}
            }
        }
        Ok(())
    }

    /// Makes the directories, empty, and the whiteouts that have something to hide: where nothing lies below, they would be
    /// seen.
    fn settle(
        here: &OwnedFd,
        path: &CStr,
        hides: bool,
        found: HashMap<CString, Found>,
    ) -> Result<Vec<Directory>, Errno> {
        let mut below = Vec::new();
        for (name, found) in found {
            match found {
                Found::File => {}
                Found::Nothing if hides => {}
                Found::Nothing => mknodat(here, &name, FileType::CharacterDevice, Mode::empty(), 0)?,
                Found::Directory { layers, cut } => {
                    mkdirat(here, &name, Mode::RWXU)?;
                    let path = [path.to_bytes(), name.to_bytes()].join(&b'/');
                    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
                    below.push(Directory { path, layers, hides: hides || cut });
                }
            }
        }
        Ok(below)
    }

    /// A layer's directory, and what it was before it was opened to us.
    fn open(&mut self, layer: usize, path: &CStr) -> Result<(OwnedFd, Stat), Errno> {
        let found = open_below(self.layers.get(layer).ok_or(Errno::INVAL)?, path, OFlags::PATH)?;
        let stat = fstat(&found)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        // Only the descriptor's own name reaches it: `fchmod` refuses one that was opened by path alone.
        let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
        if !mode.contains(LOOK) && !rustix::process::geteuid().is_root() {
            chmod(itself.as_str(), mode | LOOK)?;
            self.opened.push(Opened { layer, path: path.to_owned(), mode });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((openat(CWD, itself.as_str(), flags, Mode::empty())?, stat))
    }

    /// Gives the directories their owner, rights and times: what is below before what it is in.
    fn finish(self) -> Result<(), Errno> {
        for Made { path, stat } in self.made.iter().rev() {
            let directory = open_below(&self.into, path, OFlags::RDONLY)?;
            if rustix::process::geteuid().is_root() {
                fchown(&directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            }
            fchmod(&directory, Mode::from_raw_mode(stat.st_mode))?;
            futimens(&directory, &times(stat)?)?;
        }
        Ok(())
    }
}

impl Drop for Merge {
    /// Closes what was opened, what is below before what it is in.
    fn drop(&mut self) {
        for Opened { layer, path, mode } in self.opened.iter().rev() {
            let closed = self.layers.get(*layer).ok_or(Errno::INVAL).and_then(|layer| {
                let found = open_below(layer, path, OFlags::PATH)?;
                chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), *mode)
            });
            if let Err(error) = closed {
                tracing::warn!(%error, "a directory of a layer could not be given its rights back");
            }
        }
    }
}

/// The first that is seen of a name; a file is put in its place.
fn first(
    source: &OwnedFd,
    name: &CStr,
    kind: FileType,
    (layer, here): (usize, &OwnedFd),
) -> Result<Found, Errno> {
    if kind == FileType::Directory {
        return Ok(Found::Directory { layers: vec![layer], cut: false });
    }
    if kind == FileType::CharacterDevice && statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?.st_rdev == 0 {
        return Ok(Found::Nothing);
    }
    // Without `SYMLINK_FOLLOW`, a link is linked itself.
    linkat(source, name, here, name, AtFlags::empty()).map(|()| Found::File)
}

/// When it was last read and changed.
fn times(stat: &Stat) -> Result<Timestamps, Errno> {
    let time = |seconds, nanoseconds| {
        let tv_nsec = i64::try_from(nanoseconds).map_err(|_| Errno::INVAL)?;
        Ok(Timespec { tv_sec: seconds, tv_nsec })
    };
    Ok(Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec)?,
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec)?,
    })
}

fn open_below(top: &OwnedFd, path: &CStr, how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(top, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    fgetxattr(directory, OPAQUE, &mut value) == Ok(1) && value == *b"y"
}

/// Copies what commands noted of a directory, and who else may enter it (`acl(5)`).
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = vec![0; flistxattr(from, &mut [0_u8; 0])?];
    let size = flistxattr(from, &mut names)?;
    names.truncate(size);
    for name in names.split_inclusive(|byte| *byte == 0) {
        let is_overlays = name.starts_with(OVERLAY) && !name.starts_with(ESCAPED);
        let is_wanted = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
        if is_overlays || !is_wanted {
            continue;
        }
        let name = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL)?;
        let mut value = vec![0; fgetxattr(from, name, &mut [0_u8; 0])?];
        let size = fgetxattr(from, name, &mut value)?;
        value.truncate(size);
        fsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}
