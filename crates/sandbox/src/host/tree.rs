//! Removing trees that hostile commands made: too deep to recurse, without rights, with links that lead out.
//!
//! Every directory below the top is first moved *to* the top and then emptied there, so that nothing is ever deeper than
//! one step, two descriptors are enough, and no path is ever longer than one name. A link is removed, never followed.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Rights that we need on a directory to empty it.
const OPEN_MODE: Mode = Mode::RWXU;

/// Removes a directory and all below it. Nothing there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Errno> {
    let top = match open_directory(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut count = 0;
    // Ends: each round either leaves no directory at the top, or removes those that it found there.
    while empty_top(&top, &mut count)? == Found::Directories {}
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Whether a round found something that may have left more.
#[derive(PartialEq, Eq)]
enum Found {
    Directories,
    Nothing,
}

fn empty_top(top: &OwnedFd, count: &mut u64) -> Result<Found, Errno> {
    let mut found = Found::Nothing;
    for (name, is_directory) in entries(top)? {
        if is_directory {
            found = Found::Directories;
            empty(top, &name, count)?;
            tolerate(unlinkat(top, name.as_c_str(), AtFlags::REMOVEDIR))?;
        } else {
            tolerate(unlinkat(top, name.as_c_str(), AtFlags::empty()))?;
        }
    }
    Ok(found)
}

/// Removes a directory's files and moves its directories to the top.
fn empty(top: &OwnedFd, name: &CStr, count: &mut u64) -> Result<(), Errno> {
    let directory = open_directory(top, name)?;
    for (child, is_directory) in entries(&directory)? {
        if !is_directory {
            tolerate(unlinkat(&directory, child.as_c_str(), AtFlags::empty()))?;
            continue;
        }
        // Moving a directory writes its "..", for which it must be writable.
        drop(open_directory(&directory, child.as_c_str())?);
        move_up(&directory, &child, top, count)?;
    }
    Ok(())
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, count: &mut u64) -> Result<(), Errno> {
    loop {
        *count += 1;
        match renameat(from, name, top, format!(".{count}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            other => return other,
        }
    }
}

fn tolerate(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Opens a directory, not a link to one, and takes the rights to change it if they are missing.
fn open_directory<F: std::os::fd::AsFd, P: rustix::path::Arg>(at: F, path: P) -> Result<OwnedFd, Errno> {
    let found = openat(
        at,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let itself = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    if !mode.contains(OPEN_MODE) {
        // Only the descriptor's own name reaches it: `fchmod` refuses one that was opened by path alone.
        rustix::fs::chmod(itself.as_str(), OPEN_MODE)?;
    }
    openat(CWD, itself.as_str(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn entries(directory: &OwnedFd) -> Result<Vec<(CString, bool)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_directory = match entry.file_type() {
            FileType::Unknown => is_directory(directory, name)?,
            FileType::Directory => true,
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => false,
        };
        found.push((name.to_owned(), is_directory));
    }
    Ok(found)
}

fn is_directory(at: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_hostile_tree_goes_and_what_it_points_to_stays() {
        let base = std::env::temp_dir().join(format!("legwork-tree-{}", std::process::id()));
        let tree = base.join("tree");
        let kept = base.join("kept");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        symlink("/nowhere", tree.join("dangling")).unwrap();
        std::fs::write(tree.join("a/b/file"), "x").unwrap();
        std::fs::create_dir_all(tree.join(".1/.2")).unwrap();
        std::fs::set_permissions(tree.join("a/b"), std::fs::Permissions::from_mode(0o0)).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "kept");
        remove(&base).unwrap();
        remove(&base).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let top = std::env::temp_dir().join(format!("legwork-deep-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        let mut here = open_directory(CWD, &top).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, "dddd", Mode::RWXU).unwrap();
            here = open_directory(&here, "dddd").unwrap();
        }
        drop(here);
        remove(&top).unwrap();
        assert!(!top.exists());
    }
}
