//! The deep look: every attempt's log and record, held against what must always be true.
//!
//! Reads in pages beside a live server, so an attempt that moves between two reads could look broken: it is looked at
//! again, and only what stays wrong is said.

use legwork_domain::{AttemptId, Event, LogCheck, Timestamp, Turn, Violation};

use crate::log::PAGE_EVENTS_MAX;
use crate::turn_row::{TurnRow, id, number};
use crate::{Error, Store};

/// Attempts whose ids are read at a time.
const ATTEMPTS_PAGE: i64 = 500;

/// Looks at an attempt that moved meanwhile; one of a busy server is still by then, or truly broken.
const LOOKS_MAX: u32 = 3;

impl Store {
    /// All violations, at most `violations_max` of them. A log that cannot be read is an error.
    ///
    /// # Errors
    /// As every read.
    pub async fn violations(&self, now: Timestamp, violations_max: usize) -> Result<Vec<Violation>, Error> {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.attempt_ids(&after).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.to_string();
            for attempt in page {
                found.extend(self.attempt_violations(attempt, now).await?);
                if found.len() >= violations_max {
                    found.truncate(violations_max);
                    return Ok(found);
                }
            }
        }
    }

    /// What is wrong with one attempt.
    ///
    /// # Errors
    /// As every read.
    pub async fn attempt_violations(
        &self,
        attempt: AttemptId,
        now: Timestamp,
    ) -> Result<Vec<Violation>, Error> {
        let mut found = Vec::new();
        for _ in 0..LOOKS_MAX {
            let before = self.standing(attempt).await?;
            let mut check = LogCheck::default();
            self.read_log(attempt, |event| check.event(event)).await?;
            let after = self.standing(attempt).await?;
            let moved = before != after;
            let (turns, last_seq) = after;
            found = check.finish(&turns, last_seq, now);
            if found.is_empty() || !moved {
                break;
            }
        }
        Ok(found)
    }

    /// Passes every event of an attempt's log to `see`, in order.
    async fn read_log(&self, attempt: AttemptId, mut see: impl FnMut(&Event)) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let page = self.events(attempt, after, PAGE_EVENTS_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for line in &page {
                let event: Event = serde_json::from_str(&line.json)
                    .map_err(|error| Error::corrupt("event")(Box::new(error)))?;
                see(&event);
            }
        }
    }

    async fn attempt_ids(&self, after: &str) -> Result<Vec<AttemptId>, Error> {
        let rows = sqlx::query("SELECT id FROM attempts WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after.to_owned())
            .bind(ATTEMPTS_PAGE)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| id(row, "id")).collect()
    }

    /// The attempt's turns and the end of its log.
    async fn standing(&self, attempt: AttemptId) -> Result<(Vec<Turn>, u64), Error> {
        let mut connection = self.readers.acquire().await?;
        let turns = TurnRow::load_attempt(&mut connection, attempt).await?;
        let turns = turns.into_iter().map(|row| row.turn).collect();
        let row = sqlx::query("SELECT last_seq FROM attempts WHERE id = $1")
            .bind(attempt.to_string())
            .fetch_optional(&mut *connection)
            .await?;
        let last_seq = row.as_ref().map_or(Ok(0), |row| number(row, "last_seq"))?;
        Ok((turns, last_seq))
    }
}
