//! People whom an identity provider vouches for, and log-ins there that were used.

use legwork_domain::{Actor, Grant, Role, Timestamp, User, UserId, Via};

use crate::access::{check_name, insert_user, load_user, place, role_word};
use crate::audit::{Act, Change};
use crate::sessions::{Opening, open};
use crate::turn_row::id;
use crate::{Connection, Error, Store, audit};

/// Numbers that are tried behind a name that others have.
const NAMESAKES_MAX: u32 = 100;

/// Who somebody is to an identity provider. The two together are one person for ever; names and addresses change hands.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The provider's name for itself.
    pub issuer: &'a str,
    /// Its name for the person.
    pub subject: &'a str,
}

/// Who comes for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// The id that it gets.
    pub id: UserId,
    /// What it would like to be called.
    pub name: &'a str,
    /// What it is from the start, on everything.
    pub role: Option<Role>,
}

impl Store {
    /// Whether a log-in of this state has led in already.
    ///
    /// # Errors
    /// As every read.
    pub async fn is_login_used(&self, state: &str) -> Result<bool, Error> {
        let used = sqlx::query("SELECT state FROM logins WHERE state = $1")
            .bind(state)
            .fetch_optional(&self.readers)
            .await?;
        Ok(used.is_some())
    }

    /// Notes that a log-in is used, until it would be over anyway. `false`: it was used before. Only whom a provider vouches
    /// for gets here, so strangers write nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn use_login(&self, state: &str, until: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM logins WHERE expires_at <= $1")
            .bind(now.micros())
            .execute(&mut *transaction)
            .await?;
        let noted = sqlx::query(
            "INSERT INTO logins (state, browser, provider, nonce, verifier, expires_at) \
             VALUES ($1, '', '', '', '', $2) ON CONFLICT (state) DO NOTHING",
        )
        .bind(state)
        .bind(until.micros())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(noted.rows_affected() == 1)
    }

    /// Opens a session for whom a provider vouches; a newcomer becomes a user. `None`: the user is shut out, or nobody is
    /// known by that identity and there is no newcomer.
    ///
    /// # Errors
    /// As [`Store::create_user`].
    pub async fn log_in(
        &self,
        identity: Identity<'_>,
        newcomer: Option<Newcomer<'_>>,
        session: Opening<'_>,
        now: Timestamp,
    ) -> Result<Option<UserId>, Error> {
        let mut transaction = self.audited().await?;
        let known = sqlx::query("SELECT holder FROM identities WHERE issuer = $1 AND subject = $2")
            .bind(identity.issuer)
            .bind(identity.subject)
            .fetch_optional(&mut *transaction)
            .await?;
        let user = match (known, newcomer) {
            (Some(row), _) => load_user(&mut transaction, id(&row, "holder")?).await?,
            (None, Some(newcomer)) => admit(&mut transaction, identity, newcomer, now).await?,
            (None, None) => return Ok(None),
        };
        if user.disabled_at.is_some() {
            return Ok(None);
        }
        let act = Act { actor: Actor { user: user.id, via: Via::Oidc }, at: now };
        open(&mut transaction, session, &act).await?;
        transaction.commit().await?;
        Ok(Some(user.id))
    }
}

async fn admit(
    connection: &mut Connection,
    identity: Identity<'_>,
    newcomer: Newcomer<'_>,
    now: Timestamp,
) -> Result<User, Error> {
    check_name(newcomer.name)?;
    let name = free_name(connection, newcomer.name).await?;
    let user = User { id: newcomer.id, name, created_at: now, disabled_at: None };
    let act = Act { actor: Actor { user: user.id, via: Via::Oidc }, at: now };
    insert_user(connection, &user).await?;
    audit::record(connection, &act, Change::of("user.create", &user.id).after(&user)?).await?;
    sqlx::query("INSERT INTO identities (issuer, subject, holder, created_at) VALUES ($1, $2, $3, $4)")
        .bind(identity.issuer)
        .bind(identity.subject)
        .bind(user.id.to_string())
        .bind(now.micros())
        .execute(&mut *connection)
        .await?;
    if let Some(role) = newcomer.role {
        let grant = Grant { user: user.id, repository: None, role };
        sqlx::query("INSERT INTO grants (holder, repository, role) VALUES ($1, $2, $3)")
            .bind(user.id.to_string())
            .bind(place(None))
            .bind(role_word(role))
            .execute(&mut *connection)
            .await?;
        audit::record(connection, &act, Change::of("grant.set", &user.id).after(&grant)?).await?;
    }
    Ok(user)
}

/// The name, or the name with a number. Never somebody else's: to be called like a person is not to be that person.
async fn free_name(connection: &mut Connection, name: &str) -> Result<String, Error> {
    for number in 1..=NAMESAKES_MAX {
        let candidate = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        let taken = sqlx::query("SELECT id FROM users WHERE name = $1")
            .bind(candidate.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        if taken.is_none() {
            return Ok(candidate);
        }
    }
    let sentence = format!("There are {NAMESAKES_MAX} users called {name:?} already.");
    Err(Error::Conflict { code: "name_taken", sentence })
}
