//! Root file systems of the operator's own: what they hold now, and their files as an archive.
//!
//! A directory may change at any time, so it is not shown as it is: it is copied, through the same narrow door as a
//! registry's archive, whenever anything in it has changed.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::reference::Digest;

/// Entries of a root file system on this machine: those of a large distribution, several times.
const ENTRIES_MAX: usize = 2_000_000;

/// Names what is at the path by all that changes with it: names, kinds, sizes, times and inodes; of a tarball its own.
pub(crate) fn fingerprint(path: &Path) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut waiting = vec![path.to_path_buf()];
    let mut count = 0;
    note(&mut hash, path, &std::fs::metadata(path)?);
    while let Some(here) = waiting.pop() {
        if !here.is_dir() {
            continue;
        }
        let mut entries = std::fs::read_dir(&here)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
        count += entries.len();
        if count > ENTRIES_MAX {
            return Err(io::Error::other(format!("it holds more than {ENTRIES_MAX} files")));
        }
        for entry in entries {
            let metadata = entry.metadata()?;
            note(&mut hash, &entry.path(), &metadata);
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(Digest::of(&hash.finalize()))
}

fn note(hash: &mut Sha256, path: &Path, metadata: &std::fs::Metadata) {
    let name = path.as_os_str().as_bytes();
    let numbers = [
        name.len() as u64,
        u64::from(metadata.mode()),
        metadata.size(),
        metadata.ino(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ];
    hash.update(name);
    numbers.iter().for_each(|number| hash.update(number.to_le_bytes()));
}

/// The archive of a directory's files, or the tarball itself. Reading it to its end is reading the files.
pub(crate) fn archive(path: PathBuf) -> io::Result<Box<dyn io::Read + Send>> {
    if !path.is_dir() {
        return Ok(Box::new(File::open(path)?));
    }
    let (read, write) = io::pipe()?;
    let work = move || {
        let mut builder = tar::Builder::new(write);
        builder.follow_symlinks(false);
        builder.sparse(false);
        // The other end sees an archive that is cut off.
        if let Err(error) = builder.append_dir_all(".", &path).and_then(|()| builder.finish()) {
            tracing::warn!(path = %path.display(), %error, "a root file system could not be read");
        }
    };
    std::thread::Builder::new().name("image-read".to_owned()).spawn(work)?;
    Ok(Box::new(read))
}
