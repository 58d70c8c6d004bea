//! A backup of all that a server on SQLite keeps, made while it runs, and the way back.
//!
//! A backup is a directory like the data directory: the database and the blobs. The key of the secrets is not in it, since
//! a backup that opens the secrets by itself would be worth stealing; it is kept apart.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use legwork_store::{Restored, Store};

use crate::{Error, database_in, open_kept};

/// The directory of the blobs, in the data directory and in a backup.
const BLOBS: &str = "blobs";

/// Makes the backup `to`, a new directory, of the server on `data`, which may run meanwhile.
///
/// # Errors
/// [`Error::Absent`] if there is no database, [`Error::Data`] if the directory exists or cannot be written,
/// [`Error::Store`] as the store's backup. What was copied by then is removed.
pub async fn backup(data: &Path, database: Option<&str>, to: &Path) -> Result<(), Error> {
    let store = open_kept(data, database).await?;
    let made = match fs::DirBuilder::new().mode(0o700).create(to) {
        Ok(()) => fill(data, &store, to).await,
        Err(error) => {
            store.close().await;
            return Err(at(to)(error));
        }
    };
    store.close().await;
    if made.is_err() {
        // A half backup must not pass for one; what went wrong is said, also if it cannot be removed.
        let _ = fs::remove_dir_all(to);
    }
    made
}

async fn fill(data: &Path, store: &Store, to: &Path) -> Result<(), Error> {
    // Before the database, since one that it names may be removed meanwhile, and after it, since it may name newer ones.
    copy_blobs(data, to).await?;
    store.backup(&database_in(to)).await?;
    copy_blobs(data, to).await
}

/// Puts the backup `from` in the place of the database, which is set aside; blobs that are missing are added. No server may
/// run on it. Without a `database` it is the file in `data`.
///
/// # Errors
/// [`Error::Store`] as the store's restore, [`Error::Data`]. The database is then as it was.
pub async fn restore(from: &Path, data: &Path, database: Option<&Path>) -> Result<Restored, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(at(data))?;
    copy_blobs(from, data).await?;
    let target = database.map_or_else(|| database_in(data), Path::to_path_buf);
    Ok(Store::restore(&database_in(from), &target).await?)
}

/// Copies the blobs that `to` has not. They never change, so one that is there is the same.
async fn copy_blobs(from: &Path, to: &Path) -> Result<(), Error> {
    let (source, target) = (from.join(BLOBS), to.join(BLOBS));
    let failed = at(&source);
    let copied = tokio::task::spawn_blocking(move || copy_missing(&source, &target)).await;
    copied.map_err(io::Error::other).and_then(|copied| copied).map_err(failed)
}

fn copy_missing(source: &Path, target: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(target)?;
    for shelf in directories(source)? {
        let beside = target.join(shelf.file_name().unwrap_or_default());
        fs::create_dir_all(&beside)?;
        for blob in fs::read_dir(&shelf)? {
            let blob = blob?;
            let copy = beside.join(blob.file_name());
            if !copy.exists() {
                copy_whole(&blob.path(), &copy)?;
            }
        }
        fs::File::open(&beside)?.sync_all()?;
    }
    Ok(())
}

/// The directories of whole blobs, two hexadecimal digits each. None, where there never was a blob.
fn directories(source: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(source) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.file_name().is_some_and(|name| name.len() == 2)).collect())
}

/// Under another name first, so that a copy is whole or not there. One that was removed meanwhile needs none.
fn copy_whole(blob: &Path, copy: &Path) -> io::Result<()> {
    let partial = copy.with_extension("partial");
    match fs::copy(blob, &partial) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, copy)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    |source| Error::Data { path, source }
}
