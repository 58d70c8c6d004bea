//! What was spent: counted in the transaction that records it, by spender and day.

use legwork_domain::{Day, Spender, Spending, Timestamp, Turn, UsageBy, UsageReport, UsageRow, UserId};

use crate::turn_row::{TurnRow, column, id, number};
use crate::{Connection, Error, Row, Store};

/// Most rows of a report: a screen's table, or years of days.
pub const USAGE_ROWS_MAX: u32 = 1000;

/// What a report on spending is about.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// What each row is.
    pub by: UsageBy,
    /// The first day that counts.
    pub from: Day,
    /// The last one.
    pub to: Day,
    /// Only what this user spent.
    pub user: Option<UserId>,
}

impl Store {
    /// Reports what was spent, at most [`USAGE_ROWS_MAX`] rows: the latest days, the dearest users or tasks.
    ///
    /// # Errors
    /// As every read.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageReport, Error> {
        let user = query.user.map(|user| user.to_string());
        let select = match query.by {
            UsageBy::Day => {
                "SELECT spender, day, cost_microusd, tokens, wall_ms FROM spending \
                 WHERE spender = COALESCE($1, 'server') AND day BETWEEN $2 AND $3 ORDER BY day DESC LIMIT $4"
            }
            UsageBy::User => {
                "SELECT spender, CAST(SUM(cost_microusd) AS BIGINT) AS cost_microusd, \
                 CAST(SUM(tokens) AS BIGINT) AS tokens, CAST(SUM(wall_ms) AS BIGINT) AS wall_ms FROM spending \
                 WHERE spender >= 'usr_' AND spender < 'usr`' AND spender = COALESCE($1, spender) \
                 AND day BETWEEN $2 AND $3 GROUP BY spender ORDER BY 2 DESC, 3 DESC, spender LIMIT $4"
            }
            UsageBy::Task => {
                "SELECT s.spender, CAST(SUM(s.cost_microusd) AS BIGINT) AS cost_microusd, \
                 CAST(SUM(s.tokens) AS BIGINT) AS tokens, CAST(SUM(s.wall_ms) AS BIGINT) AS wall_ms FROM spending s \
                 LEFT JOIN tasks t ON t.id = s.spender \
                 WHERE s.spender >= 'task_' AND s.spender < 'task`' AND s.day BETWEEN $2 AND $3 \
                 AND ($1 IS NULL OR t.created_by = $1) \
                 GROUP BY s.spender ORDER BY 2 DESC, 3 DESC, s.spender LIMIT $4"
            }
        };
        let rows = sqlx::query(select)
            .bind(user)
            .bind(i64::from(query.from.days()))
            .bind(i64::from(query.to.days()))
            .bind(i64::from(USAGE_ROWS_MAX))
            .fetch_all(&self.readers)
            .await?;
        let mut rows = rows.iter().map(|row| usage_row(row, query.by)).collect::<Result<Vec<_>, _>>()?;
        if query.by == UsageBy::Day {
            rows.reverse();
        }
        Ok(UsageReport { rows })
    }
}

fn usage_row(row: &Row, by: UsageBy) -> Result<UsageRow, Error> {
    let day = (by == UsageBy::Day).then(|| number(row, "day")).transpose()?;
    Ok(UsageRow { spender: id(row, "spender")?, day: day.map(Day::from_days), spent: spending(row)? })
}

/// Needs the columns `cost_microusd`, `tokens` and `wall_ms`.
pub(crate) fn spending(row: &Row) -> Result<Spending, Error> {
    Ok(Spending {
        cost_microusd: number(row, "cost_microusd")?,
        tokens: number(row, "tokens")?,
        wall_ms: number(row, "wall_ms")?,
    })
}

/// Counts what the turn spent since it was last counted: for its task, its user and the server.
pub(crate) async fn count(
    connection: &mut Connection,
    row: &TurnRow,
    next: &Turn,
    now: Timestamp,
) -> Result<(), Error> {
    let cost = |turn: &Turn| turn.usage.cost_microusd.unwrap_or(0);
    let spent = Spending {
        cost_microusd: cost(next).saturating_sub(cost(&row.turn)),
        tokens: next.usage.tokens().saturating_sub(row.turn.usage.tokens()),
        wall_ms: row.metered_at.map_or(0, |metered_at| now.ms_since(metered_at)),
    };
    if spent == Spending::default() {
        return Ok(());
    }
    let [server, task, user] = [Spender::Server, Spender::Task(next.task), Spender::User(row.owner)]
        .map(|spender| spender.to_string());
    // Always in this order, so that two transactions that count for the same spenders never wait for each other.
    sqlx::query(
        "INSERT INTO spending (spender, day, cost_microusd, tokens, wall_ms) \
         VALUES ($1, $4, $5, $6, $7), ($2, $4, $5, $6, $7), ($3, $4, $5, $6, $7) \
         ON CONFLICT (spender, day) DO UPDATE SET cost_microusd = spending.cost_microusd + excluded.cost_microusd, \
         tokens = spending.tokens + excluded.tokens, wall_ms = spending.wall_ms + excluded.wall_ms",
    )
    .bind(server)
    .bind(task)
    .bind(user)
    .bind(i64::from(Day::from(now).days()))
    .bind(column(spent.cost_microusd)?)
    .bind(column(spent.tokens)?)
    .bind(column(spent.wall_ms)?)
    .execute(connection)
    .await?;
    Ok(())
}
