//! Secrets as they are at rest: sealed by the caller with a key that the database does not hold.

use legwork_domain::EnvironmentId;
use serde::Serialize;
use sqlx::Row as _;

use crate::audit::{Act, Change};
use crate::environments::newest;
use crate::turn_row::{column, id, number};
use crate::{Connection, Error, Store, audit};

/// Bytes of all secrets of a server together. They are held in memory and looked for in everything that is stored.
pub const SECRETS_BYTES_MAX: u64 = 1024 * 1024;

/// Secrets of one environment: more than any set-up has.
pub const SECRETS_MAX: usize = 100;

/// Longest name of a secret, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A sealed secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// For which environment.
    pub environment: EnvironmentId,
    /// Its name: letters, digits and `_`, no digit first, as environment variables have it.
    pub name: String,
    /// Which key opens it.
    pub key_id: String,
    /// Nonce, ciphertext and tag in hexadecimal.
    pub sealed: String,
    /// Length of the value.
    pub bytes: u64,
}

/// What the audit log tells of a secret.
#[derive(Serialize)]
struct Told<'a> {
    secret: &'a str,
    key_id: &'a str,
}

impl Store {
    /// Keeps a secret, in place of the one that the name stood for.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] if the name is none, or there are too many or too much.
    pub async fn put_secret(&self, secret: &SealedSecret, act: &Act) -> Result<(), Error> {
        check_name(&secret.name)?;
        let mut transaction = self.audited().await?;
        let environment = newest(&mut transaction, secret.environment).await?;
        let is_new = !environment.secrets.contains(&secret.name);
        if is_new && environment.secrets.len() >= SECRETS_MAX {
            return Err(Error::Invalid(format!(
                "The environment has {SECRETS_MAX} secrets. Remove one first."
            )));
        }
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes FROM secrets WHERE NOT (environment = $1 AND name = $2)",
        )
        .bind(secret.environment.to_string())
        .bind(secret.name.as_str())
        .fetch_one(&mut *transaction)
        .await?;
        if number::<u64>(&row, "bytes")?.saturating_add(secret.bytes) > SECRETS_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "All secrets of the server together have at most {SECRETS_BYTES_MAX} bytes. Remove some first."
            )));
        }
        sqlx::query(
            "INSERT INTO secrets (environment, name, key_id, sealed, bytes, changed_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (environment, name) DO UPDATE SET key_id = $3, sealed = $4, bytes = $5, changed_at = $6",
        )
        .bind(secret.environment.to_string())
        .bind(secret.name.as_str())
        .bind(secret.key_id.as_str())
        .bind(secret.sealed.as_str())
        .bind(column(secret.bytes)?)
        .bind(act.at.micros())
        .execute(&mut *transaction)
        .await?;
        raise(&mut transaction).await?;
        let told = Told { secret: &secret.name, key_id: &secret.key_id };
        audit::record(&mut transaction, act, Change::of("secret.set", &secret.environment).after(&told)?)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Forgets a secret. A second time changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn remove_secret(
        &self,
        environment: EnvironmentId,
        name: &str,
        act: &Act,
    ) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let done = sqlx::query("DELETE FROM secrets WHERE environment = $1 AND name = $2")
            .bind(environment.to_string())
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 1 {
            raise(&mut transaction).await?;
            let told = Told { secret: name, key_id: "" };
            let change = Change::of("secret.remove", &environment).before(&told)?;
            audit::record(&mut transaction, act, change).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// All secrets with the revision at which they were read.
    ///
    /// # Errors
    /// As every read.
    pub async fn secrets(&self) -> Result<(u64, Vec<SealedSecret>), Error> {
        // The revision first: a change in between is then seen at the next look.
        let revision = self.secrets_revision().await?;
        let rows = sqlx::query(
            "SELECT environment, name, key_id, sealed, bytes FROM secrets ORDER BY environment, name",
        )
        .fetch_all(&self.readers)
        .await?;
        let read = |row: &crate::Row| {
            Ok(SealedSecret {
                environment: id(row, "environment")?,
                name: row.try_get("name")?,
                key_id: row.try_get("key_id")?,
                sealed: row.try_get("sealed")?,
                bytes: number(row, "bytes")?,
            })
        };
        Ok((revision, rows.iter().map(read).collect::<Result<_, Error>>()?))
    }

    /// Rises with each change of a secret.
    ///
    /// # Errors
    /// As every read.
    pub async fn secrets_revision(&self) -> Result<u64, Error> {
        let row = sqlx::query("SELECT revision FROM secrets_revision WHERE id = 1")
            .fetch_one(&self.readers)
            .await?;
        number(&row, "revision")
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let starts = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !plain || !starts || name.len() > NAME_BYTES_MAX {
        return Err(Error::Invalid(format!(
            "A secret's name has 1 to {NAME_BYTES_MAX} letters, digits and underscores and begins with no digit."
        )));
    }
    Ok(())
}

async fn raise(connection: &mut Connection) -> Result<(), Error> {
    sqlx::query("UPDATE secrets_revision SET revision = revision + 1 WHERE id = 1")
        .execute(connection)
        .await?;
    Ok(())
}

/// The names of an environment's secrets, in order.
pub(crate) async fn names(
    connection: &mut Connection,
    environment: EnvironmentId,
) -> Result<Vec<String>, Error> {
    let rows = sqlx::query("SELECT name FROM secrets WHERE environment = $1 ORDER BY name")
        .bind(environment.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
}

/// Forgets all secrets of an environment that goes.
pub(crate) async fn remove_all(connection: &mut Connection, environment: EnvironmentId) -> Result<(), Error> {
    sqlx::query("DELETE FROM secrets WHERE environment = $1")
        .bind(environment.to_string())
        .execute(&mut *connection)
        .await?;
    raise(connection).await
}
