//! Opening the file: connections and schema.
//!
//! A process that runs one task pays for this at each start, so a database that is up to date costs one small query.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::{Error, Store};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations/sqlite");

/// How long a statement waits for another process's write: far above one commit, below a caller's patience.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call waits for a connection before it is told to come again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Readers at a time. Reads are short and each connection is a thread, so more would only take memory.
const READERS_MAX: u32 = 4;

impl Store {
    /// Opens the database at `path`, makes it if there is none, and brings its schema up to date.
    ///
    /// Several processes may do so at the same time, and may use it at the same time.
    ///
    /// # Errors
    /// [`Error::Migrate`] if the file was written by a newer program.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode only FULL syncs at each commit; NORMAL may lose the last ones with the power.
            .synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_with(writing).await?;
        migrate(&writer).await?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { writer, readers })
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection to a file does not go stale.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

async fn migrate(writer: &sqlx::SqlitePool) -> Result<(), Error> {
    let newest = MIGRATOR.iter().map(|migration| migration.version).max();
    if applied(&mut *writer.acquire().await?).await == newest {
        return Ok(());
    }
    // The lock from the start on lets one of several processes migrate; the others then find nothing to do.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATOR.run_direct(None, &mut *transaction, false).await.map_err(Error::Migrate)?;
    Ok(transaction.commit().await?)
}

/// The newest migration that was applied; `None` also for a file without a schema.
async fn applied(connection: &mut crate::Connection) -> Option<i64> {
    let version = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success");
    version.fetch_one(connection).await.ok().flatten()
}
