//! Browsers' sessions and the one-time links that open them. What opens is known by its digest alone.

use legwork_domain::{Actor, Grant, Timestamp, User, UserId, Via};

use crate::access::{grants_of, load_user, read_user, time_of};
use crate::audit::{Act, Change};
use crate::turn_row::id;
use crate::{Connection, Error, Store, audit};

/// Sessions of one user at a time: more browsers than anybody has. The oldest makes room.
pub const SESSIONS_MAX: i64 = 20;

/// A session that may be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Of what the browser will show.
    pub digest: &'a str,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

/// A session that is open.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose.
    pub user: User,
    /// What the user is, and where.
    pub grants: Vec<Grant>,
    /// When it was last seen, to the minute.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

impl Store {
    /// Writes down a one-time link for a user. Links that have ended go.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn create_link(
        &self,
        digest: &str,
        user: UserId,
        expires_at: Timestamp,
        act: &Act,
    ) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        load_user(&mut transaction, user).await?;
        sqlx::query("DELETE FROM links WHERE expires_at <= $1")
            .bind(act.at.micros())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO links (digest, holder, expires_at) VALUES ($1, $2, $3)")
            .bind(digest)
            .bind(user.to_string())
            .bind(expires_at.micros())
            .execute(&mut *transaction)
            .await?;
        audit::record(&mut transaction, act, Change::of("link.create", &user)).await?;
        Ok(transaction.commit().await?)
    }

    /// Opens a session by a link, which opens none after that. `None`: the link is unknown, used or over, or its user is
    /// shut out.
    ///
    /// # Errors
    /// As every write.
    pub async fn redeem_link(
        &self,
        digest: &str,
        session: Opening<'_>,
        now: Timestamp,
    ) -> Result<Option<UserId>, Error> {
        // Strangers may guess, and must not keep writers waiting with it.
        let known = sqlx::query("SELECT digest FROM links WHERE digest = $1")
            .bind(digest)
            .fetch_optional(&self.readers)
            .await?;
        if known.is_none() {
            return Ok(None);
        }
        let mut transaction = self.audited().await?;
        let row = sqlx::query("DELETE FROM links WHERE digest = $1 RETURNING holder, expires_at")
            .bind(digest)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let user = load_user(&mut transaction, id(&row, "holder")?).await?;
        if time_of(&row, "expires_at")? <= now || user.disabled_at.is_some() {
            transaction.commit().await?;
            return Ok(None);
        }
        let act = Act { actor: Actor { user: user.id, via: Via::Link }, at: now };
        open(&mut transaction, session, &act).await?;
        transaction.commit().await?;
        Ok(Some(user.id))
    }

    /// Opens a session for whom somebody else vouched for.
    ///
    /// # Errors
    /// As every write.
    pub async fn open_session(&self, session: Opening<'_>, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        open(&mut transaction, session, act).await?;
        Ok(transaction.commit().await?)
    }

    /// The session with this digest, if it is open: it has not ended, was seen within `idle_ms`, and its user may come in.
    ///
    /// # Errors
    /// As every read.
    pub async fn session(
        &self,
        digest: &str,
        idle_ms: i64,
        now: Timestamp,
    ) -> Result<Option<Session>, Error> {
        let mut connection = self.readers.acquire().await?;
        let row = sqlx::query(
            "SELECT u.id, u.name, u.created_at, u.disabled_at, s.seen_at, s.expires_at FROM sessions s \
             JOIN users u ON u.id = s.holder WHERE s.digest = $1 AND s.expires_at > $2 AND s.seen_at > $3 \
             AND u.disabled_at IS NULL",
        )
        .bind(digest)
        .bind(now.micros())
        .bind(now.plus_ms(-idle_ms).micros())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let user = read_user(&row)?;
        let grants = grants_of(&mut connection, user.id).await?;
        let (seen_at, expires_at) = (time_of(&row, "seen_at")?, time_of(&row, "expires_at")?);
        Ok(Some(Session { user, grants, seen_at, expires_at }))
    }

    /// Notes that a session is in use.
    ///
    /// # Errors
    /// As every write.
    pub async fn session_seen(&self, digest: &str, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE sessions SET seen_at = $2 WHERE digest = $1")
            .bind(digest)
            .bind(now.micros())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Ends a session at once. A second time changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn close_session(&self, digest: &str, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let done = sqlx::query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 1 {
            audit::record(&mut transaction, act, Change::of("session.close", &act.actor.user)).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Opens a session; those that have ended go, and the oldest beyond the most.
pub(crate) async fn open(connection: &mut Connection, session: Opening<'_>, act: &Act) -> Result<(), Error> {
    let user = act.actor.user.to_string();
    sqlx::query("DELETE FROM sessions WHERE expires_at <= $1")
        .bind(act.at.micros())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "DELETE FROM sessions WHERE digest IN (SELECT digest FROM sessions WHERE holder = $1 \
         ORDER BY created_at DESC, digest LIMIT 1000 OFFSET $2)",
    )
    .bind(user.as_str())
    .bind(SESSIONS_MAX - 1)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO sessions (digest, holder, created_at, seen_at, expires_at) VALUES ($1, $2, $3, $3, $4)",
    )
    .bind(session.digest)
    .bind(user)
    .bind(act.at.micros())
    .bind(session.expires_at.micros())
    .execute(&mut *connection)
    .await?;
    audit::record(connection, act, Change::of("session.open", &act.actor.user)).await
}
