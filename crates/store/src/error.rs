use legwork_domain::Refused;

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
    /// Others hold the database: try again.
    #[error("the database is busy")]
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

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy(error);
        }
        let code = error.as_database_error().and_then(|database| database.code()?.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(error),
            Some(SQLITE_FULL) => Self::Full(error),
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Self::Corrupt { what: "page", source: Box::new(error) },
            _ => Self::Database(error),
        }
    }
}
