//! What the two databases do not say alike. Everything else in this crate is one text for both.

use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;

use crate::{Connection, Error};

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Embedded; one write transaction at a time.
    Sqlite,
    /// A server that other servers of ours share.
    Postgres,
}

/// What a read does about a row that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Sees it as it was before, and locks nothing itself.
    None,
    /// Waits, and then sees the row as that transaction left it.
    Wait,
    /// Passes over it: any other row is as good.
    Skip,
}

impl Dialect {
    pub(crate) fn of(connection: &Connection) -> Self {
        if connection.backend_name() == "SQLite" { Self::Sqlite } else { Self::Postgres }
    }

    /// Begins a transaction that will write.
    pub(crate) const fn begin(self) -> &'static str {
        match self {
            // The write lock from the start: what is read stays true, and no read has to be promoted.
            Self::Sqlite => "BEGIN IMMEDIATE",
            // Whatever the operator's default is; row locks do the rest.
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }
}

/// Waits until no other transaction is at what has this name, and keeps it until this one ends. Two names that share a place
/// among Postgres' advisory locks only wait for each other.
pub(crate) async fn one_at_a_time(connection: &mut Connection, name: &str) -> Result<(), Error> {
    // SQLite has one write transaction at a time.
    if Dialect::of(connection) == Dialect::Postgres {
        let mut place = [0; 8];
        place.copy_from_slice(&Sha256::digest(name)[..8]);
        sqlx::query("SELECT 1 AS one FROM (SELECT pg_advisory_xact_lock($1)) AS held")
            .bind(i64::from_be_bytes(place))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The statement with the lock that keeps its rows as they are until the write transaction ends. The last word of
/// `select` must be the end of its plain form.
pub(crate) fn locking(connection: &Connection, select: &'static str, lock: Lock) -> AssertSqlSafe<String> {
    let clause = match (Dialect::of(connection), lock) {
        (Dialect::Sqlite, _) | (Dialect::Postgres, Lock::None) => "",
        // Not FOR UPDATE: our keys never change, and rows that refer to this one may be added meanwhile.
        (Dialect::Postgres, Lock::Wait) => " FOR NO KEY UPDATE",
        (Dialect::Postgres, Lock::Skip) => " FOR NO KEY UPDATE SKIP LOCKED",
    };
    AssertSqlSafe(format!("{select}{clause}"))
}
