//! Keeps a data directory from the other users of the machine.
//!
//! A new one is made for its owner alone. One that earlier versions, a container's volume or a careful `mkdir` made may be
//! open to all, and with it everybody's prompts, patches and code.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What a server or a command keeps directly in it, for its owner alone.
const FILES: [&str; 4] = ["legwork.db", "legwork.db-wal", "legwork.db-shm", "legwork.log"];

/// What tells that a directory is one of ours: any may be named by mistake, and must not be closed.
const MARKS: [&str; 3] = ["legwork.db", "server.json", "secret.key"];

/// Read, write and search for group and others.
const OTHERS: u32 = 0o077;
/// Set on directories in which everybody may make files.
const STICKY: u32 = 0o1000;

/// Takes the rights of others away from a data directory and its files, where they are this user's, and gives back what was
/// changed. A second call changes nothing.
///
/// # Errors
/// If something cannot be changed.
pub(crate) fn close(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut closed = Vec::new();
    if !MARKS.iter().any(|mark| home.join(mark).exists()) {
        return Ok(closed);
    }
    let directory = fs::metadata(home)?;
    if directory.mode() & STICKY != 0 {
        return Ok(closed);
    }
    if is_open(&directory) {
        fs::set_permissions(home, Permissions::from_mode(0o700))?;
        closed.push(home.to_owned());
    }
    for file in FILES.map(|name| home.join(name)) {
        // Not through a link: what it leads to is not ours to say.
        if fs::symlink_metadata(&file).is_ok_and(|file| file.is_file() && is_open(&file)) {
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            closed.push(file);
        }
    }
    Ok(closed)
}

fn is_open(metadata: &Metadata) -> bool {
    metadata.mode() & OTHERS != 0 && metadata.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn open_to_all(path: &Path) {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_was_open_is_closed_once() {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str| home.path().join(name);
        for name in ["legwork.db", "legwork.db-wal", "else"] {
            fs::write(file(name), "").unwrap();
            open_to_all(&file(name));
        }
        let outside = tempfile::NamedTempFile::new().unwrap();
        open_to_all(outside.path());
        std::os::unix::fs::symlink(outside.path(), file("legwork.log")).unwrap();
        open_to_all(home.path());
        let closed = [home.path().to_owned(), file("legwork.db"), file("legwork.db-wal")];
        assert_eq!(close(home.path()).unwrap(), closed);
        assert_eq!((mode(home.path()), mode(&file("legwork.db"))), (0o700, 0o600));
        assert_eq!((mode(&file("else")), mode(outside.path())), (0o755, 0o755));
        assert_eq!(close(home.path()).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_directory_that_is_not_ours_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        open_to_all(home.path());
        assert!(close(home.path()).unwrap().is_empty());
        fs::write(home.path().join("server.json"), "{}").unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(close(home.path()).unwrap().is_empty());
        assert_eq!(mode(home.path()), 0o1777);
    }
}
