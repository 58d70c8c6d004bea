//! Stored recipes. A version is written once and never changed, so a task can say later what it was made from.

use legwork_domain::{
    DEFAULT_ENVIRONMENT, Environment, EnvironmentId, NewTask, RepositoryId, StoredEnvironment, UserId,
};
use sqlx::Row as _;

use crate::access::{check_name, exists, missing, taken, time_of};
use crate::audit::{Act, Change};
use crate::turn_row::{column, id, json, number, text};
use crate::{Connection, Error, Row, Store, audit, secrets};

/// Recipes of one repository: more than anybody chooses from.
pub const ENVIRONMENTS_MAX: i64 = 100;

/// All of a recipe but its secrets' names.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.repository, e.name, e.owner, v.version, v.recipe, v.changed_at, v.changed_by \
             FROM environments e JOIN environment_versions v ON v.environment = e.id ",
            $rest
        )
    };
}

impl Store {
    /// A recipe in its newest version, or in an earlier one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn environment(
        &self,
        id: EnvironmentId,
        version: Option<u64>,
    ) -> Result<StoredEnvironment, Error> {
        let mut connection = self.readers.acquire().await?;
        match version {
            None => newest(&mut connection, id).await,
            Some(version) => at_version(&mut connection, id, version).await,
        }
    }

    /// Whose own a recipe is; `None`: the team's.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn environment_owner(&self, id: EnvironmentId) -> Result<Option<UserId>, Error> {
        let row = sqlx::query("SELECT owner FROM environments WHERE id = $1 AND removed_at IS NULL")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        owner(&row.ok_or_else(|| missing("environment", &id))?)
    }

    /// The recipes of a repository that `user` may use, in their newest versions, by name, one's own first.
    ///
    /// # Errors
    /// As every read.
    pub async fn environments(
        &self,
        repository: RepositoryId,
        user: UserId,
    ) -> Result<Vec<StoredEnvironment>, Error> {
        let mut connection = self.readers.acquire().await?;
        let rows = sqlx::query(select!(
            "WHERE e.repository = $1 AND e.removed_at IS NULL AND v.version = e.version \
             AND COALESCE(e.owner, $2) = $2 ORDER BY e.name, COALESCE(e.owner, '') DESC"
        ))
        .bind(repository.to_string())
        .bind(user.to_string())
        .fetch_all(&mut *connection)
        .await?;
        let mut environments = Vec::with_capacity(rows.len());
        for row in &rows {
            environments.push(read(&mut connection, row).await?);
        }
        Ok(environments)
    }

    /// Stores a recipe's first version. What it says of secrets is not looked at.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the repository has one of this name, [`Error::Invalid`] if it has [`ENVIRONMENTS_MAX`].
    pub async fn create_environment(
        &self,
        new: StoredEnvironment,
        act: &Act,
    ) -> Result<StoredEnvironment, Error> {
        check_name(&new.name)?;
        check(&new.recipe, new.owner)?;
        let mut transaction = self.audited().await?;
        exists(&mut transaction, new.repository).await?;
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM environments WHERE repository = $1 AND removed_at IS NULL",
        )
        .bind(new.repository.to_string())
        .fetch_one(&mut *transaction)
        .await?;
        if count >= ENVIRONMENTS_MAX {
            return Err(Error::Invalid(format!(
                "The repository has {ENVIRONMENTS_MAX} environments. Remove one first."
            )));
        }
        sqlx::query(
            "INSERT INTO environments (id, repository, name, version, owner) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(new.id.to_string())
        .bind(new.repository.to_string())
        .bind(new.name.as_str())
        .bind(column(new.version)?)
        .bind(new.owner.map(|owner| owner.to_string()))
        .execute(&mut *transaction)
        .await
        .map_err(|error| taken(error, || name_taken(&new.name)))?;
        insert_version(&mut transaction, &new).await?;
        audit::record(&mut transaction, act, Change::of("environment.create", &new.id).after(&new)?).await?;
        transaction.commit().await?;
        Ok(new)
    }

    /// Makes a recipe's next version. With `seen`, only if the newest one is among them.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if the name is taken, and with `other_version` if the newest version is none that was
    /// seen.
    pub async fn change_environment(
        &self,
        id: EnvironmentId,
        next: (String, Environment),
        seen: Option<&[u64]>,
        act: &Act,
    ) -> Result<StoredEnvironment, Error> {
        let (name, recipe) = next;
        check_name(&name)?;
        let mut transaction = self.audited().await?;
        let before = newest(&mut transaction, id).await?;
        check(&recipe, before.owner)?;
        Error::unless_seen(seen, before.version)?;
        let after = StoredEnvironment {
            version: before.version + 1,
            changed_at: act.at,
            changed_by: act.actor.user,
            name,
            recipe,
            ..before.clone()
        };
        sqlx::query("UPDATE environments SET name = $2, version = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(after.name.as_str())
            .bind(column(after.version)?)
            .execute(&mut *transaction)
            .await
            .map_err(|error| taken(error, || name_taken(&after.name)))?;
        insert_version(&mut transaction, &after).await?;
        let change = Change::of("environment.change", &id).before(&before)?.after(&after)?;
        audit::record(&mut transaction, act, change).await?;
        transaction.commit().await?;
        Ok(after)
    }

    /// Removes a recipe and its secrets; tasks that were made from it keep what they have. A second time changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `other_version` if the newest version is none of those that were `seen`.
    pub async fn remove_environment(
        &self,
        id: EnvironmentId,
        seen: Option<&[u64]>,
        act: &Act,
    ) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let before = match newest(&mut transaction, id).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            before => before?,
        };
        Error::unless_seen(seen, before.version)?;
        secrets::remove_all(&mut transaction, id).await?;
        sqlx::query("UPDATE environments SET removed_at = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(act.at.micros())
            .execute(&mut *transaction)
            .await?;
        audit::record(&mut transaction, act, Change::of("environment.remove", &id).before(&before)?).await?;
        Ok(transaction.commit().await?)
    }
}

/// The request with what stored recipes say where it says nothing itself: the one that it names; or else `user`'s own default
/// of the repository, and then the team's. A person's own says nothing of the network, which is the team's to open.
pub(crate) async fn resolve(
    connection: &mut Connection,
    request: NewTask,
    user: UserId,
) -> Result<NewTask, Error> {
    let Some(id) = request.environment_id else { return with_defaults(connection, request, user).await };
    let row = sqlx::query(select!(
        "JOIN repositories r ON r.id = e.repository \
         WHERE e.id = $1 AND r.url = $2 AND e.removed_at IS NULL AND v.version = e.version \
         AND COALESCE(e.owner, $3) = $3"
    ))
    .bind(id.to_string())
    .bind(request.source.repository.as_str())
    .bind(user.to_string())
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(|| missing("environment of this repository", &id))?;
    let stored: Environment = json(&row, "recipe")?;
    let environment = match owner(&row)? {
        None => request.environment.or(stored),
        Some(_) => {
            let team = defaults(connection, &request, user).await?.team;
            let (network, setup_network) = match team {
                Some((_, team)) => (team.network, team.setup_network),
                None => (request.environment.network.clone(), request.environment.setup_network.clone()),
            };
            Environment { network, setup_network, ..own(request.environment, stored) }
        }
    };
    Ok(NewTask { environment, ..request })
}

/// The recipes that are used where a task names none.
#[derive(Default)]
struct Defaults {
    personal: Option<(EnvironmentId, Environment)>,
    team: Option<(EnvironmentId, Environment)>,
}

async fn defaults(connection: &mut Connection, request: &NewTask, user: UserId) -> Result<Defaults, Error> {
    let rows = sqlx::query(select!(
        "JOIN repositories r ON r.id = e.repository \
         WHERE r.url = $1 AND e.name = $2 AND e.removed_at IS NULL AND v.version = e.version \
         AND COALESCE(e.owner, $3) = $3"
    ))
    .bind(request.source.repository.as_str())
    .bind(DEFAULT_ENVIRONMENT)
    .bind(user.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let mut defaults = Defaults::default();
    for row in &rows {
        let place = if owner(row)?.is_some() { &mut defaults.personal } else { &mut defaults.team };
        *place = Some((id(row, "id")?, json(row, "recipe")?));
    }
    Ok(defaults)
}

/// Network and secrets are the team's where it has a default. The task then names the recipe whose secrets it uses, so that
/// their values are found.
async fn with_defaults(
    connection: &mut Connection,
    request: NewTask,
    user: UserId,
) -> Result<NewTask, Error> {
    let Defaults { personal, team } = defaults(connection, &request, user).await?;
    let Some(keeper) = team.as_ref().or(personal.as_ref()).map(|(id, _)| *id) else { return Ok(request) };
    let environment = match personal {
        Some((_, personal)) => own(request.environment, personal),
        None => request.environment,
    };
    let environment = match team {
        Some((_, team)) => environment.or(team),
        None => environment,
    };
    let environment_id = Some(keeper).filter(|_| !environment.secrets.is_empty());
    Ok(NewTask { environment, environment_id, ..request })
}

/// What is asked for, completed by a person's own recipe but for the network.
fn own(asked: Environment, personal: Environment) -> Environment {
    let (network, setup_network) = (asked.network.clone(), asked.setup_network.clone());
    Environment { network, setup_network, ..asked.or(personal) }
}

fn owner(row: &Row) -> Result<Option<UserId>, Error> {
    if row.try_get::<Option<&str>, _>("owner")?.is_none() { Ok(None) } else { id(row, "owner").map(Some) }
}

/// Whether a recipe can be kept.
fn check(recipe: &Environment, owner: Option<UserId>) -> Result<(), Error> {
    recipe.check_network().and_then(|()| recipe.check_repositories()).map_err(Error::Invalid)?;
    if owner.is_some() && !recipe.repositories.is_empty() {
        let sentence =
            "A recipe of your own names no repositories beside the checkout: that is for the team's.";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    Ok(())
}

fn name_taken(name: &str) -> String {
    format!("The repository has an environment {name:?} already. Choose another name.")
}

async fn insert_version(connection: &mut Connection, new: &StoredEnvironment) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO environment_versions (environment, version, recipe, changed_at, changed_by) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(new.id.to_string())
    .bind(column(new.version)?)
    .bind(text(&new.recipe)?)
    .bind(new.changed_at.micros())
    .bind(new.changed_by.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn newest(
    connection: &mut Connection,
    id: EnvironmentId,
) -> Result<StoredEnvironment, Error> {
    let row = sqlx::query(select!("WHERE e.id = $1 AND e.removed_at IS NULL AND v.version = e.version"))
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| missing("environment", &id))?;
    read(connection, &row).await
}

async fn at_version(
    connection: &mut Connection,
    id: EnvironmentId,
    version: u64,
) -> Result<StoredEnvironment, Error> {
    let row = sqlx::query(select!("WHERE e.id = $1 AND e.removed_at IS NULL AND v.version = $2"))
        .bind(id.to_string())
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| missing("environment of this version", &id))?;
    read(connection, &row).await
}

async fn read(connection: &mut Connection, row: &Row) -> Result<StoredEnvironment, Error> {
    let environment: EnvironmentId = id(row, "id")?;
    Ok(StoredEnvironment {
        id: environment,
        repository: id(row, "repository")?,
        name: row.try_get("name")?,
        version: number(row, "version")?,
        recipe: json(row, "recipe")?,
        owner: owner(row)?,
        secrets: secrets::names(connection, environment).await?,
        changed_at: time_of(row, "changed_at")?,
        changed_by: id(row, "changed_by")?,
    })
}
