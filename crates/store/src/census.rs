//! What an operator asks of the database: whether it can be written, and how much there is to do.

use legwork_domain::Timestamp;
use sqlx::Row as _;

use crate::turn_row::number;
use crate::{Error, Store};

/// The states of turns that are not finished, as the column names them.
const OPEN: [&str; 6] = ["queued", "leased", "preparing", "running", "waiting", "parked"];

/// The turns that are not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// How many there are of each state, also of those of which there are none.
    pub turns: Vec<(&'static str, u64)>,
    /// When the oldest queued one was made.
    pub oldest_queued_at: Option<Timestamp>,
}

impl Store {
    /// Counts the turns that are not finished. It reads an index of these alone, however many have finished.
    ///
    /// # Errors
    /// As every read.
    pub async fn census(&self) -> Result<Census, Error> {
        let rows = sqlx::query(
            "SELECT state_name, COUNT(*) AS turns, MIN(created_at) AS oldest FROM turns \
             WHERE state_name <> 'finished' GROUP BY state_name",
        )
        .fetch_all(&self.readers)
        .await?;
        let mut census = Census { turns: OPEN.map(|state| (state, 0)).to_vec(), oldest_queued_at: None };
        for row in &rows {
            let name: &str = row.try_get("state_name")?;
            let known = census.turns.iter_mut().find(|(state, _)| *state == name);
            let known =
                known.ok_or_else(|| Error::corrupt("state")(format!("{name:?} is no state").into()))?;
            known.1 = number(row, "turns")?;
            if name == "queued" {
                census.oldest_queued_at = Some(Timestamp::from_micros(row.try_get("oldest")?));
            }
        }
        Ok(census)
    }

    /// Writes a row that nothing depends on and reads it back, as a write that is accepted would be.
    ///
    /// # Errors
    /// What kept it from being written: [`Error::Full`], [`Error::Busy`].
    pub async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        sqlx::query("UPDATE probe SET at = $1 WHERE id = 1")
            .bind(now.micros())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        sqlx::query("SELECT at FROM probe WHERE id = 1").fetch_one(&self.readers).await?;
        Ok(())
    }
}
