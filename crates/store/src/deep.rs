//! The deep look: every attempt's log and record, held against what must always be true.
//!
//! Reads in pages beside a live server, so an attempt that moves between two reads could look broken: it is looked at
//! again, and only what stays wrong is said.

use std::collections::BTreeMap;

use legwork_domain::{
    AttemptId, BlobId, Event, EventKind, Invariant, LogCheck, Saved, Timestamp, Turn, TurnId, Violation,
};

use crate::log::{Line, PAGE_EVENTS_MAX};
use crate::turn_row::{TurnRow, id, number};
use crate::{Error, Store};

/// Attempts whose ids are read at a time.
const ATTEMPTS_PAGE: i64 = 500;

/// Looks at an attempt that moved meanwhile; one of a busy server is still by then, or truly broken.
const LOOKS_MAX: u32 = 3;

/// What the deep look goes by.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The present, by which leases are judged.
    pub now: Timestamp,
    /// Violations after which it stops.
    pub violations_max: usize,
    /// What no event may hold.
    pub secrets: &'a [String],
}

/// What the deep look saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Attempts.
    pub attempts: u64,
    /// Events of all their logs.
    pub events: u64,
    /// Every blob that a turn or its log names, with one turn that does.
    pub blobs: BTreeMap<BlobId, TurnId>,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

impl Store {
    /// Looks at everything, or until there are enough violations. A log that cannot be read is an error.
    ///
    /// # Errors
    /// As every read.
    pub async fn look(&self, look: &Look<'_>) -> Result<Seen, Error> {
        let mut seen = Seen { violations: self.lost_tasks(look).await?, ..Seen::default() };
        let mut after = String::new();
        loop {
            let page = self.attempt_ids(&after).await?;
            let Some(last) = page.last() else { return Ok(seen) };
            after = last.to_string();
            for attempt in page {
                if seen.violations.len() >= look.violations_max {
                    seen.violations.truncate(look.violations_max);
                    return Ok(seen);
                }
                seen.add(self.look_at(attempt, look).await?);
            }
        }
    }

    /// What does not hold, at most `violations_max` of it.
    ///
    /// # Errors
    /// As every read.
    pub async fn violations(&self, now: Timestamp, violations_max: usize) -> Result<Vec<Violation>, Error> {
        Ok(self.look(&Look { now, violations_max, secrets: &[] }).await?.violations)
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
        let look = Look { now, violations_max: usize::MAX, secrets: &[] };
        Ok(self.look_at(attempt, &look).await?.violations)
    }

    async fn look_at(&self, attempt: AttemptId, look: &Look<'_>) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        for _ in 0..LOOKS_MAX {
            seen = Seen { attempts: 1, ..Seen::default() };
            let mut check = LogCheck::default();
            let before = self.standing(attempt).await?;
            self.read_log(attempt, |line, event| {
                check.event(event);
                seen.event(event);
                seen.hold(line, event, look.secrets);
            })
            .await?;
            let after = self.standing(attempt).await?;
            let moved = before != after;
            let (turns, last_seq) = after;
            seen.turns(attempt, &turns);
            seen.violations.extend(check.finish(&turns, last_seq, look.now));
            if seen.violations.is_empty() || !moved {
                break;
            }
        }
        Ok(seen)
    }

    /// Tasks that were accepted and are not there whole, and keys that lead to none.
    async fn lost_tasks(&self, look: &Look<'_>) -> Result<Vec<Violation>, Error> {
        let limit = i64::try_from(look.violations_max).unwrap_or(i64::MAX);
        let keys = "SELECT i.task AS id FROM idempotency i LEFT JOIN tasks t ON t.id = i.task \
                    WHERE t.id IS NULL ORDER BY i.task LIMIT $1";
        let empty = "SELECT t.id FROM tasks t LEFT JOIN attempts a ON a.task = t.id \
                     WHERE a.id IS NULL ORDER BY t.id LIMIT $1";
        let mut found = Vec::new();
        for (query, invariant, detail) in [
            (keys, Invariant::OneTaskPerKey, "an idempotency key leads to it, and it is not there"),
            (empty, Invariant::Accepted, "it has no attempt"),
        ] {
            let rows = sqlx::query(query).bind(limit).fetch_all(&self.readers).await?;
            for row in &rows {
                let task: legwork_domain::TaskId = id(row, "id")?;
                found.push(Violation::new(invariant, task, detail));
            }
        }
        Ok(found)
    }

    /// Passes every event of an attempt's log to `see`, in order.
    async fn read_log(&self, attempt: AttemptId, mut see: impl FnMut(&Line, &Event)) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let page = self.events(attempt, after, PAGE_EVENTS_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for line in &page {
                let event: Event = serde_json::from_str(&line.json)
                    .map_err(|error| Error::corrupt("event")(Box::new(error)))?;
                see(line, &event);
            }
        }
    }

    async fn attempt_ids(&self, after: &str) -> Result<Vec<AttemptId>, Error> {
        let rows = sqlx::query("SELECT a.id FROM attempts a JOIN tasks t ON t.id = a.task WHERE a.id > $1 AND t.deleted_at IS NULL \
             ORDER BY a.id LIMIT $2")
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

impl Seen {
    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.events += other.events;
        self.blobs.extend(other.blobs);
        self.violations.extend(other.violations);
    }

    fn event(&mut self, event: &Event) {
        self.events += 1;
        match &event.kind {
            EventKind::Patch { turn, patch }
            | EventKind::Snapshot { turn, saved: Some(Saved { patch: Some(patch) }), .. } => {
                self.names(&patch.blob, *turn);
            }
            EventKind::Artifact { turn, blob, .. } => self.names(blob, *turn),
            EventKind::State { .. }
            | EventKind::Base { .. }
            | EventKind::ItemStarted { .. }
            | EventKind::ItemUpdated { .. }
            | EventKind::ItemCompleted { .. }
            | EventKind::Usage { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Verdict { .. }
            | EventKind::Connection { .. } => {}
        }
    }

    fn names(&mut self, blob: &BlobId, turn: TurnId) {
        self.blobs.insert(blob.clone(), turn);
    }

    /// Which secret it is must not be told either.
    fn hold(&mut self, line: &Line, event: &Event, secrets: &[String]) {
        if secrets.iter().any(|secret| line.json.contains(secret.as_str())) {
            let detail = format!("event {} holds a secret", event.seq);
            self.violations.push(Violation::new(Invariant::NoSecret, event.attempt, detail));
        }
    }

    fn turns(&mut self, attempt: AttemptId, turns: &[Turn]) {
        if turns.is_empty() {
            self.violations.push(Violation::new(Invariant::Accepted, attempt, "it has no turn"));
        }
        for turn in turns {
            let patch = turn.state.ended().and_then(|ended| ended.patch.as_ref());
            for blob in turn.images.iter().chain(patch.map(|patch| &patch.blob)) {
                self.names(blob, turn.id);
            }
        }
    }
}
