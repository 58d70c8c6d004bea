//! How much a tree holds that changes at this moment, and that hostile commands change.
//!
//! No link is followed. However deep the tree is, one directory is open at a time: the way back is `..`, which must lead
//! to where the walk came from.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::unlinked::Unlinked;

/// What a file costs beside its blocks. An inode and its name take less, but there are not many inodes: ext4 makes one
/// for each 16 KiB (`mke2fs.conf`), and a sandbox must not take all of them with files that hold nothing.
pub(super) const ENTRY_BYTES: u64 = 4096;

/// Directories that are known and still to be visited, and files of several names that were counted: at most 17 MB of the
/// one and 4 MB of the other. No directory of a package cache has as many others in it.
const NOTED_MAX: usize = 1 << 16;

/// The unit of `st_blocks` (`inode(7)`).
const BLOCK_BYTES: u64 = 512;

/// What a sandbox holds of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    /// Whether all was seen.
    pub(super) is_whole: bool,
}

impl Size {
    /// Of a tree. What is closed to this process, or moved under its feet, is not seen.
    pub(super) fn of(path: &Path) -> Self {
        let mut walk = Walk {
            size: Self { bytes: 0, is_whole: true },
            levels: Vec::new(),
            pending: 0,
            linked: BTreeSet::new(),
        };
        if let Ok(top) = open_directory(CWD, path) {
            walk.run(top);
        }
        walk.size
    }

    pub(super) fn with(self, unlinked: Unlinked) -> Self {
        Self { bytes: self.bytes + unlinked.bytes, is_whole: self.is_whole && unlinked.is_whole }
    }
}

struct Walk {
    size: Size,
    /// From the top to where the walk is.
    levels: Vec<Level>,
    /// Names in all levels.
    pending: usize,
    /// Inodes with several names that were counted.
    linked: BTreeSet<Inode>,
}

/// A directory on the way.
struct Level {
    inode: Inode,
    /// Directories in it that are still to be visited.
    pending: Vec<CString>,
}

type Inode = (u64, u64);

fn inode(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

impl Walk {
    fn run(&mut self, top: OwnedFd) {
        let mut here = top;
        self.enter(&here);
        while let Some(level) = self.levels.last_mut() {
            let next = match level.pending.pop() {
                Some(name) => {
                    self.pending -= 1;
                    self.descend(&here, &name)
                }
                None => self.ascend(&here),
            };
            if let Some(next) = next {
                here = next;
            }
        }
    }

    fn descend(&mut self, here: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
        match open_directory(here, name) {
            Ok(below) => self.enter(&below).then_some(below),
            Err(error) => {
                // It is gone already, or closed even to us: an ordinary user's own directory without rights.
                self.size.is_whole &= error == Errno::NOENT;
                None
            }
        }
    }

    /// Goes back to where the walk came from. A directory that was moved leads elsewhere: then the walk ends.
    fn ascend(&mut self, here: &OwnedFd) -> Option<OwnedFd> {
        self.levels.pop();
        let parent = self.levels.last()?.inode;
        let above = open_directory(here, c"..").ok();
        let above = above.filter(|above| fstat(above).is_ok_and(|stat| inode(&stat) == parent));
        if above.is_none() {
            self.size.is_whole = false;
            self.levels.clear();
        }
        above
    }

    /// Counts what is in a directory, and notes the directories in it. Whether it could be read.
    fn enter(&mut self, directory: &OwnedFd) -> bool {
        let (Ok(stat), Ok(entries)) = (fstat(directory), Dir::read_from(directory)) else {
            self.size.is_whole = false;
            return false;
        };
        let mut level = Level { inode: inode(&stat), pending: Vec::new() };
        for entry in entries.flatten().filter(|entry| ![c".", c".."].contains(&entry.file_name())) {
            let name = entry.file_name();
            let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.count(&stat);
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            if self.pending == NOTED_MAX {
                self.size.is_whole = false;
                continue;
            }
            self.pending += 1;
            level.pending.push(name.to_owned());
        }
        self.levels.push(level);
        true
    }

    fn count(&mut self, stat: &Stat) {
        self.size.bytes += ENTRY_BYTES;
        let has_names = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_first = !has_names || self.linked.len() == NOTED_MAX || self.linked.insert(inode(stat));
        if is_first {
            self.size.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
        }
    }
}

fn open_directory<F: AsFd, P: rustix::path::Arg>(at: F, path: P) -> rustix::io::Result<OwnedFd> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_deep_is_seen_and_a_file_of_two_names_once() {
        let tree = tempfile::tempdir().unwrap();
        let empty = Size::of(tree.path());
        assert_eq!(empty, Size { bytes: 0, is_whole: true });
        std::fs::write(tree.path().join("a"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(tree.path().join("a"), tree.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/usr", tree.path().join("c")).unwrap();
        let mut deep = tree.path().to_owned();
        for _ in 0..400 {
            deep.push("d");
            std::fs::create_dir(&deep).unwrap();
            std::fs::create_dir(deep.join("e")).unwrap();
        }
        std::fs::write(deep.join("f"), vec![1; 1 << 20]).unwrap();
        let Size { bytes, is_whole } = Size::of(tree.path());
        let files = 2 << 20;
        let directories = 800;
        let entries = (directories + 4) * ENTRY_BYTES;
        assert!(is_whole && bytes >= files + entries, "{bytes}");
        // A directory takes a block at most.
        assert!(bytes <= files + entries + (directories + 4) * 4096, "{bytes}");
    }
}
