//! Webhooks as they are on record. What they are told is in `deliveries`.

use legwork_domain::{RepositoryId, Timestamp, UserId, Webhook, WebhookId};
use sqlx::Row as _;

use crate::access::{exists, missing, time};
use crate::audit::{Act, Change};
use crate::deliveries;
use crate::turn_row::{id, json, text};
use crate::{Connection, Error, Row, Store, audit};

/// Webhooks of one user: one for each of many tools, and few enough that a state change stays cheap.
pub const WEBHOOKS_MAX: i64 = 100;

/// All but the secret.
macro_rules! select {
    () => {
        "SELECT id, owner, url, topics, repository, created_at, disabled_at, disabled_because \
         FROM webhooks "
    };
}

impl Store {
    /// Writes a new webhook down. The secret is kept as it is given: sealed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its owner has [`WEBHOOKS_MAX`]; [`Error::NotFound`] for its repository.
    pub async fn create_webhook(&self, webhook: &Webhook, secret: &str, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        if let Some(repository) = webhook.repository {
            exists(&mut transaction, repository).await?;
        }
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks WHERE owner = $1")
            .bind(webhook.owner.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        if count >= WEBHOOKS_MAX {
            return Err(Error::Invalid(format!("The user has {WEBHOOKS_MAX} webhooks. Delete some first.")));
        }
        sqlx::query(
            "INSERT INTO webhooks (id, owner, url, topics, repository, secret, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(webhook.id.to_string())
        .bind(webhook.owner.to_string())
        .bind(webhook.url.as_str())
        .bind(text(&webhook.topics)?)
        .bind(webhook.repository.map(|repository| repository.to_string()))
        .bind(secret)
        .bind(webhook.created_at.micros())
        .execute(&mut *transaction)
        .await?;
        let change = Change::of("webhook.create", &webhook.id).after(webhook)?;
        audit::record(&mut transaction, act, change).await?;
        Ok(transaction.commit().await?)
    }

    /// A webhook.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn webhook(&self, webhook: WebhookId) -> Result<Webhook, Error> {
        load(&mut *self.readers.acquire().await?, webhook).await
    }

    /// A user's webhooks, or those of all, oldest first; at most `limit`.
    ///
    /// # Errors
    /// As every read.
    pub async fn webhooks(&self, owner: Option<UserId>, limit: u32) -> Result<Vec<Webhook>, Error> {
        let rows = sqlx::query(concat!(select!(), "WHERE $1 = '' OR owner = $1 ORDER BY id LIMIT $2"))
            .bind(owner.map(|owner| owner.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Sets URL, topics and whether the webhook hears anything. One that no longer does gives up what is on its way.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_webhook(&self, webhook: &Webhook, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let before = load(&mut transaction, webhook.id).await?;
        sqlx::query(
            "UPDATE webhooks SET url = $2, topics = $3, disabled_at = $4, disabled_because = $5 WHERE id = $1",
        )
        .bind(webhook.id.to_string())
        .bind(webhook.url.as_str())
        .bind(text(&webhook.topics)?)
        .bind(webhook.disabled_at.map(Timestamp::micros))
        .bind(webhook.disabled_because.as_deref())
        .execute(&mut *transaction)
        .await?;
        if webhook.disabled_at.is_some() {
            deliveries::give_up_all(&mut transaction, webhook.id).await?;
        }
        let change = Change::of("webhook.change", &webhook.id).before(&before)?.after(webhook)?;
        audit::record(&mut transaction, act, change).await?;
        Ok(transaction.commit().await?)
    }

    /// Deletes a webhook with its deliveries.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_webhook(&self, webhook: WebhookId, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let before = load(&mut transaction, webhook).await?;
        for statement in ["DELETE FROM deliveries WHERE webhook = $1", "DELETE FROM webhooks WHERE id = $1"] {
            sqlx::query(statement).bind(webhook.to_string()).execute(&mut *transaction).await?;
        }
        audit::record(&mut transaction, act, Change::of("webhook.delete", &webhook).before(&before)?).await?;
        Ok(transaction.commit().await?)
    }
}

async fn load(connection: &mut Connection, webhook: WebhookId) -> Result<Webhook, Error> {
    let row = sqlx::query(concat!(select!(), "WHERE id = $1"))
        .bind(webhook.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map_or_else(|| Err(missing("webhook", &webhook)), read)
}

fn read(row: &Row) -> Result<Webhook, Error> {
    let anywhere = row.try_get::<Option<&str>, _>("repository")?.is_none();
    Ok(Webhook {
        id: id(row, "id")?,
        owner: id(row, "owner")?,
        url: row.try_get("url")?,
        topics: json(row, "topics")?,
        repository: if anywhere { None } else { Some(id::<RepositoryId>(row, "repository")?) },
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        disabled_at: time(row, "disabled_at")?,
        disabled_because: row.try_get("disabled_because")?,
    })
}
