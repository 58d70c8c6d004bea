//! Reading attempts, and what they have made.

use legwork_domain::{Artifact, ArtifactList, AttemptId, AttemptView, Event, EventKind, Patch, State};

use crate::turn_row::{TurnRow, json};
use crate::{Error, Store, assignment};

/// Most artifacts of one answer.
const ARTIFACTS_MAX: i64 = 1000;

impl Store {
    /// An attempt with its turns.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn attempt(&self, id: AttemptId) -> Result<AttemptView, Error> {
        let mut connection = self.readers.acquire().await?;
        let attempt = assignment::attempt(&mut connection, id).await?;
        let turns = TurnRow::load_attempt(&mut connection, id).await?;
        Ok(AttemptView { attempt, turns: turns.into_iter().map(|row| row.turn).collect() })
    }

    /// The attempt's latest patch; `None`: it has made none.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn patch(&self, id: AttemptId) -> Result<Option<Patch>, Error> {
        let AttemptView { turns, .. } = self.attempt(id).await?;
        Ok(turns.into_iter().rev().find_map(|turn| match turn.state {
            State::Finished(ended) => ended.patch,
            State::Parked { patch, .. } => patch,
            State::Queued
            | State::Leased { .. }
            | State::Preparing { .. }
            | State::Running { .. }
            | State::Waiting { .. } => None,
        }))
    }

    /// The newest artifacts, in the order of the log.
    ///
    /// # Errors
    /// As every read; an unknown attempt has none.
    pub async fn artifacts(&self, id: AttemptId) -> Result<ArtifactList, Error> {
        let rows = sqlx::query(
            "SELECT line FROM events WHERE attempt = $1 AND kind = 'artifact' ORDER BY seq DESC LIMIT $2",
        )
        .bind(id.to_string())
        .bind(ARTIFACTS_MAX)
        .fetch_all(&self.readers)
        .await?;
        let mut artifacts = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            let Event { seq, at, kind, .. } = json(row, "line")?;
            if let EventKind::Artifact { turn, name, blob } = kind {
                artifacts.push(Artifact { seq, at, turn, name, blob });
            }
        }
        Ok(ArtifactList { artifacts })
    }
}
