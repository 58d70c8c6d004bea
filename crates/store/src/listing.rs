//! The list of tasks: one light row a task, kept up to date by the transactions that change it, so that a page of the list
//! is one read however long the logs are.

use legwork_domain::{
    CheckCount, Spending, Standing, Task, TaskId, TaskList, TaskQuery, TaskRow, TaskState, Timestamp, UserId,
    Visible, without_login,
};
use sqlx::Row as _;

use crate::access::visible_words;
use crate::dialect::{Lock, locking};
use crate::spending::spending;
use crate::turn_row::{TurnRow, json, text};
use crate::{Connection, Error, Row, Store, Transaction, changes};

/// Tasks of one page: some screens.
pub const TASKS_PAGE_MAX: u32 = 100;

/// Where nobody says how many.
const TASKS_PAGE: u32 = 50;

/// Tasks whose rows are made at a time, where a database is older than its list.
const BACKFILL: i64 = 100;

impl Store {
    /// Of the tasks that a caller sees and that the query is about, the newest, or the newest that are older than its
    /// cursor; at most [`TASKS_PAGE_MAX`]. What is unread is the viewer's own.
    ///
    /// # Errors
    /// As every read.
    pub async fn tasks(
        &self,
        visible: Visible,
        viewer: UserId,
        query: &TaskQuery,
    ) -> Result<TaskList, Error> {
        let limit = query.limit.unwrap_or(TASKS_PAGE).clamp(1, TASKS_PAGE_MAX);
        let mut connection = self.readers.acquire().await?;
        // Before the page: what changes meanwhile is told again rather than never.
        let as_of = changes::head(&mut connection).await?;
        let (word, key) = visible_words(visible);
        let rows = sqlx::query(
            "SELECT l.listing, l.news_at, COALESCE(s.at, 0) AS seen_at FROM listings l \
             LEFT JOIN seen s ON s.task = l.task AND s.person = $1 \
             WHERE l.task < $2 AND ($3 = 'all' OR \
             ($3 = 'one' AND l.repository = (SELECT url FROM repositories WHERE id = $4)) OR \
             ($3 = 'granted' AND l.repository IN (SELECT r.url FROM grants g JOIN repositories r ON r.id = g.repository \
             WHERE g.holder = $4))) \
             AND ($5 = '' OR l.state = $5) AND ($6 = '' OR l.repository = $6) AND ($7 = '' OR l.created_by = $7) \
             AND ($8 = 'with' OR ($8 = 'only' AND l.archived_at IS NOT NULL) OR \
             ($8 = 'without' AND l.archived_at IS NULL)) \
             AND ($9 = '' OR l.title_folded LIKE $9 ESCAPE '!') ORDER BY l.task DESC LIMIT $10",
        )
        .bind(viewer.to_string())
        // Any id sorts before this: its prefix ends in the character after the underscore.
        .bind(query.cursor.map_or_else(|| "task`".to_owned(), |task| task.to_string()))
        .bind(word)
        .bind(key)
        .bind(query.state.map_or("", TaskState::name))
        .bind(query.repository.clone().unwrap_or_default())
        .bind(query.created_by.map(|user| user.to_string()).unwrap_or_default())
        .bind(query.archived.name())
        .bind(query.title.as_deref().map(pattern).unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *connection)
        .await?;
        let more = rows.len() > limit as usize;
        let tasks = rows.iter().take(limit as usize).map(task_row).collect::<Result<Vec<_>, _>>()?;
        let next = tasks.last().filter(|_| more).map(|row| row.id);
        Ok(TaskList { tasks, next, as_of })
    }

    /// Notes that a person has seen what is new of a task.
    ///
    /// # Errors
    /// As every write; nothing is noted of a task that is not there.
    pub async fn see(&self, person: UserId, task: TaskId, now: Timestamp) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        let Some(listed) = lock(&mut transaction, task).await? else { return Ok(()) };
        sqlx::query(
            "INSERT INTO seen (person, task, at) VALUES ($1, $2, $3) ON CONFLICT (person, task) DO UPDATE SET at = $3",
        )
        .bind(person.to_string())
        .bind(task.to_string())
        .bind(now.micros())
        .execute(&mut *transaction)
        .await?;
        changes::tell(&mut transaction, task, &listed.row.repository).await?;
        Ok(transaction.commit().await?)
    }

    /// Makes the rows of tasks that are older than the list. `false`: there are none left.
    ///
    /// # Errors
    /// As every write.
    pub async fn backfill_list(&self) -> Result<bool, Error> {
        let rows = sqlx::query(
            "SELECT body FROM tasks t WHERE deleted_at IS NULL AND NOT EXISTS ( \
             SELECT 1 FROM listings l WHERE l.task = t.id) ORDER BY id LIMIT $1",
        )
        .bind(BACKFILL)
        .fetch_all(&self.readers)
        .await?;
        for row in &rows {
            let task: Task = json(row, "body")?;
            let mut transaction = self.write().await?;
            insert(&mut transaction, &task).await?;
            // No time: what ended long ago is no news.
            commit(transaction, task.id, Timestamp::from_micros(0)).await?;
        }
        Ok(!rows.is_empty())
    }
}

/// A pattern for texts that hold these words.
fn pattern(words: &str) -> String {
    let mut pattern = "%".to_owned();
    for character in words.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// Needs the columns `listing`, `news_at` and `seen_at`.
pub(crate) fn task_row(row: &Row) -> Result<TaskRow, Error> {
    let unread = row.try_get::<i64, _>("news_at")? > row.try_get::<i64, _>("seen_at")?;
    let row: TaskRow = json(row, "listing")?;
    Ok(TaskRow { unread, repository: without_login(&row.repository), ..row })
}

/// A new task's row. [`commit`] makes it true.
pub(crate) async fn insert(connection: &mut Connection, task: &Task) -> Result<(), Error> {
    let row = TaskRow {
        id: task.id,
        title: task.title.clone(),
        kind: task.request.kind,
        repository: task.request.source.repository.clone(),
        base: task.request.source.base.clone(),
        attempts: task.request.attempts,
        created_at: task.created_at,
        created_by: task.created_by,
        archived_at: task.archived_at,
        state: TaskState::Queued,
        ended_at: None,
        stat: None,
        checks: CheckCount::default(),
        spent: Spending::default(),
        unread: false,
    };
    sqlx::query(
        "INSERT INTO listings (task, repository, created_by, state, title_folded, news_at, listing) \
         VALUES ($1, $2, $3, 'new', $4, 0, $5) ON CONFLICT (task) DO NOTHING",
    )
    .bind(row.id.to_string())
    .bind(row.repository.as_str())
    .bind(row.created_by.to_string())
    .bind(row.title.to_lowercase())
    .bind(text(&row)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Shows the task's name and place as they are now, and tells the list.
pub(crate) async fn describe(connection: &mut Connection, task: &Task) -> Result<(), Error> {
    let Some(before) = lock(connection, task.id).await? else { return Ok(()) };
    let row = TaskRow { title: task.title.clone(), archived_at: task.archived_at, ..before.row };
    sqlx::query("UPDATE listings SET title_folded = $2, archived_at = $3, listing = $4 WHERE task = $1")
        .bind(task.id.to_string())
        .bind(row.title.to_lowercase())
        .bind(row.archived_at.map(Timestamp::micros))
        .bind(text(&row)?)
        .execute(&mut *connection)
        .await?;
    changes::tell(connection, task.id, &row.repository).await
}

/// Brings the task's row up to date, tells the list, and commits.
///
/// The last words of a transaction: from here on changes of lists wait for each other, so that their order is that of the
/// commits.
pub(crate) async fn commit(mut transaction: Transaction, task: TaskId, now: Timestamp) -> Result<(), Error> {
    refresh(&mut transaction, task, now).await?;
    Ok(transaction.commit().await?)
}

/// As it stands in the transaction. A row that stays as it is is no news.
async fn refresh(connection: &mut Connection, task: TaskId, now: Timestamp) -> Result<(), Error> {
    let Some(before) = lock(connection, task).await? else { return Ok(()) };
    let turns = TurnRow::standings(connection, task).await?;
    let Some(standing) = Standing::of(&turns) else { return Ok(()) };
    let row = TaskRow {
        state: standing.state,
        ended_at: standing.ended_at,
        stat: standing.stat,
        checks: standing.checks,
        spent: spent(connection, task).await?,
        ..before.row.clone()
    };
    if before.row == row && before.state == row.state.name() {
        return Ok(());
    }
    let asks = row.state.is_over() || row.state == TaskState::Parked;
    let news = asks && before.state != row.state.name();
    sqlx::query(
        "UPDATE listings SET state = $2, ended_at = $3, \
         news_at = CASE WHEN $4 > 0 THEN $4 ELSE news_at END, listing = $5 WHERE task = $1",
    )
    .bind(task.to_string())
    .bind(row.state.name())
    .bind(row.ended_at.map(Timestamp::micros))
    .bind(if news { now.micros() } else { 0 })
    .bind(text(&row)?)
    .execute(&mut *connection)
    .await?;
    changes::tell(connection, task, &row.repository).await
}

/// A task's row as the transaction found it.
struct Listed {
    row: TaskRow,
    state: String,
}

/// The task's row, locked: two attempts that end at the same moment are told one after the other.
async fn lock(connection: &mut Connection, task: TaskId) -> Result<Option<Listed>, Error> {
    const ROW: &str = "SELECT listing, state FROM listings WHERE task = $1";
    let row = sqlx::query(locking(connection, ROW, Lock::Wait))
        .bind(task.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let listed = |row: Row| -> Result<Listed, Error> {
        Ok(Listed { row: json(&row, "listing")?, state: row.try_get("state")? })
    };
    row.map(listed).transpose()
}

async fn spent(connection: &mut Connection, task: TaskId) -> Result<Spending, Error> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) AS cost_microusd, \
         CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS tokens, CAST(COALESCE(SUM(wall_ms), 0) AS BIGINT) AS wall_ms \
         FROM spending WHERE spender = $1",
    )
    .bind(task.to_string())
    .fetch_one(connection)
    .await?;
    spending(&row)
}
