//! How often what workers keep of a repository was reset: part of the name of all that is kept, so that nothing has to be deleted.

use legwork_domain::RepositoryId;

use crate::access::missing;
use crate::audit::{self, Act, Change};
use crate::turn_row::number;
use crate::{Connection, Error, Store};

impl Store {
    /// Has workers make anew what they keep of a repository: set-ups, and what was detected.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn reset_repository(&self, repository: RepositoryId, act: &Act) -> Result<(), Error> {
        let mut transaction = self.audited().await?;
        let done = sqlx::query("UPDATE repositories SET generation = generation + 1 WHERE id = $1")
            .bind(repository.to_string())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Err(missing("repository", &repository));
        }
        audit::record(&mut transaction, act, Change::of("repository.reset", &repository)).await?;
        Ok(transaction.commit().await?)
    }
}

/// How often what workers keep of the repository of that name was reset.
pub(crate) async fn of(connection: &mut Connection, url: &str) -> Result<u64, Error> {
    let row = sqlx::query("SELECT generation FROM repositories WHERE url = $1")
        .bind(url)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map_or(Ok(0), |row| number(row, "generation"))
}
