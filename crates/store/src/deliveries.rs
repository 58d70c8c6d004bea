//! What webhooks are told: written down with the state change itself, sent later, and settled by what the receiver said.
//!
//! The row is there before anything is sent and says what became of it afterwards, so a crash at any moment costs a
//! repeat under the same id and never a state change that nobody hears of. One webhook is sent one delivery at a time: a
//! receiver that stalls holds up itself alone.

use legwork_domain::{
    Delivery, DeliveryId, DeliveryList, DeliveryState, Links, State, Subject, Task, TaskId, Tidings,
    Timestamp, Topic, Turn, WebhookId,
};
use sha2::{Digest, Sha256};
use sqlx::Row as _;

use crate::access::{missing, time};
use crate::turn_row::{id, json, number, text};
use crate::{Connection, Error, Row, Store, webhooks};

/// Deliveries of one page.
pub const DELIVERIES_PAGE_MAX: u32 = 50;

/// Rows that one sweep removes; the next look comes soon.
const SWEEP_MAX: i64 = 1000;

/// All but the body.
macro_rules! select {
    () => {
        "SELECT id, webhook, topic, task, created_at, state, tries, due_at, last_at, last_status, last_error FROM deliveries "
    };
}

/// Whether the owner of webhook `w` sees what belongs to repository `r`, as a condition.
macro_rules! sees {
    () => {
        "EXISTS (SELECT 1 FROM grants g JOIN users u ON u.id = g.holder WHERE g.holder = w.owner \
         AND u.disabled_at IS NULL AND (g.repository = '' OR g.repository = r.id))"
    };
}

/// A delivery that a caller has to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Its id.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// Of which task.
    pub task: TaskId,
    /// Where to.
    pub url: String,
    /// What it is signed with, as it is kept, the newest first.
    pub secrets: Vec<String>,
    /// What is sent.
    pub body: String,
    /// Which try this is, from 1 on.
    pub tries: u32,
    /// Since when it is tried.
    pub since: Timestamp,
    /// Whether the webhook's owner sees the task still.
    pub visible: bool,
}

/// What becomes of a delivery after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The receiver took it.
    Delivered,
    /// It is tried again.
    Again {
        /// When.
        due_at: Timestamp,
    },
    /// It is not tried again.
    GivenUp,
    /// The receiver wants no more of anything: its webhook is disabled.
    Unwanted,
}

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When it ended.
    pub at: Timestamp,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// What follows.
    pub after: After,
}

impl Store {
    /// Takes deliveries that are due, at most `limit` and one a webhook; until `until` nobody else gets them, and then
    /// they are due again.
    ///
    /// # Errors
    /// As every write.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Parcel>, Error> {
        // Looking is cheap and needs no lock: nothing due disturbs nobody.
        let due: Option<i64> =
            sqlx::query_scalar("SELECT due_at FROM deliveries WHERE due_at <= $1 ORDER BY due_at LIMIT 1")
                .bind(now.micros())
                .fetch_optional(&self.readers)
                .await?;
        if due.is_none() || limit == 0 {
            return Ok(Vec::new());
        }
        let mut transaction = self.write().await?;
        let rows = sqlx::query(concat!(
            "SELECT d.id, d.webhook, d.task, d.body, d.tries, d.since, d.due_at, w.url, w.secret, w.earlier, CASE WHEN ",
            sees!(),
            " THEN 1 ELSE 0 END AS visible FROM deliveries d JOIN webhooks w ON w.id = d.webhook \
             LEFT JOIN tasks t ON t.id = d.task LEFT JOIN repositories r ON r.url = t.repository \
             WHERE d.due_at <= $1 AND w.disabled_at IS NULL AND NOT EXISTS (SELECT 1 FROM deliveries e \
             WHERE e.webhook = d.webhook AND e.claimed_until IS NOT NULL AND e.claimed_until > $1) \
             ORDER BY d.due_at, d.id LIMIT $2",
        ))
        .bind(now.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        let mut parcels: Vec<Parcel> = Vec::new();
        for row in &rows {
            let parcel = parcel(row, now)?;
            let busy = parcels.iter().any(|other| other.webhook == parcel.webhook);
            if !busy && claim(&mut transaction, &parcel, row.try_get("due_at")?, until).await? {
                parcels.push(parcel);
            }
        }
        transaction.commit().await?;
        Ok(parcels)
    }

    /// Writes down how a try went. A receipt of a try that is not the last one changes nothing.
    ///
    /// # Errors
    /// As every write.
    pub async fn settle_delivery(&self, parcel: &Parcel, receipt: &Receipt) -> Result<(), Error> {
        let (state, due_at) = match receipt.after {
            After::Delivered => (DeliveryState::Delivered, None),
            After::Again { due_at } => (DeliveryState::Pending, Some(due_at)),
            After::GivenUp | After::Unwanted => (DeliveryState::GivenUp, None),
        };
        let mut transaction = self.write().await?;
        sqlx::query(
            "UPDATE deliveries SET state = $3, due_at = $4, claimed_until = NULL, last_at = $5, \
             last_status = $6, last_error = $7 WHERE id = $1 AND tries = $2 AND claimed_until IS NOT NULL",
        )
        .bind(parcel.id.to_string())
        .bind(i64::from(parcel.tries))
        .bind(word(state))
        .bind(due_at.map(Timestamp::micros))
        .bind(receipt.at.micros())
        .bind(receipt.status.map(i64::from))
        .bind(receipt.error.as_deref())
        .execute(&mut *transaction)
        .await?;
        if receipt.after == After::Unwanted {
            let why = "The receiver answered 410 Gone.";
            sqlx::query("UPDATE webhooks SET disabled_at = $2, disabled_because = $3 WHERE id = $1 AND disabled_at IS NULL")
                .bind(parcel.webhook.to_string())
                .bind(receipt.at.micros())
                .bind(why)
                .execute(&mut *transaction)
                .await?;
            give_up_all(&mut transaction, parcel.webhook).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Sends a delivery again from now on, under the same id, whatever became of it before.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if its webhook is disabled.
    pub async fn replay_delivery(&self, delivery: DeliveryId, now: Timestamp) -> Result<Delivery, Error> {
        let mut transaction = self.write().await?;
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'pending', since = $2, due_at = $2, tries = 0, claimed_until = NULL \
             WHERE id = $1 AND webhook IN (SELECT id FROM webhooks WHERE disabled_at IS NULL)",
        )
        .bind(delivery.to_string())
        .bind(now.micros())
        .execute(&mut *transaction)
        .await?;
        let after = load(&mut transaction, delivery).await?;
        if done.rows_affected() == 0 {
            let why = "The delivery's webhook is disabled. Nothing was changed. Enable it first.";
            return Err(Error::conflict("webhook_disabled", why));
        }
        transaction.commit().await?;
        Ok(after)
    }

    /// A delivery.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delivery(&self, delivery: DeliveryId) -> Result<Delivery, Error> {
        load(&mut *self.readers.acquire().await?, delivery).await
    }

    /// A webhook's deliveries, newest first, before `cursor`; at most [`DELIVERIES_PAGE_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        cursor: Option<DeliveryId>,
    ) -> Result<DeliveryList, Error> {
        let rows = sqlx::query(concat!(
            select!(),
            "WHERE webhook = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3",
        ))
        .bind(webhook.to_string())
        .bind(cursor.map(|cursor| cursor.to_string()).unwrap_or_default())
        .bind(i64::from(DELIVERIES_PAGE_MAX))
        .fetch_all(&self.readers)
        .await?;
        let deliveries = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let full = deliveries.len() == DELIVERIES_PAGE_MAX as usize;
        let next = deliveries.last().filter(|_| full).map(|last| last.id);
        Ok(DeliveryList { deliveries, next })
    }

    /// Forgets settled deliveries that were made before `before`, and those of webhooks that are gone or disabled.
    ///
    /// # Errors
    /// As every write.
    pub async fn sweep_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE due_at IS NULL \
             AND created_at < $1 ORDER BY created_at LIMIT $2)",
        )
        .bind(before.micros())
        .bind(SWEEP_MAX)
        .execute(&mut *transaction)
        .await?;
        // One that was written while its webhook was being disabled or deleted.
        sqlx::query(
            "UPDATE deliveries SET state = 'given_up', due_at = NULL, claimed_until = NULL WHERE due_at IS NOT NULL \
             AND webhook NOT IN (SELECT id FROM webhooks WHERE disabled_at IS NULL)",
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }
}

/// A change that webhooks may hear of.
#[derive(Clone, Copy)]
pub(crate) struct News<'a> {
    topic: Topic,
    task: TaskId,
    turn: Option<&'a Turn>,
    /// Tells this change from every other one of the same turn.
    revision: i64,
    at: Timestamp,
}

impl<'a> News<'a> {
    pub(crate) const fn of_task(task: TaskId, at: Timestamp) -> Self {
        Self { topic: Topic::TaskCreated, task, turn: None, revision: 0, at }
    }

    /// The alarm that a turn's end is, beside the end itself: who is to be woken wants to hear of nothing else.
    pub(crate) const fn of_alarm(ended: &'a Turn, revision: i64, at: Timestamp) -> Self {
        Self { topic: Topic::TaskAlarm, task: ended.task, turn: Some(ended), revision, at }
    }

    /// `None` if nobody is told of such a change.
    pub(crate) fn of_turn(old: &State, next: &'a Turn, revision: i64, at: Timestamp) -> Option<Self> {
        let topic = match (old, &next.state) {
            (State::Queued, State::Leased { .. }) => Topic::TurnStarted,
            (State::Parked { .. }, State::Parked { .. }) | (State::Finished(_), State::Finished(_)) => {
                return None;
            }
            (_, State::Parked { .. }) => Topic::TurnParked,
            (_, State::Finished(_)) => Topic::TurnFinished,
            _ => return None,
        };
        Some(Self { topic, task: next.task, turn: Some(next), revision, at })
    }

    /// The same for the same change, so that it is written down once; new ones sort behind older ones.
    fn delivery_to(&self, webhook: &str) -> DeliveryId {
        let turn = self.turn.map(|turn| turn.id.to_string()).unwrap_or_default();
        let mut about = format!("{webhook}/{}/{turn}/{}", self.task, self.revision);
        if self.topic == Topic::TaskAlarm {
            about.push_str("/alarm");
        }
        let digest = Sha256::digest(about);
        let tail = digest.iter().take(10).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let ms = u128::from(self.at.ms_since(Timestamp::from_micros(0)));
        DeliveryId::from_u128(ms << 80 | tail)
    }

    fn tidings(&self, title: String) -> Tidings {
        let ended = self.turn.and_then(|turn| turn.state.ended());
        let state = self.turn.map_or("queued", |turn| turn.state.name());
        let attempt = self.turn.map(|turn| turn.attempt);
        let subject = Subject {
            task: self.task,
            title,
            attempt,
            turn: self.turn.map(|turn| turn.id),
            state: state.to_owned(),
            outcome: ended.map(|ended| ended.outcome),
            links: Links {
                task: format!("/v1/tasks/{}", self.task),
                events: attempt.map(|attempt| format!("/v1/attempts/{attempt}/events")),
            },
        };
        Tidings { topic: self.topic, timestamp: self.at, subject }
    }
}

/// Writes down, in the transaction of the change, who is to be told of it.
pub(crate) async fn announce(connection: &mut Connection, news: News<'_>) -> Result<(), Error> {
    let rows = sqlx::query(concat!(
        "SELECT w.id, w.topics, t.body FROM webhooks w JOIN tasks t ON t.id = $1 \
         LEFT JOIN repositories r ON r.url = t.repository WHERE w.disabled_at IS NULL \
         AND (w.repository IS NULL OR w.repository = r.id) AND ",
        sees!(),
    ))
    .bind(news.task.to_string())
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let topics: Vec<Topic> = json(row, "topics")?;
        if !topics.is_empty() && !topics.contains(&news.topic) {
            continue;
        }
        let webhook: &str = row.try_get("id")?;
        let task: Task = json(row, "body")?;
        sqlx::query(
            "INSERT INTO deliveries (id, webhook, topic, task, body, created_at, since, state, tries, due_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6, 'pending', 0, $6) ON CONFLICT (id) DO NOTHING",
        )
        .bind(news.delivery_to(webhook).to_string())
        .bind(webhook)
        .bind(text(&news.topic)?)
        .bind(news.task.to_string())
        .bind(text(&news.tidings(task.title))?)
        .bind(news.at.micros())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Ends all that is on its way to a webhook.
pub(crate) async fn give_up_all(connection: &mut Connection, webhook: WebhookId) -> Result<(), Error> {
    sqlx::query(
        "UPDATE deliveries SET state = 'given_up', due_at = NULL, claimed_until = NULL \
         WHERE webhook = $1 AND due_at IS NOT NULL",
    )
    .bind(webhook.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the delivery is the caller's until `until`: not if another server was faster.
async fn claim(
    connection: &mut Connection,
    parcel: &Parcel,
    due_at: i64,
    until: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE deliveries SET tries = $3, due_at = $4, claimed_until = $4 WHERE id = $1 AND due_at = $2",
    )
    .bind(parcel.id.to_string())
    .bind(due_at)
    .bind(i64::from(parcel.tries))
    .bind(until.micros())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

fn parcel(row: &Row, now: Timestamp) -> Result<Parcel, Error> {
    let tried: u32 = number(row, "tries")?;
    Ok(Parcel {
        id: id(row, "id")?,
        webhook: id(row, "webhook")?,
        task: id(row, "task")?,
        url: row.try_get("url")?,
        secrets: webhooks::signing(row, now)?,
        body: row.try_get("body")?,
        tries: tried.saturating_add(1),
        since: Timestamp::from_micros(row.try_get("since")?),
        visible: number::<u8>(row, "visible")? == 1,
    })
}

async fn load(connection: &mut Connection, delivery: DeliveryId) -> Result<Delivery, Error> {
    let row = sqlx::query(concat!(select!(), "WHERE id = $1"))
        .bind(delivery.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map_or_else(|| Err(missing("delivery", &delivery)), read)
}

fn read(row: &Row) -> Result<Delivery, Error> {
    let name: &str = row.try_get("state")?;
    let state = STATES.into_iter().find(|state| word(*state) == name);
    let status = row.try_get::<Option<i64>, _>("last_status")?.and_then(|status| u16::try_from(status).ok());
    Ok(Delivery {
        id: id(row, "id")?,
        webhook: id(row, "webhook")?,
        topic: json(row, "topic")?,
        task: id(row, "task")?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        state: state.ok_or_else(|| Error::corrupt("state")(format!("{name:?} is no state").into()))?,
        tries: number(row, "tries")?,
        due_at: time(row, "due_at")?,
        last_at: time(row, "last_at")?,
        last_status: status,
        last_error: row.try_get("last_error")?,
    })
}

const STATES: [DeliveryState; 3] = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::GivenUp];

/// As in JSON.
const fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::GivenUp => "given_up",
    }
}
