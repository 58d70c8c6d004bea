//! Backup while others read and write, and restore while nobody does.
//!
//! A copy of SQLite's file made by the file system may be torn, and misses what the write-ahead log holds. So both ways go
//! through SQLite, which copies what one moment's reader sees. Both write beside their target and rename at the end: a
//! target is whole or not there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::{Connection as _, Row as _};

use crate::dialect::Dialect;
use crate::open::sqlite_options;
use crate::{Connection, Error, Store, migrate};

/// Databases that restores have set aside and nobody has removed.
const REPLACED_MAX: u32 = 100;

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the database is that was there before.
    pub replaced: Option<PathBuf>,
}

impl Store {
    /// Writes a copy of the database, as it is at one moment, to a new file. Readers and writers go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file exists or cannot be made, and over Postgres, which has its own tools;
    /// [`Error::Full`]. Nothing is left of a copy that is not whole.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        if self.dialect == Dialect::Postgres {
            return Err(Error::Invalid(
                "A Postgres database is backed up with Postgres's own tools, as `pg_dump --format=custom`."
                    .to_owned(),
            ));
        }
        if to.exists() {
            return Err(Error::Invalid(format!(
                "{} exists already. A backup replaces nothing.",
                to.display()
            )));
        }
        // A connection of its own: the readers may write nowhere, and the writer must not wait.
        let main = sqlx::query("SELECT file FROM pragma_database_list WHERE name = 'main'");
        let main = main.fetch_one(&self.readers).await?;
        let path: &str = main.try_get("file")?;
        let mut connection = Connection::connect_with(&sqlite_options(Path::new(path), "ro")?).await?;
        let copied = copy(&mut connection, to).await;
        connection.close().await?;
        copied
    }

    /// Puts a backup in the place of the SQLite database at `database`, which is set aside and kept. No server may run
    /// on it. A worker that goes on finds that its leases are over: epochs come again, but no lease's id does.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the backup is damaged, [`Error::Migrate`] if a newer program wrote it, [`Error::Invalid`] if
    /// it is something else, [`Error::Busy`] if the database is in use, [`Error::Full`]. Then nothing was changed.
    pub async fn restore(backup: &Path, database: &Path) -> Result<Restored, Error> {
        if !backup.is_file() {
            return Err(Error::Invalid(format!("There is no file {}.", backup.display())));
        }
        let mut connection = Connection::connect_with(&sqlite_options(backup, "ro")?).await?;
        let sound = check(&mut connection, backup).await;
        let whole = beside(database, ".restoring");
        let copied = match sound {
            Ok(()) => copy(&mut connection, &whole).await,
            Err(error) => Err(error),
        };
        connection.close().await?;
        copied?;
        let swapped = swap(&whole, database).await;
        if swapped.is_err() {
            let _ = fs::remove_file(&whole);
        }
        swapped
    }
}

/// Copies what the connection sees to a new file that only its owner may read.
async fn copy(connection: &mut Connection, to: &Path) -> Result<(), Error> {
    let partial = beside(to, ".partial");
    // Of a copy that was broken off.
    let _ = fs::remove_file(&partial);
    File::options().write(true).create_new(true).mode(0o600).open(&partial).map_err(unwritable(&partial))?;
    let copied = async {
        let path = std::path::absolute(&partial).map_err(unwritable(&partial))?;
        sqlx::query("VACUUM INTO $1").bind(text(&path)?).execute(connection).await?;
        keep(&partial, to).map_err(unwritable(to))
    };
    let copied = copied.await;
    if copied.is_err() {
        let _ = fs::remove_file(&partial);
    }
    copied
}

/// Whether the backup is sound and of a schema that this program knows.
async fn check(connection: &mut Connection, backup: &Path) -> Result<(), Error> {
    let findings = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await?;
    let finding: &str = findings.try_get(0)?;
    if finding != "ok" {
        return Err(Error::corrupt("backup")(finding.into()));
    }
    if !migrate::is_ours(connection).await? {
        return Err(Error::Invalid(format!("{} is not a database of Legwork's.", backup.display())));
    }
    if sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *connection).await?.is_some() {
        return Err(Error::corrupt("backup")("a row refers to one that is missing".into()));
    }
    Ok(())
}

/// Sets the database aside and puts the new one in its place.
async fn swap(new: &Path, database: &Path) -> Result<Restored, Error> {
    if !database.exists() {
        keep(new, database).map_err(unwritable(database))?;
        return Ok(Restored { replaced: None });
    }
    // Held until the swap is done.
    let held = hold(database).await?;
    let replaced = set_aside(database).map_err(unwritable(database))?;
    if let Err(error) = keep(new, database) {
        let _ = fs::remove_file(&replaced);
        return Err(unwritable(database)(error));
    }
    if let Some(held) = held {
        held.close().await?;
    }
    Ok(Restored { replaced: Some(replaced) })
}

/// Makes sure that nobody has the database open, and takes its write-ahead log into its file. `None`: it is too damaged
/// to be asked.
async fn hold(database: &Path) -> Result<Option<Connection>, Error> {
    let held = async {
        let mut connection = Connection::connect_with(&sqlite_options(database, "rw")?).await?;
        // Only the last one that has the file open may leave this mode.
        sqlx::raw_sql("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE")
            .execute(&mut connection)
            .await?;
        Ok(connection)
    };
    match held.await {
        Ok(connection) => Ok(Some(connection)),
        Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the database a second name, under which it stays when the first is taken. A write-ahead log that a damaged one
/// still has goes with it.
fn set_aside(database: &Path) -> io::Result<PathBuf> {
    let names = (1..=REPLACED_MAX).map(|n| beside(database, &format!(".replaced-{n}")));
    let free = names.into_iter().find(|name| !name.exists());
    let replaced = free.ok_or_else(|| io::Error::other("too many databases are set aside; remove some"))?;
    fs::hard_link(database, &replaced)?;
    for part in ["-wal", "-shm"] {
        match fs::rename(beside(database, part), beside(&replaced, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(replaced)
}

/// Gives a whole file its name for good.
fn keep(file: &Path, name: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    fs::rename(file, name)?;
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::Invalid(format!("The path {} is not UTF-8.", path.display())))
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::Full(error.into());
        }
        Error::Invalid(format!("{} cannot be written: {error}.", path.display()))
    }
}
