use legwork_domain::Refused;
use sqlx::postgres::PgDatabaseError;

/// Why the store did not do it, cut by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The request itself is wrong; sent again it stays wrong.
    #[error("{0}")]
    Invalid(String),
    /// The turn is not under this epoch's lease: its worker must stop.
    #[error("epoch {epoch} is not the one that turn {turn} is leased under")]
    StaleEpoch {
        /// Which turn.
        turn: legwork_domain::TurnId,
        /// What the caller came with.
        epoch: u64,
    },
    /// Events are missing before the first of the batch: send from `expected` on.
    #[error("the batch starts at event {first} of its lease, but the next one is {expected}")]
    Gap {
        /// The batch's first number.
        first: u64,
        /// The number that is next.
        expected: u64,
    },
    /// The turn's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The idempotency key came with another request before: take a new key.
    #[error("the idempotency key was used for another task before")]
    KeyReused,
    /// Somebody else has it, or it changed since it was looked at: look again, then decide.
    #[error("{sentence}")]
    Conflict {
        /// A stable word for programs.
        code: &'static str,
        /// What stands against it, for a person.
        sentence: String,
    },
    /// Others hold the database, or it is out of reach for the moment: try again. Nothing was written, unless the
    /// connection broke while a write was being committed: then it is whole or not there.
    #[error("{}", unavailable(.0))]
    Busy(#[source] sqlx::Error),
    /// The disk is full: nothing was written; make room and try again.
    #[error("the disk that holds the database is full")]
    Full(#[source] sqlx::Error),
    /// A row is not what this program writes: a newer program's, or damage.
    #[error("the database holds a {what} that cannot be read")]
    Corrupt {
        /// What kind of row.
        what: &'static str,
        /// Why it cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is there but its schema cannot be brought to this program's version.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Anything else that the database says.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl Error {
    /// The code of a [`Error::Conflict`] with a version that the caller has not seen.
    pub const OTHER_VERSION: &str = "other_version";

    /// The code of a [`Error::Conflict`] with how many turns a person may have in the queue.
    pub const QUEUE_FULL: &str = "too_many_queued";

    /// The code of a [`Error::Conflict`] with how much a person may upload that no task names.
    pub const UPLOADS_FULL: &str = "too_many_uploads";

    pub(crate) fn conflict(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::Conflict { code, sentence: sentence.into() }
    }

    /// Refuses a change of a version that is none of those that the caller has `seen`; `None`: it takes any.
    pub(crate) fn unless_seen(seen: Option<&[u64]>, version: u64) -> Result<(), Self> {
        if seen.is_none_or(|seen| seen.contains(&version)) {
            return Ok(());
        }
        let sentence = format!("It is at version {version} by now. Read it, then decide anew.");
        Err(Self::conflict(Self::OTHER_VERSION, sentence))
    }

    /// Whether a row with the same key was there already.
    pub(crate) fn is_unique_violation(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.as_database_error().is_some_and(|cause| cause.is_unique_violation())
    }

    pub(crate) fn corrupt(
        what: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::Corrupt { what, source }
    }
}

/// Primary result codes, <https://www.sqlite.org/rescode.html>; the low byte of the extended ones.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;
/// Extended: no room for the write-ahead log's index.
const SQLITE_IOERR_SHMSIZE: u32 = 4874;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match kind(&error) {
            Kind::Busy | Kind::Unreachable => Self::Busy(error),
            Kind::Full => Self::Full(error),
            Kind::Corrupt => Self::Corrupt { what: "page", source: Box::new(error) },
            Kind::Other => Self::Database(error),
        }
    }
}

/// What a database's word means to a caller.
enum Kind {
    Busy,
    Unreachable,
    Full,
    Corrupt,
    Other,
}

fn kind(error: &sqlx::Error) -> Kind {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return Kind::Busy;
    }
    // SQLite tells its own failures as the database's: these are a socket's.
    if matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolClosed) {
        return Kind::Unreachable;
    }
    let Some(database) = error.as_database_error() else {
        return Kind::Other;
    };
    let code = database.code().unwrap_or_default();
    if database.try_downcast_ref::<PgDatabaseError>().is_some() { postgres(&code) } else { sqlite(&code) }
}

fn sqlite(code: &str) -> Kind {
    let code = code.parse::<u32>();
    if code == Ok(SQLITE_IOERR_SHMSIZE) {
        return Kind::Full;
    }
    match code.map(|code| code & 0xff) {
        Ok(SQLITE_BUSY | SQLITE_LOCKED) => Kind::Busy,
        Ok(SQLITE_FULL) => Kind::Full,
        Ok(SQLITE_CORRUPT | SQLITE_NOTADB) => Kind::Corrupt,
        _ => Kind::Other,
    }
}

/// By <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres(code: &str) -> Kind {
    match code {
        // Serialization failure, deadlock, lock not available, statement or idle time-out, too many connections.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" | "53300" => Kind::Busy,
        "53100" => Kind::Full,
        "XX001" | "XX002" => Kind::Corrupt,
        // Shut down, crashed, starting up, dropped; class 08 is the connection.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Kind::Unreachable,
        _ if code.starts_with("08") => Kind::Unreachable,
        _ => Kind::Other,
    }
}

fn unavailable(error: &sqlx::Error) -> &'static str {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        // The pool does not tell these two apart.
        "the database is busy or cannot be reached"
    } else if matches!(kind(error), Kind::Unreachable) {
        "the database cannot be reached"
    } else {
        "the database is busy"
    }
}
