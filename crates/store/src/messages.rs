//! What people say to turns that have begun: kept until the log shows that it was heard.
//!
//! A word on what the agent asked ends the item that asks in the same transaction, so every view sees it at once and a
//! second one is refused. The worker that hears it ends the item too, since it cannot know; that is heard, and the log
//! keeps one end.

use legwork_domain::{
    AttemptId, EventKind, Item, ItemBody, ItemId, ItemStatus, Message, MessageBody, MessageId, NewEvent,
    Reply, State, Timestamp, Transition, Trust, Turn, TurnId, UserId, Waiting, check_words,
};

use crate::dialect::{Lock, locking};
use crate::idempotency::{Call, taken_meanwhile};
use crate::turn_row::{TurnRow, id, json, text};
use crate::turns::pass;
use crate::{Connection, Error, Sent, Store, follow_up, listing, log};

/// Messages that one turn may have unheard: a person's impatience fits, a program in a loop does not.
const UNHEARD_MAX: usize = 64;

impl Store {
    /// Says something to the attempt's turn that has begun and has not ended. It goes into the model's next request, also
    /// if another worker makes that.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `no_live_turn`, `members_turn` or `too_many_messages`; [`Error::NotFound`]; [`Error::Invalid`].
    pub async fn steer(
        &self,
        attempt: AttemptId,
        id: MessageId,
        words: String,
        sent: Sent<'_>,
    ) -> Result<Message, Error> {
        check_words(&words).map_err(Error::Invalid)?;
        let call = Call::new(&sent, &("steer", attempt, &words))?;
        let mut transaction = self.write().await?;
        if let Some(made) = call.made(&mut transaction).await? {
            return load(&mut transaction, &made).await;
        }
        follow_up::lower(&mut transaction, attempt, sent.trust()).await?;
        let row = live(&mut transaction, attempt).await?;
        may_hear(&row, sent.trust())?;
        if to_hear(&mut transaction, row.turn.id).await?.len() >= UNHEARD_MAX {
            let sentence = format!("{UNHEARD_MAX} messages wait to be heard already. Wait until some were.");
            return Err(Error::conflict("too_many_messages", sentence));
        }
        let body = MessageBody::Steer { text: words };
        let message = Message { id, turn: row.turn.id, by: sent.act.actor.user, at: sent.act.at, body };
        insert(&mut transaction, &message).await?;
        if !call.keep(&mut transaction, row.turn.task, &id, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        transaction.commit().await?;
        Ok(message)
    }

    /// Says a person's word on what the agent asked: the item ends with it, and a turn that was parked for it is queued.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `answered`, `members_turn` or `turn_over`; [`Error::NotFound`]; [`Error::Invalid`] if the item asks for
    /// something else.
    pub async fn answer(
        &self,
        attempt: AttemptId,
        id: MessageId,
        reply: Reply,
        sent: Sent<'_>,
    ) -> Result<Message, Error> {
        if let Reply::Answer { text, .. } = &reply {
            check_words(text).map_err(Error::Invalid)?;
        }
        let call = Call::new(&sent, &("answer", attempt, &reply))?;
        let mut transaction = self.write().await?;
        if let Some(made) = call.made(&mut transaction).await? {
            return load(&mut transaction, &made).await;
        }
        follow_up::lower(&mut transaction, attempt, sent.trust()).await?;
        let asking = log::started(&mut transaction, attempt, reply.item()).await?;
        let row = TurnRow::load(&mut transaction, asking.turn).await?;
        if row.turn.state.ended().is_some() {
            let sentence = "The turn that asked has ended. Say it with a follow-up instead.";
            return Err(Error::conflict("turn_over", sentence));
        }
        may_hear(&row, sent.trust())?;
        if log::is_completed(&mut transaction, attempt, reply.item()).await? {
            return Err(Error::conflict("answered", format!("{} has its answer already.", reply.item())));
        }
        let item = ended(asking, &reply, sent.act.at)?;
        let message =
            Message { id, turn: row.turn.id, by: sent.act.actor.user, at: sent.act.at, body: reply.into() };
        insert(&mut transaction, &message).await?;
        let told = NewEvent { at: sent.act.at, kind: EventKind::ItemCompleted { item } };
        log::append(&mut transaction, attempt, vec![told]).await?;
        if waits_for_a_word(&row.turn.state) {
            let next = row.turn.apply(Transition::Wake, sent.act.at)?;
            pass(&mut transaction, &row, next, Vec::new(), sent.act.at).await?;
        }
        if !call.keep(&mut transaction, row.turn.task, &id, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        listing::commit(transaction, row.turn.task, sent.act.at).await?;
        Ok(message)
    }
}

/// Refuses an outsider's word to a turn that a worker has as a member's: it has what outsiders get nothing of, such as secrets.
fn may_hear(row: &TurnRow, trust: Trust) -> Result<(), Error> {
    if trust == Trust::Outsider && row.trust == Trust::Member && row.turn.state.lease().is_some() {
        let sentence = "The turn that is under way began as a member's, with what only members' tasks get. Send a follow-up instead: it makes \
                        the task an outsider's.";
        return Err(Error::conflict("members_turn", sentence));
    }
    Ok(())
}

pub(crate) const fn waits_for_a_word(state: &State) -> bool {
    matches!(state, State::Parked { on: Waiting::Input | Waiting::Approval, .. })
}

/// The attempt's turn that has begun and has not ended, locked.
async fn live(connection: &mut Connection, attempt: AttemptId) -> Result<TurnRow, Error> {
    let turns = TurnRow::lock_attempt(connection, attempt).await?;
    if turns.is_empty() {
        return Err(Error::NotFound { what: "attempt", id: attempt.to_string() });
    }
    turns.into_iter().find(|row| row.turn.epoch > 0 && row.turn.state.ended().is_none()).ok_or_else(|| {
        let sentence = "None of the attempt's turns is under way. Send a follow-up instead.";
        Error::conflict("no_live_turn", sentence)
    })
}

/// The item that asks, ended with the person's word.
fn ended(asking: Item, reply: &Reply, now: Timestamp) -> Result<Item, Error> {
    let body = match (asking.body, reply) {
        (ItemBody::Question { text, options, .. }, Reply::Answer { text: answer, .. }) => {
            ItemBody::Question { text, options, answer: Some(answer.clone()) }
        }
        (ItemBody::Approval { action, reason, .. }, Reply::Decision { decision, .. }) => {
            ItemBody::Approval { action, reason, decision: Some(*decision) }
        }
        (_, reply) => {
            let wants = match reply {
                Reply::Answer { .. } => "question",
                Reply::Decision { .. } => "request for approval",
            };
            return Err(Error::Invalid(format!("{} is no {wants}.", reply.item())));
        }
    };
    Ok(Item { status: ItemStatus::Completed, ended_at: Some(now), body, ..asking })
}

async fn insert(connection: &mut Connection, message: &Message) -> Result<(), Error> {
    let item = match &message.body {
        MessageBody::Steer { .. } => None,
        MessageBody::Answer { item, .. } | MessageBody::Decision { item, .. } => {
            Some(i64::from(item.number()))
        }
    };
    sqlx::query("INSERT INTO messages (id, turn, created_at, body, item) VALUES ($1, $2, $3, $4, $5)")
        .bind(message.id.to_string())
        .bind(message.turn.to_string())
        .bind(message.at.micros())
        .bind(text(message)?)
        .bind(item)
        .execute(connection)
        .await?;
    Ok(())
}

async fn load(connection: &mut Connection, id: &str) -> Result<Message, Error> {
    let row = sqlx::query("SELECT body FROM messages WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Error::NotFound { what: "message", id: id.to_owned() })?;
    json(&row, "body")
}

/// The messages that the turn has not heard yet, in order.
pub(crate) async fn to_hear(connection: &mut Connection, turn: TurnId) -> Result<Vec<Message>, Error> {
    let rows =
        sqlx::query("SELECT body FROM messages WHERE turn = $1 AND heard_at IS NULL ORDER BY created_at, id")
            .bind(turn.to_string())
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row| json(row, "body")).collect()
}

/// Whether a person's word on what the turn asked waits to be heard.
pub(crate) async fn answer_waits(connection: &mut Connection, turn: TurnId) -> Result<bool, Error> {
    let select = "SELECT id FROM messages WHERE turn = $1 AND heard_at IS NULL AND item IS NOT NULL LIMIT 1";
    Ok(sqlx::query(select).bind(turn.to_string()).fetch_optional(connection).await?.is_some())
}

/// Notes which messages these events show as heard, and gives back the events without the ends of items that a person's
/// word has ended already.
pub(crate) async fn hear(
    connection: &mut Connection,
    turn: TurnId,
    events: Vec<NewEvent>,
    now: Timestamp,
) -> Result<Vec<NewEvent>, Error> {
    let mut kept = Vec::with_capacity(events.len());
    for event in events {
        match &event.kind {
            EventKind::ItemCompleted { item } if item.asks() => {
                if heard_answer(connection, turn, item.id, now).await? {
                    continue;
                }
            }
            EventKind::ItemStarted { item } | EventKind::ItemCompleted { item } => {
                if let ItemBody::Message { message: Some(message), .. } = &item.body {
                    heard(connection, turn, *message, now).await?;
                }
            }
            EventKind::State { .. }
            | EventKind::Base { .. }
            | EventKind::ItemUpdated { .. }
            | EventKind::Usage { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Patch { .. }
            | EventKind::Verdict { .. }
            | EventKind::Artifact { .. }
            | EventKind::Connection { .. } => {}
        }
        kept.push(event);
    }
    Ok(kept)
}

async fn heard(
    connection: &mut Connection,
    turn: TurnId,
    message: MessageId,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE messages SET heard_at = $3 WHERE id = $1 AND turn = $2 AND heard_at IS NULL")
        .bind(message.to_string())
        .bind(turn.to_string())
        .bind(now.micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a person's word has ended the item.
async fn heard_answer(
    connection: &mut Connection,
    turn: TurnId,
    item: ItemId,
    now: Timestamp,
) -> Result<bool, Error> {
    let update = "UPDATE messages SET heard_at = COALESCE(heard_at, $3) WHERE turn = $1 AND item = $2";
    let update = sqlx::query(update).bind(turn.to_string()).bind(i64::from(item.number())).bind(now.micros());
    Ok(update.execute(connection).await?.rows_affected() > 0)
}

/// The steers that a turn which ended in good order did not hear any more, as the input of the turn that is to hear
/// them, with the first one's id.
pub(crate) async fn too_late(
    connection: &mut Connection,
    turn: &Turn,
) -> Result<Option<(MessageId, UserId, String)>, Error> {
    const UNHEARD: &str = "SELECT id, body FROM messages WHERE turn = $1 AND heard_at IS NULL AND item IS NULL \
                           ORDER BY created_at, id";
    let rows = sqlx::query(locking(connection, UNHEARD, Lock::Wait))
        .bind(turn.id.to_string())
        .fetch_all(connection)
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut words = Vec::with_capacity(rows.len());
    let by = json::<Message>(first, "body")?.by;
    for row in &rows {
        if let MessageBody::Steer { text } = json::<Message>(row, "body")?.body {
            words.push(text);
        }
    }
    Ok(Some((id(first, "id")?, by, words.join("\n\n"))))
}
