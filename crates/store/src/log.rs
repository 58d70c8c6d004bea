//! The event log: appended in a transaction of its caller, read in pages.
//!
//! A row holds the event's JSON line as every view gets it, so replaying costs no parsing and a view sees the bytes that
//! were accepted.

use std::fmt::Write as _;

use futures::TryStreamExt;
use legwork_domain::{AttemptId, Event, EventKind, Item, ItemId, ItemStatus, NewEvent, Timestamp, Turn};
use sqlx::{AssertSqlSafe, Row as _};

use crate::turn_row::{column, number, text};
use crate::{Connection, Error, Store, blobs};

/// The largest single event, as JSON: a model's context entry with one full-size image in base 64.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most events of one page.
pub const PAGE_EVENTS_MAX: u32 = 500;

/// A page is not filled further once it has this many bytes, so that a slow reader of large events costs little memory.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// An event of the log as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place.
    pub seq: u64,
    /// The JSON of the [`Event`], one line.
    pub json: String,
}

/// Where a log ends and whether more can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The last event's seq; 0 in an empty log.
    pub last_seq: u64,
    /// All turns are finished: nothing follows unless a turn is added.
    pub finished: bool,
}

impl Store {
    /// The next events after `after`: at most `limit`, at most [`PAGE_EVENTS_MAX`], and none beyond the first that brings
    /// the page to [`PAGE_BYTES_MAX`]. Empty only where the log ends at `after`.
    ///
    /// # Errors
    /// As every read; an unknown attempt has an empty log.
    pub async fn events(&self, attempt: AttemptId, after: u64, limit: u32) -> Result<Vec<Line>, Error> {
        let mut connection = self.readers.acquire().await?;
        let mut rows =
            sqlx::query("SELECT seq, line FROM events WHERE attempt = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(attempt.to_string())
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(i64::from(limit.min(PAGE_EVENTS_MAX)))
                .fetch(&mut *connection);
        let (mut page, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES_MAX
            && let Some(row) = rows.try_next().await?
        {
            let line = Line { seq: number(&row, "seq")?, json: row.try_get("line")? };
            bytes += line.json.len();
            page.push(line);
        }
        Ok(page)
    }

    /// Where the attempt's log ends, seen at one moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], also from the moment on at which its task was deleted.
    pub async fn log_end(&self, attempt: AttemptId) -> Result<LogEnd, Error> {
        let row = sqlx::query(
            "SELECT a.last_seq, (SELECT COUNT(*) FROM turns t WHERE t.attempt = a.id AND t.state_name <> 'finished') AS open \
             FROM attempts a JOIN tasks k ON k.id = a.task WHERE a.id = $1 AND k.deleted_at IS NULL",
        )
        .bind(attempt.to_string())
        .fetch_optional(&self.readers)
        .await?
        .ok_or_else(|| Error::NotFound { what: "attempt", id: attempt.to_string() })?;
        Ok(LogEnd { last_seq: number(&row, "last_seq")?, finished: number::<u64>(&row, "open")? == 0 })
    }
}

/// Appends events in order and gives them their seqs.
pub(crate) async fn append(
    connection: &mut Connection,
    attempt: AttemptId,
    events: Vec<NewEvent>,
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let before = draw(connection, attempt, events.len() as u64).await?;
    blobs::of_events(connection, attempt, &events).await?;
    let mut rows = Vec::with_capacity(events.len());
    for (seq, event) in (before + 1..).zip(events) {
        let (kind, item) = (name(&event.kind), boundary(&event.kind).map(|item| i64::from(item.id.number())));
        let line = text(&Event { seq, at: event.at, attempt, kind: event.kind })?;
        if line.len() > EVENT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "An event has {} bytes; at most {EVENT_BYTES_MAX} are taken.",
                line.len()
            )));
        }
        rows.push((column(seq)?, kind, item, line));
    }
    let mut insert = sqlx::query(AssertSqlSafe(insertion(rows.len()))).bind(attempt.to_string());
    for (seq, kind, item, line) in rows {
        insert = insert.bind(seq).bind(kind).bind(item).bind(line);
    }
    insert.execute(connection).await.map_err(repeated_item)?;
    Ok(())
}

/// One statement for a whole batch. At most 1,000 events and a few of our own, so at most some 4,100 parameters: SQLite
/// takes 32,766 and Postgres 65,535.
fn insertion(events: usize) -> String {
    let mut statement = "INSERT INTO events (attempt, seq, kind, item, line) VALUES ".to_owned();
    for n in 0..events {
        let [seq, kind, item, line] = [2, 3, 4, 5].map(|place| 4 * n + place);
        let comma = if n == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(statement, "{comma}($1, ${seq}, ${kind}, ${item}, ${line})");
    }
    statement
}

/// Takes the next `count` seqs of the log and gives back the one before them.
async fn draw(connection: &mut Connection, attempt: AttemptId, count: u64) -> Result<u64, Error> {
    let row = sqlx::query("UPDATE attempts SET last_seq = last_seq + $2 WHERE id = $1 RETURNING last_seq")
        .bind(attempt.to_string())
        .bind(column(count)?)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Error::NotFound { what: "attempt", id: attempt.to_string() })?;
    Ok(number::<u64>(&row, "last_seq")?.saturating_sub(count))
}

/// The seqs cannot collide, since the transaction drew them; so what collided is an item.
fn repeated_item(error: sqlx::Error) -> Error {
    if error.as_database_error().is_some_and(|database| database.is_unique_violation()) {
        Error::Invalid("An item started or completed a second time; each does so once.".to_owned())
    } else {
        error.into()
    }
}

/// The last words of what a turn that nobody runs any more left open: each item completes as interrupted, so that no view
/// and no model waits for it. What asks a person stays open until the turn ends.
pub(crate) async fn interruptions(
    connection: &mut Connection,
    turn: &Turn,
    now: Timestamp,
) -> Result<Vec<NewEvent>, Error> {
    let rows = sqlx::query(
        "SELECT s.line FROM events s WHERE s.attempt = $1 AND s.item IS NOT NULL AND s.kind = 'item_started' \
         AND NOT EXISTS (SELECT 1 FROM events c WHERE c.attempt = s.attempt AND c.item = s.item \
         AND c.item IS NOT NULL AND c.kind = 'item_completed') ORDER BY s.item",
    )
    .bind(turn.attempt.to_string())
    .fetch_all(connection)
    .await?;
    let ended = turn.state.ended().is_some();
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        let event: Event = crate::turn_row::json(row, "line")?;
        let item = boundary(&event.kind).filter(|item| ended || !item.asks());
        events.extend(item.cloned().map(|item| interrupted(item, now)));
    }
    Ok(events)
}

fn interrupted(item: Item, now: Timestamp) -> NewEvent {
    let item = Item { status: ItemStatus::Interrupted, ended_at: Some(now), ..item };
    NewEvent { at: now, kind: EventKind::ItemCompleted { item } }
}

/// An item as it started.
pub(crate) async fn started(
    connection: &mut Connection,
    attempt: AttemptId,
    item: ItemId,
) -> Result<Item, Error> {
    let row =
        sqlx::query("SELECT line FROM events WHERE attempt = $1 AND item = $2 AND kind = 'item_started'")
            .bind(attempt.to_string())
            .bind(i64::from(item.number()))
            .fetch_optional(connection)
            .await?;
    let event = row.map(|row| crate::turn_row::json::<Event>(&row, "line")).transpose()?;
    let item_of = |event: Event| boundary(&event.kind).cloned();
    event.and_then(item_of).ok_or_else(|| Error::NotFound { what: "item", id: item.to_string() })
}

/// Whether the item has ended.
pub(crate) async fn is_completed(
    connection: &mut Connection,
    attempt: AttemptId,
    item: ItemId,
) -> Result<bool, Error> {
    let row =
        sqlx::query("SELECT seq FROM events WHERE attempt = $1 AND item = $2 AND kind = 'item_completed'")
            .bind(attempt.to_string())
            .bind(i64::from(item.number()))
            .fetch_optional(connection)
            .await?;
    Ok(row.is_some())
}

/// The item that starts or completes with this event.
const fn boundary(kind: &EventKind) -> Option<&Item> {
    match kind {
        EventKind::ItemStarted { item } | EventKind::ItemCompleted { item } => Some(item),
        EventKind::State { .. }
        | EventKind::Base { .. }
        | EventKind::ItemUpdated { .. }
        | EventKind::Usage { .. }
        | EventKind::Context { .. }
        | EventKind::Snapshot { .. }
        | EventKind::Patch { .. }
        | EventKind::Verdict { .. }
        | EventKind::Artifact { .. }
        | EventKind::Connection { .. } => None,
    }
}

/// The word for a kind, as in JSON.
const fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::State { .. } => "state",
        EventKind::Base { .. } => "base",
        EventKind::ItemStarted { .. } => "item_started",
        EventKind::ItemUpdated { .. } => "item_updated",
        EventKind::ItemCompleted { .. } => "item_completed",
        EventKind::Usage { .. } => "usage",
        EventKind::Context { .. } => "context",
        EventKind::Snapshot { .. } => "snapshot",
        EventKind::Patch { .. } => "patch",
        EventKind::Verdict { .. } => "verdict",
        EventKind::Artifact { .. } => "artifact",
        EventKind::Connection { .. } => "connection",
    }
}
