//! Budgets: set by people, asked by workers before each model request.
//!
//! A grant is exact however many servers give some at the same time: it locks the budgets that apply and reads what is
//! spent and reserved in one statement, so at one moment. A turn that gets none keeps what it asked for in its place; once
//! there is room for that much it is reserved for the turn and the turn is woken, so that it is not woken in vain.

use legwork_domain::{
    Allowance, Bounds, Budget, BudgetList, Day, Period, Reservation, Reserved, Spender, Spending, State,
    TaskId, Timestamp, Transition, Turn, TurnId, UserId, Waiting,
};
use sqlx::Row as _;

use crate::dialect::{Lock, locking};
use crate::spending::spending;
use crate::turn_row::{TurnRow, column, id, number};
use crate::turns::{fence, pass};
use crate::{Connection, Error, Row, Store, listing, read};

/// Whose budgets count for a turn.
#[derive(Clone, Copy)]
pub(crate) struct Spenders {
    pub(crate) task: TaskId,
    pub(crate) owner: UserId,
}

impl From<&TurnRow> for Spenders {
    fn from(row: &TurnRow) -> Self {
        Self { task: row.turn.task, owner: row.owner }
    }
}

/// A budget's limits without what is used of them.
type Limit = (Spender, Period, Allowance);

impl Store {
    /// Sets what a spender may spend in a period; what is spent already counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it limits nothing; [`Error::NotFound`] for a task that is not there.
    pub async fn set_budget(
        &self,
        spender: Spender,
        period: Period,
        limit: Allowance,
        now: Timestamp,
    ) -> Result<Budget, Error> {
        if limit == Allowance::default() {
            return Err(Error::Invalid("The budget limits nothing. Name a limit, or delete it.".to_owned()));
        }
        let mut transaction = self.write().await?;
        if let Spender::Task(task) = spender {
            read::record(&mut transaction, task).await?;
        }
        put(&mut transaction, spender, period, limit).await?;
        let budget = balance(&mut transaction, (spender, period, limit), None, now).await?;
        transaction.commit().await?;
        Ok(budget)
    }

    /// Takes a budget away; a second time changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn remove_budget(&self, spender: Spender, period: Period) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM budgets WHERE spender = $1 AND period = $2")
            .bind(spender.to_string())
            .bind(period.name())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// A budget as it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn budget(&self, spender: Spender, period: Period, now: Timestamp) -> Result<Budget, Error> {
        let mut connection = self.readers.acquire().await?;
        let row = sqlx::query(
            "SELECT spender, period, cost_microusd, tokens, wall_ms FROM budgets WHERE spender = $1 AND period = $2",
        )
        .bind(spender.to_string())
        .bind(period.name())
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| Error::NotFound { what: "budget of", id: format!("{spender} ({})", period.name()) })?;
        balance(&mut connection, limit(&row)?, None, now).await
    }

    /// The first 1,000 budgets by spender, or those of one.
    ///
    /// # Errors
    /// As every read.
    pub async fn budgets(&self, spender: Option<Spender>, now: Timestamp) -> Result<BudgetList, Error> {
        let mut connection = self.readers.acquire().await?;
        let rows = sqlx::query(
            "SELECT spender, period, cost_microusd, tokens, wall_ms FROM budgets \
             WHERE spender = COALESCE($1, spender) ORDER BY spender, period LIMIT 1000",
        )
        .bind(spender.map(|spender| spender.to_string()))
        .fetch_all(&mut *connection)
        .await?;
        let mut budgets = Vec::with_capacity(rows.len());
        for row in &rows {
            budgets.push(balance(&mut connection, limit(row)?, None, now).await?);
        }
        Ok(BudgetList { budgets })
    }

    /// Reserves what the turn's next model request may cost, in place of what it reserved before.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::StaleEpoch`].
    pub async fn reserve(&self, turn: TurnId, wish: &Reservation, now: Timestamp) -> Result<Reserved, Error> {
        let mut transaction = self.write().await?;
        let row = TurnRow::load(&mut transaction, turn).await?;
        fence(&row.turn, wish.epoch, wish.lease)?;
        let reserved = judge(&mut transaction, &row, wish, Moment { lock: Lock::Wait, now }).await?;
        match reserved {
            Reserved::Granted => keep(&mut transaction, &row, wish, Grant::Given).await?,
            Reserved::Refused { .. } => keep(&mut transaction, &row, wish, Grant::Awaited).await?,
            Reserved::Unpriced { .. } => release(&mut transaction, turn).await?,
        }
        transaction.commit().await?;
        Ok(reserved)
    }

    /// Wakes parked turns for which there is room in their budgets now, and reserves it for them. Gives back those that
    /// it woke.
    ///
    /// # Errors
    /// As every write; turns that were woken before the error stay so.
    pub async fn wake_funded(&self, now: Timestamp) -> Result<Vec<Turn>, Error> {
        let rows = sqlx::query("SELECT id FROM turns WHERE state_name = 'parked' ORDER BY id")
            .fetch_all(&self.readers)
            .await?;
        let mut woken = Vec::new();
        for row in &rows {
            let turn = id(row, "id")?;
            // Looking is cheap and needs no lock; most still wait.
            if funded(&mut *self.readers.acquire().await?, turn, Lock::None, now).await?.is_some() {
                woken.extend(self.wake_one(turn, now).await?);
            }
        }
        Ok(woken)
    }

    async fn wake_one(&self, turn: TurnId, now: Timestamp) -> Result<Option<Turn>, Error> {
        let mut transaction = self.write().await?;
        // Locks the turn; what was seen before may be over.
        let Some((row, wish)) = funded(&mut transaction, turn, Lock::Wait, now).await? else {
            return Ok(None);
        };
        let next = row.turn.apply(Transition::Wake, now)?;
        let next = pass(&mut transaction, &row, next, Vec::new(), now).await?;
        keep(&mut transaction, &row, &wish, Grant::Given).await?;
        listing::commit(transaction, next.task, now).await?;
        Ok(Some(next))
    }
}

/// The turn and what it asked for, if it waits for a budget and there is room.
async fn funded(
    connection: &mut Connection,
    turn: TurnId,
    lock: Lock,
    now: Timestamp,
) -> Result<Option<(TurnRow, Reservation)>, Error> {
    let row = TurnRow::get(connection, turn, lock).await?;
    if !matches!(row.turn.state, State::Parked { on: Waiting::Budget, .. }) {
        return Ok(None);
    }
    let asked = sqlx::query("SELECT tokens, cost_microusd FROM reservations WHERE turn = $1")
        .bind(turn.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let wish = match asked {
        Some(asked) => Reservation {
            epoch: row.turn.epoch,
            lease: None,
            tokens: number(&asked, "tokens")?,
            cost_microusd: optional(&asked, "cost_microusd")?,
        },
        // It parked itself without having asked; anything left is room.
        None => Reservation { epoch: row.turn.epoch, lease: None, tokens: 1, cost_microusd: Some(1) },
    };
    let granted = judge(connection, &row, &wish, Moment { lock, now }).await? == Reserved::Granted;
    Ok(granted.then_some((row, wish)))
}

/// Whether any budget bounds what the turns of the task spend.
pub(crate) async fn bounds(connection: &mut Connection, of: Spenders) -> Result<Bounds, Error> {
    let row = sqlx::query("SELECT 1 AS one FROM budgets WHERE spender IN ($1, $2, 'server') LIMIT 1")
        .bind(of.task.to_string())
        .bind(of.owner.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(if row.is_some() { Bounds::Budgeted } else { Bounds::Free })
}

/// Sets the limits; the budget is new or replaced.
pub(crate) async fn put(
    connection: &mut Connection,
    spender: Spender,
    period: Period,
    limit: Allowance,
) -> Result<(), Error> {
    let part = |limit: Option<u64>| limit.map(column).transpose();
    sqlx::query(
        "INSERT INTO budgets (spender, period, cost_microusd, tokens, wall_ms) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (spender, period) DO UPDATE SET cost_microusd = excluded.cost_microusd, \
         tokens = excluded.tokens, wall_ms = excluded.wall_ms",
    )
    .bind(spender.to_string())
    .bind(period.name())
    .bind(part(limit.cost_microusd)?)
    .bind(part(limit.tokens)?)
    .bind(part(limit.wall_ms)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// When budgets are looked at, and whether that is to hold.
#[derive(Clone, Copy)]
struct Moment {
    lock: Lock,
    now: Timestamp,
}

/// Whether all budgets that apply have room. They are locked in the order of their keys.
async fn judge(
    connection: &mut Connection,
    row: &TurnRow,
    wish: &Reservation,
    Moment { lock, now }: Moment,
) -> Result<Reserved, Error> {
    const APPLICABLE: &str = "SELECT spender, period, cost_microusd, tokens, wall_ms FROM budgets \
                              WHERE spender IN ($1, $2, 'server') ORDER BY spender, period";
    let budgets = sqlx::query(locking(connection, APPLICABLE, lock))
        .bind(row.turn.task.to_string())
        .bind(row.owner.to_string())
        .fetch_all(&mut *connection)
        .await?;
    for budget in &budgets {
        match balance(connection, limit(budget)?, Some(row.turn.id), now).await?.judge(wish) {
            Reserved::Granted => {}
            refused @ (Reserved::Refused { .. } | Reserved::Unpriced { .. }) => return Ok(refused),
        }
    }
    Ok(Reserved::Granted)
}

/// What is used of a budget, seen at one moment: what was counted, the time of live turns that was not counted yet, and
/// what other turns reserved.
async fn balance(
    connection: &mut Connection,
    (spender, period, limit): Limit,
    except: Option<TurnId>,
    now: Timestamp,
) -> Result<Budget, Error> {
    let since = match period {
        Period::Total => i64::from(i32::MIN),
        Period::Day => i64::from(Day::from(now).days()),
    };
    let row = sqlx::query(
        "SELECT s.cost_microusd, s.tokens, s.wall_ms, l.live_ms, r.reserved_cost, r.reserved_tokens FROM \
         (SELECT CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) AS cost_microusd, \
         CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS tokens, CAST(COALESCE(SUM(wall_ms), 0) AS BIGINT) AS wall_ms \
         FROM spending WHERE spender = $1 AND day >= $2) s, \
         (SELECT CAST(COALESCE(SUM(($3 - metered_at) / 1000), 0) AS BIGINT) AS live_ms FROM turns \
         WHERE lease_until IS NOT NULL AND metered_at < $3 AND $1 IN (task, owner, 'server')) l, \
         (SELECT CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) AS reserved_cost, \
         CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS reserved_tokens FROM reservations \
         WHERE granted = 1 AND turn <> $4 AND $1 IN (task, owner, 'server')) r",
    )
    .bind(spender.to_string())
    .bind(since)
    .bind(now.micros())
    .bind(except.map(|turn| turn.to_string()).unwrap_or_default())
    .fetch_one(connection)
    .await?;
    let live = Spending { wall_ms: number(&row, "live_ms")?, ..Spending::default() };
    let reserved = Spending {
        cost_microusd: number(&row, "reserved_cost")?,
        tokens: number(&row, "reserved_tokens")?,
        wall_ms: 0,
    };
    Ok(Budget { spender, period, limit, spent: spending(&row)?.plus(live), reserved })
}

/// Whether what a turn asked for is reserved.
#[derive(Clone, Copy)]
enum Grant {
    Awaited = 0,
    Given = 1,
}

async fn keep(
    connection: &mut Connection,
    row: &TurnRow,
    wish: &Reservation,
    grant: Grant,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO reservations (turn, task, owner, tokens, cost_microusd, granted) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (turn) DO UPDATE SET tokens = excluded.tokens, cost_microusd = excluded.cost_microusd, \
         granted = excluded.granted",
    )
    .bind(row.turn.id.to_string())
    .bind(row.turn.task.to_string())
    .bind(row.owner.to_string())
    .bind(column(wish.tokens)?)
    .bind(wish.cost_microusd.map(column).transpose()?)
    .bind(grant as i64)
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives back what the turn reserved, and forgets what it asked for in vain unless it is parked and waits for that.
pub(crate) async fn settle(connection: &mut Connection, next: &Turn) -> Result<(), Error> {
    if matches!(next.state, State::Parked { on: Waiting::Budget, .. }) {
        sqlx::query("DELETE FROM reservations WHERE turn = $1 AND granted = 1")
            .bind(next.id.to_string())
            .execute(connection)
            .await?;
        return Ok(());
    }
    release(connection, next.id).await
}

async fn release(connection: &mut Connection, turn: TurnId) -> Result<(), Error> {
    sqlx::query("DELETE FROM reservations WHERE turn = $1")
        .bind(turn.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

fn limit(row: &Row) -> Result<Limit, Error> {
    let period = match row.try_get::<&str, _>("period")? {
        "day" => Period::Day,
        _ => Period::Total,
    };
    let limit = Allowance {
        cost_microusd: optional(row, "cost_microusd")?,
        tokens: optional(row, "tokens")?,
        wall_ms: optional(row, "wall_ms")?,
    };
    Ok((id(row, "spender")?, period, limit))
}

fn optional(row: &Row, name: &str) -> Result<Option<u64>, Error> {
    match row.try_get::<Option<i64>, _>(name)? {
        None => Ok(None),
        Some(_) => number(row, name).map(Some),
    }
}
