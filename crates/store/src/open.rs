//! Opening a database: connections and schema.
//!
//! A process that runs one task pays for this at each start, so a database that is up to date costs one small query.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::{Any, Connection as _};

use crate::dialect::Dialect;
use crate::exchange::Address;
use crate::{Connection, Error, Store, migrate};

/// How long a call waits for a connection before it is told to come again: a restart of Postgres goes by unseen, and a
/// caller does not lose its patience.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at a time over SQLite. Reads are short and each connection is a thread, so more would only take memory.
const SQLITE_READERS_MAX: u32 = 4;

/// Connections of one server to Postgres for each of reading and writing: enough to wait for disks and other servers,
/// and few enough for several servers under Postgres's usual 100.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;

/// `busy_timeout` is how long a statement waits for another process's write: far above one commit, below a caller's
/// patience. In WAL mode only FULL syncs at each commit; NORMAL may lose the last ones with the power.
/// What is overwritten or deleted in a page is blanked there (`secure_delete`): a secret that was sealed anew, a task's prompt.
const SQLITE_WRITER: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; \
                             PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON";

/// A statement waits as long as over SQLite. A server that freezes in the middle of a write loses its locks before a
/// lease lapses.
const POSTGRES_WRITER: &str = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '15s'; \
                               SET client_min_messages = warning";
const POSTGRES_READER: &str = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '15s'; \
                               SET client_min_messages = warning; SET default_transaction_read_only = on";

impl Store {
    /// Opens the SQLite database at `path`, makes it if there is none, and brings its schema up to date.
    ///
    /// Several processes may do so at the same time, and may use it at the same time.
    ///
    /// # Errors
    /// [`Error::Migrate`] if the file was written by a newer program; [`Error::Invalid`] if the path is not UTF-8.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::over(Dialect::Sqlite, sqlite_options(path, "rwc")?).await
    }

    /// Opens `postgres://USER:PASSWORD@HOST:PORT/DATABASE` or `sqlite:PATH` and brings its schema up to date.
    ///
    /// Several servers may do so at the same time, and may use it at the same time.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is neither; [`Error::Busy`] if the database cannot be reached; [`Error::Migrate`] if
    /// a newer program has used it.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Self::open(Path::new(path)).await;
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            // Not the URL itself: it may hold a password.
            return Err(Error::Invalid(
                "A database is `postgres://USER:PASSWORD@HOST/DATABASE` or `sqlite:PATH`.".to_owned(),
            ));
        }
        let store = Self::over(Dialect::Postgres, options(url)?).await?;
        Ok(Self { address: Some(Address(url.into())), ..store })
    }

    /// Whether a database is there and holds a schema of this program. Makes nothing, unlike opening it.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn is_there(url: &str) -> Result<bool, Error> {
        let options = match url.strip_prefix("sqlite:").map(Path::new) {
            Some(path) if !path.is_file() => return Ok(false),
            Some(path) => sqlite_options(path, "rw")?,
            None => options(url)?,
        };
        let mut connection = Connection::connect_with(&options).await?;
        let there = migrate::is_applied(&mut connection).await;
        connection.close().await?;
        there
    }

    async fn over(dialect: Dialect, options: AnyConnectOptions) -> Result<Self, Error> {
        // A pool tries again for a while when the setup of a connection fails. Of the first one we want to hear why.
        let mut first = pool(dialect, 1).connect_with(options.clone()).await?.acquire().await?.detach();
        set_up(&mut first, dialect.writer()).await?;
        migrate::run(&mut first, dialect).await?;
        let (writers, readers) = dialect.connections_max();
        let writer =
            with_setup(pool(dialect, writers), dialect.writer()).connect_with(options.clone()).await?;
        let readers = with_setup(pool(dialect, readers), dialect.reader()).connect_lazy_with(options);
        // Not before there is another, since the last one to leave a file of SQLite's tidies it up. It ends by itself.
        drop(first);
        Ok(Self { dialect, writer, readers, address: None })
    }
}

impl Dialect {
    /// How many connections write and read at a time.
    const fn connections_max(self) -> (u32, u32) {
        match self {
            Self::Sqlite => (1, SQLITE_READERS_MAX),
            Self::Postgres => (POSTGRES_CONNECTIONS_MAX, POSTGRES_CONNECTIONS_MAX),
        }
    }

    /// What a connection that writes is told first.
    const fn writer(self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE_WRITER,
            Self::Postgres => POSTGRES_WRITER,
        }
    }

    /// What a connection that reads is told first.
    const fn reader(self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE_READER,
            Self::Postgres => POSTGRES_READER,
        }
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, Error> {
    sqlx::any::install_default_drivers();
    url.parse().map_err(|error| Error::Invalid(format!("The database's URL cannot be read: {error}.")))
}

/// `mode`: `ro`, `rw` or `rwc`, as SQLite's URLs have it. All of the path is escaped, its slashes too, so nothing between
/// here and SQLite takes it apart.
pub(crate) fn sqlite_options(path: &Path, mode: &str) -> Result<AnyConnectOptions, Error> {
    let path = path.to_str().ok_or_else(|| {
        Error::Invalid(format!(
            "The database's path, {}, is not UTF-8. Choose another directory.",
            path.display()
        ))
    })?;
    let mut url = "sqlite:".to_owned();
    for byte in path.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(url, "%{byte:02X}");
    }
    options(&format!("{url}?mode={mode}"))
}

fn pool(dialect: Dialect, connections: u32) -> PoolOptions<Any> {
    let pool = PoolOptions::<Any>::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // SQLite ends a transaction by itself when the disk is full. The driver then believes for ever that there is one
        // and refuses to begin another: such a connection is replaced.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }));
    match dialect {
        // A connection to a file does not go stale.
        Dialect::Sqlite => pool.test_before_acquire(false).idle_timeout(None).max_lifetime(None),
        Dialect::Postgres => pool,
    }
}

fn with_setup(pool: PoolOptions<Any>, statements: &'static str) -> PoolOptions<Any> {
    pool.after_connect(move |connection, _| Box::pin(set_up(connection, statements)))
}

async fn set_up(connection: &mut Connection, statements: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statements).execute(connection).await?;
    Ok(())
}
