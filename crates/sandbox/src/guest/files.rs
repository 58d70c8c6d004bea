//! Reading and writing files for the host, beside hostile commands that change the tree at the same moment.
//!
//! Every path is resolved once, by the kernel, below the root and without following any link (`openat2(2)`); what is
//! then used is the descriptor. Only regular files of real file systems are read: a FIFO would block, a device would
//! act, and /proc would tell of the guest itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use nix::libc;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::wire::Wire;
use crate::COUNTERS;
use crate::protocol::{Id, Reply, Writing};

/// Mode of a new file, and of a new directory on the way to one.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Bits of a mode that the host may set: no set-user-id, no sticky bit.
const MODE_BITS: u32 = 0o777;

/// The transfers under way.
pub(super) struct Files {
    root: OwnedFd,
    reads: BTreeMap<Id, Reading>,
    writes: BTreeMap<Id, Arriving>,
    /// Makes names of temporary files.
    count: u64,
}

struct Reading {
    file: OwnedFd,
    left: u64,
}

struct Arriving {
    directory: OwnedFd,
    file: OwnedFd,
    temporary: PathBuf,
    name: PathBuf,
    mode: u32,
    left: u64,
}

/// Why a path cannot be used.
type Refusal = String;

impl Files {
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        Ok(Self { root, reads: BTreeMap::new(), writes: BTreeMap::new(), count: 0 })
    }

    /// Whether there is a file to read on and room for what it holds.
    pub(super) fn has_more(&self, wire: &Wire) -> bool {
        !self.reads.is_empty() && !wire.is_busy()
    }

    pub(super) fn read(&mut self, id: Id, path: &str, bytes_max: u64, wire: &mut Wire) {
        match self.open_to_read(path, bytes_max) {
            Ok((file, size, mode)) => {
                wire.send(&Reply::File(id, size, mode));
                self.reads.insert(id, Reading { file, left: bytes_max });
            }
            Err(why) => wire.send(&Reply::Path(id, why)),
        }
    }

    fn open_to_read(&self, path: &str, bytes_max: u64) -> Result<(OwnedFd, u64, u32), Refusal> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // By name first: opening a device or FIFO may already act.
        let found = self.resolve(path, OFlags::PATH | OFlags::CLOEXEC).map_err(describe)?;
        // These two are the kernel's own words and tell nothing of the guest.
        let demand = if COUNTERS.contains(&path) { demand_file } else { demand_regular };
        demand(&found)?;
        let file = self.resolve(path, flags).map_err(describe)?;
        let stat = demand(&file)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > bytes_max {
            return Err(format!("{size} bytes, more than the {bytes_max} asked for"));
        }
        Ok((file, size, stat.st_mode & MODE_BITS))
    }

    /// Sends a piece of every file that is read, as long as the host keeps up.
    pub(super) fn advance(&mut self, wire: &mut Wire, buffer: &mut [u8]) {
        let ids: Vec<Id> = self.reads.keys().copied().collect();
        for id in ids {
            if wire.is_busy() {
                return;
            }
            self.send_piece(id, wire, buffer);
        }
    }

    fn send_piece(&mut self, id: Id, wire: &mut Wire, buffer: &mut [u8]) {
        let Some(reading) = self.reads.get_mut(&id) else { return };
        let piece = match rustix::io::read(&reading.file, &mut *buffer) {
            Ok(count) => &buffer[..count],
            Err(error) => {
                wire.send(&Reply::Path(id, describe(error)));
                self.reads.remove(&id);
                return;
            }
        };
        if piece.len() as u64 > reading.left {
            wire.send(&Reply::Path(id, "it grew beyond the size asked for while it was read".to_owned()));
            self.reads.remove(&id);
            return;
        }
        reading.left -= piece.len() as u64;
        wire.send(&Reply::Chunk(id, Bytes::copy_from_slice(piece)));
        if piece.is_empty() {
            self.reads.remove(&id);
        }
    }

    pub(super) fn write(&mut self, id: Id, writing: &Writing, wire: &mut Wire) {
        match self.open_to_write(writing) {
            Ok(arriving) => {
                self.writes.insert(id, arriving);
                self.finish_if_whole(id, wire);
            }
            Err(why) => wire.send(&Reply::Path(id, why)),
        }
    }

    fn open_to_write(&mut self, writing: &Writing) -> Result<Arriving, Refusal> {
        let (directory, name) = self.parent(&writing.path, Missing::Make)?;
        let there = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let kept = there.filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG).map(|stat| stat.st_mode);
        let mode = writing.mode.or(kept).unwrap_or(FILE_MODE) & MODE_BITS;
        self.count += 1;
        let temporary = PathBuf::from(format!(".legwork-{}-{:x}", self.count, fastrand::u64(..)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&directory, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(describe)?;
        Ok(Arriving { directory, file, temporary, name, mode, left: writing.size })
    }

    pub(super) fn append(&mut self, id: Id, bytes: &[u8], wire: &mut Wire) {
        // Pieces of a write that was refused still come: the host sends them in one go.
        let Some(arriving) = self.writes.get_mut(&id) else { return };
        let written = write_all(&arriving.file, bytes);
        arriving.left = arriving.left.saturating_sub(bytes.len() as u64);
        match written {
            Ok(()) => self.finish_if_whole(id, wire),
            Err(error) => {
                if let Some(arriving) = self.writes.remove(&id) {
                    arriving.discard();
                }
                wire.send(&Reply::Path(id, describe(error)));
            }
        }
    }

    fn finish_if_whole(&mut self, id: Id, wire: &mut Wire) {
        if self.writes.get(&id).is_none_or(|arriving| arriving.left > 0) {
            return;
        }
        let Some(arriving) = self.writes.remove(&id) else { return };
        wire.send(&match arriving.finish() {
            Ok(()) => Reply::Done(id),
            Err(why) => Reply::Path(id, why),
        });
    }

    pub(super) fn remove(&mut self, id: Id, path: &str, wire: &mut Wire) {
        let removed = self.parent(path, Missing::Refuse).and_then(|(directory, name)| {
            rustix::fs::unlinkat(&directory, &name, AtFlags::empty()).map_err(describe)
        });
        wire.send(&match removed {
            Ok(()) => Reply::Done(id),
            Err(why) => Reply::Path(id, why),
        });
    }

    fn resolve(&self, path: impl rustix::path::Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// The directory of a path, and the name in it.
    fn parent(&self, path: &str, missing: Missing) -> Result<(OwnedFd, PathBuf), Refusal> {
        let path = Path::new(path);
        let name = path.file_name().ok_or("not the path of a file")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let directory = match self.resolve(parent, flags) {
            Err(Errno::NOENT) if missing == Missing::Make => self.make(parent, flags),
            other => other,
        };
        let directory = directory.map_err(describe)?;
        demand_real(&directory)?;
        Ok((directory, name.into()))
    }

    /// Makes a directory and those above it, one step at a time, each resolved anew.
    fn make(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut so_far = PathBuf::from("/");
        let mut here = self.resolve("/", flags)?;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            so_far.push(name);
            match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            here = self.resolve(&so_far, flags)?;
        }
        Ok(here)
    }
}

/// What to do with a directory that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

impl Arriving {
    fn finish(self) -> Result<(), Refusal> {
        let done = rustix::fs::fchmod(&self.file, Mode::from_raw_mode(self.mode)).and_then(|()| {
            rustix::fs::renameat(&self.directory, &self.temporary, &self.directory, &self.name)
        });
        done.map_err(|error| {
            let why = describe(error);
            self.discard();
            why
        })
    }

    fn discard(self) {
        let _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn demand_regular(file: &OwnedFd) -> Result<rustix::fs::Stat, Refusal> {
    let stat = demand_file(file)?;
    demand_real(file)?;
    Ok(stat)
}

fn demand_file(file: &OwnedFd) -> Result<rustix::fs::Stat, Refusal> {
    let stat = rustix::fs::fstat(file).map_err(describe)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err("not a regular file".to_owned());
    }
    Ok(stat)
}

/// Refuses /proc: its files are those of the guest, not of the machine.
fn demand_real(file: &OwnedFd) -> Result<(), Refusal> {
    match rustix::fs::fstatfs(file) {
        Ok(system) if system.f_type == rustix::fs::PROC_SUPER_MAGIC => Err("not a regular file".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(describe(error)),
    }
}

fn describe(error: Errno) -> Refusal {
    match error {
        Errno::LOOP => "a link is in the way".to_owned(),
        Errno::NOENT => "no such file".to_owned(),
        Errno::ISDIR => "a directory".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}
