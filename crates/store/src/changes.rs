//! What changed in the list of tasks, in the order of the commits, so that who watches it can go on where it was cut off.

use std::collections::HashSet;

use legwork_domain::{ListChange, TaskId, UserId, Visible};
use sqlx::Row as _;

use crate::access::visible_words;
use crate::listing::task_row;
use crate::turn_row::{column, id, number};
use crate::{Connection, Error, Store};

/// Changes that are kept: a watcher that was away for longer reads the list anew, which costs little more.
const CHANGES_KEPT: i64 = 10_000;

/// Changes that are looked at together. Of several of one task the last is told.
const PAGE: i64 = 500;

/// Some changes, and where the next ones begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// Each with its place, in order.
    pub changes: Vec<(u64, ListChange)>,
    /// All up to here is told, also what the caller does not see.
    pub upto: u64,
    /// There may be more at once.
    pub more: bool,
}

impl Store {
    /// The place of the last change.
    ///
    /// # Errors
    /// As every read.
    pub async fn last_change(&self) -> Result<u64, Error> {
        head(&mut *self.readers.acquire().await?).await
    }

    /// What changed after `after` of what a caller sees. One [`ListChange::Reset`] if that is not known any more.
    ///
    /// # Errors
    /// As every read.
    pub async fn changes(&self, visible: Visible, viewer: UserId, after: u64) -> Result<ChangePage, Error> {
        let mut connection = self.readers.acquire().await?;
        let head = head(&mut connection).await?;
        let nothing = ChangePage { changes: Vec::new(), upto: head, more: false };
        if head == after {
            return Ok(nothing);
        }
        if after > head || after + 1 < oldest(&mut connection).await? {
            return Ok(ChangePage { changes: vec![(head, ListChange::Reset)], ..nothing });
        }
        let (word, key) = visible_words(visible);
        let rows = sqlx::query(
            "SELECT c.seq, c.task, l.listing, COALESCE(l.news_at, 0) AS news_at, COALESCE(s.at, 0) AS seen_at FROM changes c \
             LEFT JOIN listings l ON l.task = c.task LEFT JOIN seen s ON s.task = c.task AND s.person = $1 \
             WHERE c.seq > $2 AND c.seq <= $3 AND ($4 = 'all' OR \
             ($4 = 'one' AND c.repository = (SELECT url FROM repositories WHERE id = $5)) OR \
             ($4 = 'granted' AND c.repository IN (SELECT r.url FROM grants g JOIN repositories r ON r.id = g.repository \
             WHERE g.holder = $5))) ORDER BY c.seq LIMIT $6",
        )
        .bind(viewer.to_string())
        .bind(column(after)?)
        .bind(column(head)?)
        .bind(word)
        .bind(key)
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await?;
        let mut page = nothing;
        page.more = rows.len() as i64 == PAGE;
        if let Some(last) = rows.last().filter(|_| page.more) {
            page.upto = number(last, "seq")?;
        }
        let mut told: HashSet<TaskId> = HashSet::new();
        for row in rows.iter().rev() {
            let task = id(row, "task")?;
            if !told.insert(task) {
                continue;
            }
            let change = match row.try_get::<Option<&str>, _>("listing")? {
                Some(_) => ListChange::Task { row: Box::new(task_row(row)?) },
                None => ListChange::Gone { task },
            };
            page.changes.push((number(row, "seq")?, change));
        }
        page.changes.reverse();
        Ok(page)
    }

    /// Takes away the oldest changes that need not be kept.
    ///
    /// # Errors
    /// As every write.
    pub async fn prune_changes(&self) -> Result<(), Error> {
        sqlx::query("DELETE FROM changes WHERE seq <= (SELECT seq FROM change_head WHERE id = 1) - $1")
            .bind(CHANGES_KEPT)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// The place of the last change that is committed: they commit in their order.
pub(crate) async fn head(connection: &mut Connection) -> Result<u64, Error> {
    let row = sqlx::query("SELECT seq FROM change_head WHERE id = 1").fetch_one(connection).await?;
    number(&row, "seq")
}

/// The place of the first change that is known; that of the next one if none is.
async fn oldest(connection: &mut Connection) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT COALESCE((SELECT MIN(seq) FROM changes), (SELECT seq + 1 FROM change_head WHERE id = 1)) AS seq",
    )
    .fetch_one(connection)
    .await?;
    number(&row, "seq")
}

/// Adds a change in the caller's transaction, as its last word.
pub(crate) async fn tell(connection: &mut Connection, task: TaskId, repository: &str) -> Result<(), Error> {
    let head = sqlx::query("UPDATE change_head SET seq = seq + 1 WHERE id = 1 RETURNING seq")
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO changes (seq, task, repository) VALUES ($1, $2, $3)")
        .bind(head.try_get::<i64, _>("seq")?)
        .bind(task.to_string())
        .bind(repository)
        .execute(connection)
        .await?;
    Ok(())
}
