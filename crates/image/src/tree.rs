//! Writes a layer's entries below one directory, in overlayfs' own form.
//!
//! Every path is resolved by `openat2` as if the directory were the root, so neither `..` nor a link that the layer itself
//! brought leads out of it. Nothing that is there is written through: what has an entry's name is removed first. Rights
//! above the permission bits, owners, devices and attributes are not taken over.
//!
//! A layer says what it takes away by names (OCI image specification, "Whiteouts"): `.wh.NAME` hides what lower layers have
//! at NAME, `.wh..wh..opq` all that they have in its directory.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags, fchmod, fsetxattr,
    futimens, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::archive::{Entry, Kind};

/// What names of whiteouts begin with.
const WHITEOUT: &[u8] = b".wh.";

/// Hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What else begins so is AUFS's own and means nothing (the specification's "aufs" names).
const AUFS: &[u8] = b".wh..wh.";

/// Overlayfs' mark of a directory that hides what lies below it, as an ordinary user may set it.
const OPAQUE_MARK: &CStr = c"user.overlay.opaque";

/// Directories on the way to a file; paths end at 4096 bytes anyway.
const DEPTH_MAX: usize = 256;

/// The parent of entries, and itself: where the next one mostly goes too.
type Last = (Vec<u8>, OwnedFd);

/// A layer that is being written.
pub(crate) struct Tree {
    root: OwnedFd,
    last: Option<Last>,
    /// Directories, whose times are set once nothing more is put into them.
    directories: Vec<(Vec<u8>, i64)>,
    /// Names that hide lower ones and may turn out to be there themselves.
    hidden: HashSet<Vec<u8>>,
    /// Things that no sandbox may have.
    pub(crate) left_out: u64,
}

fn wrong(path: &[u8], why: &str) -> io::Error {
    let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} in it {why}"))
}

impl Tree {
    /// Below this directory, which is empty and the caller's.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root, last: None, directories: Vec::new(), hidden: HashSet::new(), left_out: 0 }
    }

    /// Puts an entry in its place.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for what no honest builder writes; else what the disk says.
    pub(crate) fn put(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let path = clean(&entry.path)?;
        let Some((parent, name)) = split(&path) else {
            return Ok(());
        };
        if name.starts_with(WHITEOUT) {
            return self.take_away(parent, name);
        }
        let directory = self.directory(parent)?;
        let name = c_name(name)?;
        match &entry.kind {
            Kind::Directory => self.make_directory(&directory, &name, &path, entry)?,
            Kind::File => write_file(&directory, &name, entry, content)?,
            Kind::Symlink(target) => {
                make_room(&directory, &name)?;
                let target =
                    CString::new(target.as_slice()).map_err(|_| wrong(&path, "is a link to no path"))?;
                symlinkat(&target, &directory, &name)?;
            }
            Kind::Link(target) => self.link(target, &directory, &name)?,
            Kind::Other => {
                self.left_out += 1;
                return Ok(());
            }
        }
        self.hidden.remove(&path);
        self.last = Some((parent.to_vec(), directory));
        Ok(())
    }

    /// Sets the times of directories: what is below before what it is in.
    pub(crate) fn finish(self) -> io::Result<u64> {
        for (path, modified) in self.directories.iter().rev() {
            // One that an entry has replaced since has no time any more.
            if let Ok(directory) = open(&self.root, path, OFlags::RDONLY) {
                futimens(&directory, &times(*modified))?;
            }
        }
        Ok(self.left_out)
    }

    fn take_away(&mut self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        if name == OPAQUE {
            let directory = self.directory(parent)?;
            return Ok(mark_opaque(&directory)?);
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT).filter(|_| !name.starts_with(AUFS)) else {
            return Ok(());
        };
        let path = join(parent, hidden);
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(wrong(&path, "takes away no name"));
        }
        let directory = self.directory(parent)?;
        let name = c_name(hidden)?;
        // What the layer itself brings stays: only lower ones' is hidden.
        match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                mark_opaque(&openat(&directory, &name, LOOK | OFlags::RDONLY, Mode::empty())?)?;
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                mknodat(&directory, &name, FileType::CharacterDevice, Mode::empty(), 0)?;
                self.hidden.insert(path);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn make_directory(&mut self, at: &OwnedFd, name: &CStr, path: &[u8], entry: &Entry) -> io::Result<()> {
        let is_new = match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => false,
            Ok(_) => {
                unlinkat(at, name, AtFlags::empty())?;
                true
            }
            Err(Errno::NOENT) => true,
            Err(error) => return Err(error.into()),
        };
        if is_new {
            mkdirat(at, name, Mode::RWXU)?;
        }
        let directory = openat(at, name, LOOK | OFlags::RDONLY, Mode::empty())?;
        if self.hidden.contains(path) {
            mark_opaque(&directory)?;
        }
        // Open to its owner, or it could be neither filled nor removed.
        fchmod(&directory, Mode::from_raw_mode(entry.mode & 0o1777) | Mode::RWXU)?;
        self.directories.push((path.to_vec(), entry.modified));
        Ok(())
    }

    fn link(&mut self, target: &[u8], at: &OwnedFd, name: &CStr) -> io::Result<()> {
        let target = clean(target)?;
        let (parent, target_name) =
            split(&target).ok_or_else(|| wrong(&target, "is linked and is no file"))?;
        let from = open(&self.root, parent, OFlags::PATH)
            .map_err(|_| wrong(&target, "is linked and is not in the same layer"))?;
        let target_name = c_name(target_name)?;
        let found = statat(&from, &target_name, AtFlags::SYMLINK_NOFOLLOW);
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(FileType::RegularFile | FileType::Symlink) => {}
            _ => return Err(wrong(&target, "is linked and is no file of the same layer")),
        }
        let same = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).ok().zip(found.ok());
        if same.is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)) {
            return Ok(());
        }
        make_room(at, name)?;
        // Without `SYMLINK_FOLLOW`, a link is linked itself.
        Ok(linkat(&from, &target_name, at, name, AtFlags::empty())?)
    }

    /// The directory of this path, made with what leads to it where that is missing.
    fn directory(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        if let Some((last, directory)) = self.last.take()
            && last == path
        {
            return Ok(directory);
        }
        match open(&self.root, path, OFlags::PATH) {
            // A whiteout is no directory; what follows turns it into one.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            found => return found.map_err(|error| no_way(path, error)),
        }
        let mut so_far = Vec::new();
        let mut here = open(&self.root, b"", OFlags::PATH)?;
        for part in path.split(|byte| *byte == b'/') {
            let name = c_name(part)?;
            so_far = join(&so_far, part);
            if self.hidden.remove(&so_far) {
                unlinkat(&here, &name, AtFlags::empty())?;
                mkdirat(&here, &name, Mode::from_raw_mode(0o755))?;
                mark_opaque(&openat(&here, &name, LOOK | OFlags::RDONLY, Mode::empty())?)?;
            } else if let Err(error) = mkdirat(&here, &name, Mode::from_raw_mode(0o755))
                && error != Errno::EXIST
            {
                return Err(error.into());
            }
            here = open(&self.root, &so_far, OFlags::PATH).map_err(|error| no_way(&so_far, error))?;
        }
        Ok(here)
    }
}

const LOOK: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory below the root, through links that the layer brought, which lead nowhere but inside.
fn open(root: &OwnedFd, path: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn no_way(path: &[u8], error: Errno) -> io::Error {
    match error {
        Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::NAMETOOLONG => {
            wrong(path, "leads through something that is no directory of its layer")
        }
        other => other.into(),
    }
}

fn write_file(at: &OwnedFd, name: &CStr, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
    make_room(at, name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(at, name, flags, Mode::RUSR | Mode::WUSR)?);
    let count = io::copy(content, &mut file)?;
    if count != entry.size {
        return Err(wrong(&entry.path, "is shorter than it says"));
    }
    fchmod(&file, Mode::from_raw_mode(entry.mode & 0o777) | Mode::RUSR | Mode::WUSR)?;
    Ok(futimens(&file, &times(entry.modified))?)
}

/// Removes what has the name of an entry that comes now. A directory must be empty.
fn make_room(at: &OwnedFd, name: &CStr) -> io::Result<()> {
    let removed = match unlinkat(at, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(at, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY) => Err(wrong(name.to_bytes(), "is a full directory and a file at once")),
        Err(error) => Err(error.into()),
    }
}

fn mark_opaque(directory: &OwnedFd) -> Result<(), Errno> {
    let through = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(directory));
    match fsetxattr(directory, OPAQUE_MARK, b"y", XattrFlags::empty()) {
        // It was opened by path alone.
        Err(Errno::BADF) => rustix::fs::setxattr(through.as_str(), OPAQUE_MARK, b"y", XattrFlags::empty()),
        other => other,
    }
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// A path without what is superfluous in it.
fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(wrong(path, "leads upwards"));
    }
    if parts.len() > DEPTH_MAX {
        return Err(wrong(path, "lies too deep"));
    }
    Ok(parts.join(&b'/'))
}

/// Where it is and what it is called; nothing for the root itself.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    })
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn c_name(name: &[u8]) -> io::Result<CString> {
    CString::new(name).map_err(|_| wrong(name, "has a NUL in its name"))
}
