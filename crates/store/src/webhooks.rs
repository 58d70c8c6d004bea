//! Webhooks as they are on record. What they are told is in `deliveries`.

use legwork_domain::{RepositoryId, Timestamp, UserId, Webhook, WebhookId};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::access::{exists, missing, time};
use crate::audit::{Act, Change};
use crate::deliveries;
use crate::turn_row::{id, json, text};
use crate::{Connection, Error, Row, Store, audit};

/// Webhooks of one user: one for each of many tools, and few enough that a state change stays cheap.
pub const WEBHOOKS_MAX: i64 = 100;

/// Secrets that sign beside the newest one: as many as somebody makes who lost some answers to a rotation, and few enough
/// for one header.
pub const EARLIER_SECRETS_MAX: usize = 4;

/// A secret from before a rotation, as the column `earlier` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Earlier {
    /// As it is kept: sealed.
    secret: String,
    /// It signs before this time, in microseconds.
    until: i64,
}

/// When the secret before a new one stops to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The present.
    pub now: Timestamp,
    /// The secret signs before this time; the present: none of the earlier ones signs any more.
    pub until: Timestamp,
}

/// All but the secrets. Of those only until when they sign is read.
macro_rules! select {
    () => {
        "SELECT id, owner, url, topics, repository, created_at, disabled_at, disabled_because, earlier \
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

    /// Signs a webhook's deliveries with a new secret, given sealed, and for the overlap with the one before too.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if [`EARLIER_SECRETS_MAX`] earlier ones sign still.
    pub async fn rotate_webhook(
        &self,
        webhook: WebhookId,
        secret: &str,
        overlap: Overlap,
        act: &Act,
    ) -> Result<Webhook, Error> {
        let mut transaction = self.audited().await?;
        let before = load(&mut transaction, webhook).await?;
        let row = sqlx::query("SELECT secret, earlier FROM webhooks WHERE id = $1")
            .bind(webhook.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        let earlier = after_rotation(&row, overlap)?;
        sqlx::query("UPDATE webhooks SET secret = $2, earlier = $3 WHERE id = $1")
            .bind(webhook.to_string())
            .bind(secret)
            .bind(text(&earlier)?)
            .execute(&mut *transaction)
            .await?;
        let after = load(&mut transaction, webhook).await?;
        let change = Change::of("webhook.rotate", &webhook).before(&before)?.after(&after)?;
        audit::record(&mut transaction, act, change).await?;
        transaction.commit().await?;
        Ok(after)
    }

    /// The secrets of webhooks that do not begin with `mark`, with which all that are sealed begin.
    ///
    /// # Errors
    /// As every read.
    pub async fn webhook_secrets_without(&self, mark: &str) -> Result<Vec<(WebhookId, String)>, Error> {
        let rows = sqlx::query("SELECT id, secret FROM webhooks WHERE SUBSTR(secret, 1, LENGTH($1)) <> $1")
            .bind(mark)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok((id(row, "id")?, row.try_get("secret")?))).collect()
    }

    /// Keeps a webhook's secret in another form, unless it was changed meanwhile.
    ///
    /// # Errors
    /// As every write.
    pub async fn reseal_webhook(&self, webhook: WebhookId, was: &str, is: &str) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE webhooks SET secret = $3 WHERE id = $1 AND secret = $2")
            .bind(webhook.to_string())
            .bind(was)
            .bind(is)
            .execute(&mut *transaction)
            .await?;
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

/// The secrets that sign at a time, as they are kept, the newest first. The row has `secret` and `earlier`.
pub(crate) fn signing(row: &Row, now: Timestamp) -> Result<Vec<String>, Error> {
    let earlier: Vec<Earlier> = json(row, "earlier")?;
    let earlier = earlier.into_iter().filter(|old| old.until > now.micros()).map(|old| old.secret);
    Ok(std::iter::once(row.try_get("secret")?).chain(earlier).collect())
}

/// Which secrets sign beside a new one. Those whose time is over are forgotten.
fn after_rotation(row: &Row, overlap: Overlap) -> Result<Vec<Earlier>, Error> {
    if overlap.until <= overlap.now {
        return Ok(Vec::new());
    }
    let mut earlier: Vec<Earlier> = json(row, "earlier")?;
    earlier.retain(|old| old.until > overlap.now.micros());
    if earlier.len() >= EARLIER_SECRETS_MAX {
        let why = format!(
            "{EARLIER_SECRETS_MAX} earlier secrets of the webhook sign still. Nothing was changed. Wait until they \
             do not, or rotate without an overlap."
        );
        return Err(Error::conflict("secrets_overlap", why));
    }
    earlier.insert(0, Earlier { secret: row.try_get("secret")?, until: overlap.until.micros() });
    Ok(earlier)
}

fn read(row: &Row) -> Result<Webhook, Error> {
    let earlier: Vec<Earlier> = json(row, "earlier")?;
    let overlap_until = earlier.iter().map(|old| old.until).max();
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
        overlap_until: overlap_until.map(Timestamp::from_micros),
    })
}
