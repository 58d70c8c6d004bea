//! API tokens by the digest of what opens, which is kept nowhere.

use legwork_domain::{Grant, Timestamp, Token, TokenId, Trust, User, UserId};
use sqlx::Row as _;

use crate::access::{check_name, grants_of, load_user, missing, read_user, taken, time};
use crate::audit::{Act, Change};
use crate::turn_row::{id, json, text};
use crate::{Error, Row, Store, audit};

/// Tokens of one user that open or once did.
pub const TOKENS_MAX: i64 = 200;

/// How exactly it is kept when a token was last used: one write a minute, however many calls.
const LAST_USED_MS: u64 = 60_000;

/// A token with whom it acts for.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The token.
    pub token: Token,
    /// Its user.
    pub user: User,
    /// What its user is, and where.
    pub grants: Vec<Grant>,
}

impl Bearer {
    /// Whether the token and its user may come in at `now`.
    #[must_use]
    pub fn opens(&self, now: Timestamp) -> bool {
        self.token.opens(now) && self.user.disabled_at.is_none()
    }
}

impl Store {
    /// The token whose SHA-256 is `digest`, whether it opens or not.
    ///
    /// # Errors
    /// As every read.
    pub async fn bearer(&self, digest: &str) -> Result<Option<Bearer>, Error> {
        let mut connection = self.readers.acquire().await?;
        let row = sqlx::query("SELECT * FROM tokens WHERE digest = $1")
            .bind(digest)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let token = read(&row)?;
        let row = sqlx::query("SELECT * FROM users WHERE id = $1")
            .bind(token.user.to_string())
            .fetch_one(&mut *connection)
            .await?;
        let user = read_user(&row)?;
        let grants = grants_of(&mut connection, user.id).await?;
        Ok(Some(Bearer { token, user, grants }))
    }

    /// Notes that the token was used; at most once a minute, else nothing is written.
    ///
    /// # Errors
    /// As every write.
    pub async fn token_used(&self, token: &Token, now: Timestamp) -> Result<(), Error> {
        if token.last_used_at.is_some_and(|last| now.ms_since(last) < LAST_USED_MS) {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
            .bind(token.id.to_string())
            .bind(now.micros())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Writes a new token down.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its name is none or the user has [`TOKENS_MAX`]; [`Error::NotFound`] for the user.
    pub async fn create_token(&self, token: &Token, digest: &str, act: &Act) -> Result<(), Error> {
        check_name(&token.name)?;
        let mut transaction = self.audited().await?;
        load_user(&mut transaction, token.user).await?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE holder = $1")
            .bind(token.user.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        if count >= TOKENS_MAX {
            return Err(Error::Invalid(format!("The user has {TOKENS_MAX} tokens. Delete some first.")));
        }
        sqlx::query(
            "INSERT INTO tokens (id, holder, name, digest, scope, created_at, expires_at, trust) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(token.id.to_string())
        .bind(token.user.to_string())
        .bind(token.name.as_str())
        .bind(digest)
        .bind(text(&token.scope)?)
        .bind(token.created_at.micros())
        .bind(token.expires_at.micros())
        .bind(trust_word(token.trust))
        .execute(&mut *transaction)
        .await
        .map_err(|error| taken(error, || "The token was made before.".to_owned()))?;
        audit::record(&mut transaction, act, Change::of("token.create", &token.id).after(token)?).await?;
        Ok(transaction.commit().await?)
    }

    /// A token.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn token(&self, token: TokenId) -> Result<Token, Error> {
        let row = sqlx::query("SELECT * FROM tokens WHERE id = $1")
            .bind(token.to_string())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map_or_else(|| Err(missing("token", &token)), read)
    }

    /// A user's tokens, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<Token>, Error> {
        let rows = sqlx::query("SELECT * FROM tokens WHERE holder = $1 ORDER BY id")
            .bind(user.to_string())
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Ends a token at once. A second time changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_token(&self, token: TokenId, act: &Act) -> Result<Token, Error> {
        let mut transaction = self.audited().await?;
        let row = sqlx::query("SELECT * FROM tokens WHERE id = $1")
            .bind(token.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        let before = row.as_ref().map_or_else(|| Err(missing("token", &token)), read)?;
        if before.revoked_at.is_some() {
            return Ok(before);
        }
        sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1")
            .bind(token.to_string())
            .bind(act.at.micros())
            .execute(&mut *transaction)
            .await?;
        let after = Token { revoked_at: Some(act.at), ..before.clone() };
        audit::record(
            &mut transaction,
            act,
            Change::of("token.revoke", &token).before(&before)?.after(&after)?,
        )
        .await?;
        transaction.commit().await?;
        Ok(after)
    }
}

fn read(row: &Row) -> Result<Token, Error> {
    Ok(Token {
        id: id(row, "id")?,
        user: id(row, "holder")?,
        name: row.try_get("name")?,
        scope: json(row, "scope")?,
        trust: trust(row)?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        expires_at: Timestamp::from_micros(row.try_get("expires_at")?),
        revoked_at: time(row, "revoked_at")?,
        last_used_at: time(row, "last_used_at")?,
    })
}

/// As in JSON.
const fn trust_word(trust: Trust) -> &'static str {
    match trust {
        Trust::Member => "member",
        Trust::Outsider => "outsider",
    }
}

fn trust(row: &Row) -> Result<Trust, Error> {
    let word: &str = row.try_get("trust")?;
    let trust = [Trust::Member, Trust::Outsider].into_iter().find(|trust| trust_word(*trust) == word);
    trust.ok_or_else(|| Error::corrupt("trust")(format!("{word:?} is no trust").into()))
}
