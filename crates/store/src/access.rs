//! Users, their roles, and what belongs to which repository.

use legwork_domain::{
    Access, Action, AttemptId, Environment, EnvironmentId, Grant, Repository, RepositoryId, Role, TaskId,
    Timestamp, TurnId, User, UserId, Visible, without_login,
};
use sqlx::Row as _;

use crate::audit::{Act, Change};
use crate::turn_row::id;
use crate::{Connection, Error, Row, Store, audit};

/// Longest name of a user or token, in bytes: a line of a list.
pub const NAME_BYTES_MAX: usize = 100;

/// Users of one server. Lists of them are whole, so that nobody is overlooked; a larger house needs pages first.
pub const USERS_MAX: i64 = 1000;

/// Something that belongs to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A task.
    Task(TaskId),
    /// An attempt at a task.
    Attempt(AttemptId),
    /// A turn of an attempt.
    Turn(TurnId),
    /// The repository itself.
    Repository(RepositoryId),
    /// A stored recipe.
    Environment(EnvironmentId),
}

impl Thing {
    /// That there is no such thing. A caller who must not know of it hears the same.
    #[must_use]
    pub fn missing(self) -> Error {
        let (what, id) = match self {
            Self::Task(id) => ("task", id.to_string()),
            Self::Attempt(id) => ("attempt", id.to_string()),
            Self::Turn(id) => ("turn", id.to_string()),
            Self::Repository(id) => ("repository", id.to_string()),
            Self::Environment(id) => ("environment", id.to_string()),
        };
        Error::NotFound { what, id }
    }
}

impl Store {
    /// The repository that a thing belongs to; `None` if its task names one that is not on record.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn repository_of(&self, thing: Thing) -> Result<Option<RepositoryId>, Error> {
        let (statement, key) = match thing {
            Thing::Task(task) => (
                "SELECT r.id FROM tasks t LEFT JOIN repositories r ON r.url = t.repository WHERE t.id = $1 AND t.deleted_at IS NULL",
                task.to_string(),
            ),
            Thing::Attempt(attempt) => (
                "SELECT r.id FROM attempts a JOIN tasks t ON t.id = a.task \
                 LEFT JOIN repositories r ON r.url = t.repository WHERE a.id = $1 AND t.deleted_at IS NULL",
                attempt.to_string(),
            ),
            Thing::Turn(turn) => (
                "SELECT r.id FROM turns u JOIN tasks t ON t.id = u.task \
                 LEFT JOIN repositories r ON r.url = t.repository WHERE u.id = $1 AND t.deleted_at IS NULL",
                turn.to_string(),
            ),
            Thing::Repository(repository) => {
                ("SELECT id FROM repositories WHERE id = $1", repository.to_string())
            }
            Thing::Environment(environment) => (
                "SELECT repository AS id FROM environments WHERE id = $1 AND removed_at IS NULL",
                environment.to_string(),
            ),
        };
        let row = sqlx::query(statement).bind(key).fetch_optional(&self.readers).await?;
        let row = row.ok_or_else(|| thing.missing())?;
        if row.try_get::<Option<&str>, _>("id")?.is_none() { Ok(None) } else { id(&row, "id").map(Some) }
    }

    /// The repository that tasks name so, if it is on record.
    ///
    /// # Errors
    /// As every read.
    pub async fn repository_by_url(&self, url: &str) -> Result<Option<Repository>, Error> {
        by_url(&mut *self.readers.acquire().await?, url).await
    }

    /// A repository.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn repository(&self, repository_id: RepositoryId) -> Result<Repository, Error> {
        let row = sqlx::query("SELECT * FROM repositories WHERE id = $1")
            .bind(repository_id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map_or_else(|| Err(missing("repository", &repository_id)), repository)
    }

    /// The repositories that a caller sees, by URL, those after the one with the id `after`; at most `limit`.
    ///
    /// # Errors
    /// As every read.
    pub async fn repositories(
        &self,
        visible: Visible,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Repository>, Error> {
        let (word, key) = visible_words(visible);
        let rows = sqlx::query(
            "SELECT * FROM repositories WHERE url > COALESCE((SELECT url FROM repositories WHERE id = $1), '') AND ($2 = 'all' OR ($2 = 'one' AND id = $3) OR \
             ($2 = 'granted' AND id IN (SELECT repository FROM grants WHERE holder = $3))) ORDER BY url LIMIT $4",
        )
        .bind(after)
        .bind(word)
        .bind(key)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(repository).collect()
    }

    /// Writes a repository down. One that is known already is given back as it is.
    ///
    /// # Errors
    /// As every write.
    pub async fn add_repository(&self, id: RepositoryId, url: &str, act: &Act) -> Result<Repository, Error> {
        let mut transaction = self.audited().await?;
        let known = know(
            &mut transaction,
            Repository { id, url: url.to_owned(), created_at: act.at, created_by: act.actor.user },
            act,
        )
        .await?;
        transaction.commit().await?;
        Ok(known)
    }

    /// A user with the roles that it has.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn user(&self, user: UserId) -> Result<(User, Vec<Grant>), Error> {
        let mut connection = self.readers.acquire().await?;
        let user = load_user(&mut connection, user).await?;
        let grants = grants_of(&mut connection, user.id).await?;
        Ok((user, grants))
    }

    /// All users, by name.
    ///
    /// # Errors
    /// As every read.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let rows = sqlx::query("SELECT * FROM users ORDER BY name LIMIT $1")
            .bind(USERS_MAX)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read_user).collect()
    }

    /// Makes a user who may do nothing yet.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the name is taken; [`Error::Invalid`] if it is no name or there are [`USERS_MAX`].
    pub async fn create_user(&self, id: UserId, name: &str, act: &Act) -> Result<User, Error> {
        check_name(name)?;
        let user = User { id, name: name.to_owned(), created_at: act.at, disabled_at: None };
        let mut transaction = self.audited().await?;
        insert_user(&mut transaction, &user).await?;
        audit::record(&mut transaction, act, Change::of("user.create", &id).after(&user)?).await?;
        transaction.commit().await?;
        Ok(user)
    }

    /// Shuts a user out, or lets it in again. A second time changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for the local owner, without whom nobody could let anybody in.
    pub async fn set_disabled(
        &self,
        user: UserId,
        since: Option<Timestamp>,
        act: &Act,
    ) -> Result<User, Error> {
        if user == UserId::LOCAL {
            let why = "The local owner cannot be shut out: nobody could let anybody in again.";
            return Err(Error::Invalid(why.to_owned()));
        }
        let mut transaction = self.audited().await?;
        let before = load_user(&mut transaction, user).await?;
        if before.disabled_at.is_some() == since.is_some() {
            return Ok(before);
        }
        sqlx::query("UPDATE users SET disabled_at = $2 WHERE id = $1")
            .bind(user.to_string())
            .bind(since.map(Timestamp::micros))
            .execute(&mut *transaction)
            .await?;
        let after = User { disabled_at: since, ..before.clone() };
        let action = if since.is_some() { "user.disable" } else { "user.enable" };
        audit::record(&mut transaction, act, Change::of(action, &user).before(&before)?.after(&after)?)
            .await?;
        transaction.commit().await?;
        Ok(after)
    }

    /// The grants for a repository, or those for everything.
    ///
    /// # Errors
    /// As every read.
    pub async fn grants_on(&self, repository: Option<RepositoryId>) -> Result<Vec<Grant>, Error> {
        let rows = sqlx::query("SELECT * FROM grants WHERE repository = $1 ORDER BY holder")
            .bind(place(repository))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(read_grant).collect()
    }

    /// Gives a user a role somewhere, in place of the one that it had there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the user or the repository; [`Error::Invalid`] if the local owner would lose its role.
    pub async fn grant(&self, grant: Grant, act: &Act) -> Result<(), Error> {
        if (grant.user, grant.repository) == (UserId::LOCAL, None) && grant.role != Role::Owner {
            return Err(keeps_its_role());
        }
        let mut transaction = self.audited().await?;
        load_user(&mut transaction, grant.user).await?;
        if let Some(repository) = grant.repository {
            exists(&mut transaction, repository).await?;
        }
        let before = load_grant(&mut transaction, grant.user, grant.repository).await?;
        if before == Some(grant) {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO grants (holder, repository, role) VALUES ($1, $2, $3) \
             ON CONFLICT (holder, repository) DO UPDATE SET role = $3",
        )
        .bind(grant.user.to_string())
        .bind(place(grant.repository))
        .bind(role_word(grant.role))
        .execute(&mut *transaction)
        .await?;
        let change = Change::of("grant.set", &grant.user).before_any(before.as_ref())?.after(&grant)?;
        audit::record(&mut transaction, act, change).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a user's role somewhere away. A second time changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the local owner would lose its role.
    pub async fn ungrant(
        &self,
        user: UserId,
        repository: Option<RepositoryId>,
        act: &Act,
    ) -> Result<(), Error> {
        if (user, repository) == (UserId::LOCAL, None) {
            return Err(keeps_its_role());
        }
        let mut transaction = self.audited().await?;
        let Some(before) = load_grant(&mut transaction, user, repository).await? else { return Ok(()) };
        sqlx::query("DELETE FROM grants WHERE holder = $1 AND repository = $2")
            .bind(user.to_string())
            .bind(place(repository))
            .execute(&mut *transaction)
            .await?;
        audit::record(&mut transaction, act, Change::of("grant.remove", &user).before(&before)?).await?;
        Ok(transaction.commit().await?)
    }
}

/// The repository as it is on record, written down now if it was not.
pub(crate) async fn know(
    connection: &mut Connection,
    new: Repository,
    act: &Act,
) -> Result<Repository, Error> {
    if let Some(known) = by_url(connection, &new.url).await? {
        return Ok(known);
    }
    // Before the insert, as everywhere: so two writers never wait for each other.
    audit::lock(connection).await?;
    let made = sqlx::query(
        "INSERT INTO repositories (id, url, created_at, created_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (url) DO NOTHING",
    )
    .bind(new.id.to_string())
    .bind(new.url.as_str())
    .bind(new.created_at.micros())
    .bind(new.created_by.to_string())
    .execute(&mut *connection)
    .await?;
    if made.rows_affected() == 1 {
        audit::record(connection, act, Change::of("repository.create", &new.id).after(&new)?).await?;
        return Ok(new);
    }
    by_url(connection, &new.url).await?.ok_or_else(|| missing("repository", &new.id))
}

async fn by_url(connection: &mut Connection, url: &str) -> Result<Option<Repository>, Error> {
    let row =
        sqlx::query("SELECT * FROM repositories WHERE url = $1").bind(url).fetch_optional(connection).await?;
    row.as_ref().map(repository).transpose()
}

/// Whether who creates a task may run tasks on all that is laid beside its checkout. One that is foreign is as good as none.
pub(crate) async fn may_use_extras(
    connection: &mut Connection,
    environment: &Environment,
    access: Option<&Access>,
) -> Result<(), Error> {
    let Some(access) = access else { return Ok(()) };
    for extra in &environment.repositories {
        let known = by_url(connection, &extra.url).await?.map(|known| known.id);
        if access.check(Action::Run, known).is_err() {
            return Err(Error::NotFound {
                what: "repository that you may run tasks on",
                id: extra.url.clone(),
            });
        }
    }
    Ok(())
}

/// How a statement is told what a caller sees: a word and the id that goes with it.
pub(crate) fn visible_words(visible: Visible) -> (&'static str, String) {
    match visible {
        Visible::All => ("all", String::new()),
        Visible::One(repository) => ("one", repository.to_string()),
        Visible::Granted(user) => ("granted", user.to_string()),
        Visible::Nothing => ("nothing", String::new()),
    }
}

fn keeps_its_role() -> Error {
    Error::Invalid("The local owner keeps its role: nobody could give anybody one again.".to_owned())
}

pub(crate) fn missing(what: &'static str, id: &impl ToString) -> Error {
    Error::NotFound { what, id: id.to_string() }
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = name.chars().all(|c| !c.is_control()) && name.trim() == name;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !plain {
        return Err(Error::Invalid(format!(
            "A name has 1 to {NAME_BYTES_MAX} bytes, no control characters and no space at its ends."
        )));
    }
    Ok(())
}

pub(crate) async fn exists(connection: &mut Connection, repository: RepositoryId) -> Result<(), Error> {
    let row = sqlx::query("SELECT id FROM repositories WHERE id = $1")
        .bind(repository.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(drop).ok_or_else(|| missing("repository", &repository))
}

pub(crate) async fn insert_user(connection: &mut Connection, user: &User) -> Result<(), Error> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(&mut *connection).await?;
    if count >= USERS_MAX {
        return Err(Error::Invalid(format!("There are {USERS_MAX} users, the most that a server takes.")));
    }
    sqlx::query("INSERT INTO users (id, name, created_at) VALUES ($1, $2, $3)")
        .bind(user.id.to_string())
        .bind(user.name.as_str())
        .bind(user.created_at.micros())
        .execute(connection)
        .await
        .map_err(|error| {
            taken(error, || format!("There is a user {:?} already. Choose another name.", user.name))
        })?;
    Ok(())
}

/// A unique index that was violated is somebody else's earlier claim.
pub(crate) fn taken(error: sqlx::Error, sentence: impl FnOnce() -> String) -> Error {
    if error.as_database_error().is_some_and(|database| database.is_unique_violation()) {
        Error::conflict("name_taken", sentence())
    } else {
        error.into()
    }
}

pub(crate) async fn load_user(connection: &mut Connection, user: UserId) -> Result<User, Error> {
    let row = sqlx::query("SELECT * FROM users WHERE id = $1")
        .bind(user.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map_or_else(|| Err(missing("user", &user)), read_user)
}

pub(crate) fn read_user(row: &Row) -> Result<User, Error> {
    Ok(User {
        id: id(row, "id")?,
        name: row.try_get("name")?,
        created_at: time_of(row, "created_at")?,
        disabled_at: time(row, "disabled_at")?,
    })
}

/// A column that is always set.
pub(crate) fn time_of(row: &Row, name: &str) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_micros(row.try_get(name)?))
}

/// A column that may be empty.
pub(crate) fn time(row: &Row, name: &str) -> Result<Option<Timestamp>, Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp::from_micros))
}

pub(crate) async fn grants_of(connection: &mut Connection, user: UserId) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query("SELECT * FROM grants WHERE holder = $1 ORDER BY repository")
        .bind(user.to_string())
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_grant).collect()
}

async fn load_grant(
    connection: &mut Connection,
    user: UserId,
    repository: Option<RepositoryId>,
) -> Result<Option<Grant>, Error> {
    let row = sqlx::query("SELECT * FROM grants WHERE holder = $1 AND repository = $2")
        .bind(user.to_string())
        .bind(place(repository))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read_grant).transpose()
}

fn read_grant(row: &Row) -> Result<Grant, Error> {
    let everywhere = row.try_get::<&str, _>("repository")?.is_empty();
    let repository = if everywhere { None } else { Some(id(row, "repository")?) };
    let word: &str = row.try_get("role")?;
    let role = ROLES.into_iter().find(|role| role_word(*role) == word);
    let role = role.ok_or_else(|| Error::corrupt("role")(format!("{word:?} is no role").into()))?;
    Ok(Grant { user: id(row, "holder")?, repository, role })
}

const ROLES: [Role; 4] = [Role::Viewer, Role::Runner, Role::Maintainer, Role::Owner];

/// As in JSON.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Runner => "runner",
        Role::Maintainer => "maintainer",
        Role::Owner => "owner",
    }
}

/// A grant's repository as its column holds it.
pub(crate) fn place(repository: Option<RepositoryId>) -> String {
    repository.map(|id| id.to_string()).unwrap_or_default()
}

fn repository(row: &Row) -> Result<Repository, Error> {
    Ok(Repository {
        id: id(row, "id")?,
        url: without_login(row.try_get("url")?),
        created_at: time_of(row, "created_at")?,
        created_by: id(row, "created_by")?,
    })
}
