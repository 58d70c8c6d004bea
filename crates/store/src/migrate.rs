//! The schema. One text serves both databases.
//!
//! Columns are TEXT and BIGINT. Postgres would sort TEXT by the words of the database's language, SQLite sorts by bytes,
//! and our ids and cursors are in byte order: so Postgres reads each `TEXT` as `TEXT COLLATE "C"`.

use std::sync::LazyLock;

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _};

use crate::dialect::Dialect;
use crate::{Connection, Error};

/// As written, for SQLite.
static PLAIN: LazyLock<Migrator> = LazyLock::new(embedded);

/// As Postgres reads them. The checksums stay those of the files.
static COLLATED: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = embedded();
    for migration in migrator.migrations.to_mut() {
        migration.sql = AssertSqlSafe(collated(migration.sql.as_str())).into_sql_str();
    }
    migrator
});

fn embedded() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    // `run` holds a lock around all of them.
    migrator.set_locking(false);
    migrator
}

/// Lets one of several starting servers migrate while the others wait, however long it takes; held until the transaction
/// ends. The number is the word "legwork" in ASCII. A migration itself waits no longer than any write: what it locks whole,
/// it keeps from the servers that run.
const POSTGRES_LOCK: &str = "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(30510792544580203); \
                             SET LOCAL lock_timeout = '5s'";

/// Brings the schema up to date.
pub(crate) async fn run(connection: &mut Connection, dialect: Dialect) -> Result<(), Error> {
    let migrator = match dialect {
        Dialect::Sqlite => &*PLAIN,
        Dialect::Postgres => &*COLLATED,
    };
    // Counted, since a number that was left free may have been taken after a higher one was applied.
    if applied(connection).await == i64::try_from(migrator.iter().count()).ok() {
        return Ok(());
    }
    // The lock from the start on lets one of several processes migrate; the others then find nothing to do.
    let mut transaction = connection.begin_with(dialect.begin()).await?;
    if dialect == Dialect::Postgres {
        sqlx::raw_sql(POSTGRES_LOCK).execute(&mut *transaction).await?;
    }
    migrator.run_direct(None, &mut *transaction, false).await.map_err(Error::Migrate)?;
    Ok(transaction.commit().await?)
}

/// Whether this program made the schema of a file, in this version or an older one.
///
/// # Errors
/// [`Error::Migrate`] if a newer program has changed it.
pub(crate) async fn is_ours(connection: &mut Connection) -> Result<bool, Error> {
    let Some(_) = applied(connection).await else { return Ok(false) };
    let applied = connection.list_applied_migrations(&PLAIN.table_name).await.map_err(Error::Migrate)?;
    for done in applied {
        let known = PLAIN.iter().find(|known| known.version == done.version);
        let known = known.ok_or(Error::Migrate(MigrateError::VersionMissing(done.version)))?;
        if known.checksum != done.checksum {
            return Err(Error::Migrate(MigrateError::VersionMismatch(done.version)));
        }
    }
    Ok(true)
}

/// Whether a database has a schema of ours, of whatever version.
pub(crate) async fn is_applied(connection: &mut Connection) -> Result<bool, Error> {
    let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(connection);
    match count.await.map_err(Error::from) {
        Ok(_) => Ok(true),
        // There is no such table.
        Err(Error::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many migrations were applied; `None` for a database without a schema.
async fn applied(connection: &mut Connection) -> Option<i64> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations WHERE success");
    count.fetch_one(connection).await.ok()
}

fn collated(sql: &str) -> String {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut text = String::with_capacity(2 * sql.len());
    for piece in sql.split_inclusive(word) {
        text.push_str(piece);
        if piece.trim_end_matches(word) == "TEXT" {
            text.insert_str(text.len() - (piece.len() - "TEXT".len()), " COLLATE \"C\"");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_sorts_every_text_by_bytes() {
        let sql = "CREATE TABLE a (b TEXT NOT NULL, c TEXT, text BIGINT, TEXTS TEXT)";
        let collated = collated(sql);
        assert_eq!(
            collated,
            "CREATE TABLE a (b TEXT COLLATE \"C\" NOT NULL, c TEXT COLLATE \"C\", text BIGINT, TEXTS TEXT COLLATE \"C\")"
        );
        assert_eq!(COLLATED.iter().count(), PLAIN.iter().count());
        for (collated, plain) in COLLATED.iter().zip(PLAIN.iter()) {
            assert_eq!(collated.checksum, plain.checksum);
        }
    }
}
