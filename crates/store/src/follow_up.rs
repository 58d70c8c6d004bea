//! Later turns of an attempt: each is queued behind those before it and is ready when they have all ended.

use legwork_domain::{
    AttemptId, EventKind, Failure, FollowUp, NewEvent, Outcome, PROMPT_BYTES_MAX, State, Task, Timestamp,
    Transition, Trust, Turn, TurnId, Usage, UserId,
};

use crate::audit::Act;
use crate::dialect::{Lock, locking};
use crate::idempotency::{Call, taken_meanwhile};
use crate::turn_row::{Ready, TurnRow, parsed, text};
use crate::turns::pass;
use crate::{
    Connection, Error, Sent, Store, assignment, blobs, lifecycle, listing, log, machines, messages, queue,
    read,
};

/// Turns of one attempt that may wait in its queue.
pub const FOLLOW_UPS_MAX: usize = 16;

impl Store {
    /// Queues one more turn of an attempt. With a key that came with the same request before, the turn of that time is the
    /// answer.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]; [`Error::Conflict`] with `too_many_turns`, or with
    /// `files_gone` if what it would go on from is known to be gone; [`Error::KeyReused`].
    pub async fn follow_up(
        &self,
        attempt: AttemptId,
        turn: TurnId,
        request: FollowUp,
        sent: Sent<'_>,
    ) -> Result<Turn, Error> {
        request.validate().map_err(Error::Invalid)?;
        let call = Call::new(&sent, &("follow_up", attempt, &request))?;
        let mut transaction = self.write().await?;
        if let Some(made) = call.made(&mut transaction).await? {
            return Ok(TurnRow::get(&mut transaction, parsed(&made)?, Lock::None).await?.turn);
        }
        queue::room(&mut transaction, &sent, 1).await?;
        machines::check_files(&mut transaction, attempt, sent.act.at).await?;
        lower(&mut transaction, attempt, request.trust.lowered_by(sent.trust())).await?;
        let next = add(&mut transaction, attempt, turn, request, Asked::by(&sent.act)).await?;
        if !call.keep(&mut transaction, next.task, &turn, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        listing::commit(transaction, next.task, sent.act.at).await?;
        Ok(next)
    }

    /// Asks one turn to stop. One that has ended, or was asked before, stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel_turn(&self, turn: TurnId, now: Timestamp) -> Result<Turn, Error> {
        let mut transaction = self.write().await?;
        let row = TurnRow::load(&mut transaction, turn).await?;
        if row.turn.state.ended().is_some() || row.turn.cancel_requested_at.is_some() {
            return Ok(row.turn);
        }
        let next = row.turn.apply(Transition::Cancel, now)?;
        let next = pass(&mut transaction, &row, next, Vec::new(), now).await?;
        listing::commit(transaction, next.task, now).await?;
        Ok(next)
    }
}

/// Who asked for a turn, and so pays for it, and when. It need not be who handed the task over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    by: UserId,
    at: Timestamp,
}

impl Asked {
    pub(crate) const fn by(act: &Act) -> Self {
        Self { by: act.actor.user, at: act.at }
    }
}

/// Makes an outsider's of a task that an outsider has a say in. Before the locks of its turns, as everywhere. A turn that a worker
/// has goes on as it began.
pub(crate) async fn lower(
    connection: &mut Connection,
    attempt: AttemptId,
    trust: Trust,
) -> Result<(), Error> {
    if trust == Trust::Member {
        return Ok(());
    }
    let attempt = assignment::attempt(connection, attempt).await?;
    let mut task = lifecycle::locked(connection, attempt.task).await?;
    task.request.trust = task.request.trust.lowered_by(trust);
    sqlx::query("UPDATE tasks SET body = $2 WHERE id = $1")
        .bind(task.id.to_string())
        .bind(text(&task)?)
        .execute(&mut *connection)
        .await?;
    TurnRow::load_task(connection, task.id).await?;
    sqlx::query("UPDATE turns SET outsider = 1 WHERE task = $1 AND outsider = 0 AND lease_until IS NULL")
        .bind(task.id.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds a turn after the attempt's last one.
pub(crate) async fn add(
    connection: &mut Connection,
    attempt: AttemptId,
    id: TurnId,
    request: FollowUp,
    asked: Asked,
) -> Result<Turn, Error> {
    TurnRow::lock_attempt(connection, attempt).await?;
    // Once more: a turn that was added while we waited for the locks was not in the first look.
    let turns = TurnRow::load_attempt(connection, attempt).await?;
    let Some(last) = turns.last() else {
        return Err(Error::NotFound { what: "attempt", id: attempt.to_string() });
    };
    let open = turns.iter().filter(|row| row.turn.state.ended().is_none()).count();
    if open > FOLLOW_UPS_MAX {
        let sentence =
            format!("{FOLLOW_UPS_MAX} turns of the attempt wait already. Wait for one, or cancel one.");
        return Err(Error::conflict("too_many_turns", sentence));
    }
    let task = read::record(connection, last.turn.task).await?;
    let FollowUp { input, images, .. } = request;
    let turn =
        Turn { id, number: last.turn.number + 1, input, images, ..first_form(&task, attempt, asked.at) };
    blobs::of_task(connection, task.id, &turn.images).await?;
    let machine = machines::of_attempt(connection, attempt).await?;
    let row = TurnRow { machine, ..TurnRow::new(turn, asked.by) };
    insert(connection, &task, &row, if open == 0 { Ready::Now } else { Ready::AfterEarlier }).await?;
    Ok(row.turn)
}

/// A queued turn that nobody had yet.
fn first_form(task: &Task, attempt: AttemptId, now: Timestamp) -> Turn {
    Turn {
        id: TurnId::from_u128(0),
        task: task.id,
        attempt,
        number: 1,
        input: String::new(),
        images: Vec::new(),
        created_at: now,
        epoch: 0,
        tries: 0,
        cancel_requested_at: None,
        usage: Usage::default(),
        state: State::Queued,
    }
}

async fn insert(connection: &mut Connection, task: &Task, row: &TurnRow, ready: Ready) -> Result<(), Error> {
    let turn = &row.turn;
    let inserted = row.insert(connection, task, ready).await;
    // Another server's follow-up may have got the number first.
    inserted.map_err(|error| if error.is_unique_violation() { taken_meanwhile() } else { error })?;
    let kind = EventKind::State { turn: turn.id, state: State::Queued };
    log::append(connection, turn.attempt, vec![NewEvent { at: turn.created_at, kind }]).await
}

/// Locks the turns that wait for this one, before the attempt's log is locked.
pub(crate) async fn lock_later(connection: &mut Connection, turn: &Turn) -> Result<(), Error> {
    const LATER: &str =
        "SELECT id FROM turns WHERE attempt = $1 AND number > $2 AND ready = 0 ORDER BY number";
    sqlx::query(locking(connection, LATER, Lock::Wait))
        .bind(turn.attempt.to_string())
        .bind(i64::from(turn.number))
        .fetch_all(connection)
        .await?;
    Ok(())
}

/// After a turn's end: what it did not hear any more becomes a turn, and the next turn of the attempt is ready.
pub(crate) async fn after(connection: &mut Connection, ended: &Turn, now: Timestamp) -> Result<(), Error> {
    if in_good_order(ended)
        && read::is_there(connection, ended.task).await?
        && let Some((message, by, mut words)) = messages::too_late(connection, ended).await?
    {
        words.truncate(words.floor_char_boundary(PROMPT_BYTES_MAX));
        let request = FollowUp::new(words, Vec::new());
        // Its first message's number: nobody here can draw one.
        add(connection, ended.attempt, TurnId::from_u128(message.number()), request, Asked { by, at: now })
            .await?;
    }
    sqlx::query(
        "UPDATE turns SET ready = 1, machine = (SELECT machine FROM attempts WHERE id = $1) WHERE attempt = $1 AND ready = 0 AND NOT EXISTS (SELECT 1 FROM turns earlier \
         WHERE earlier.attempt = turns.attempt AND earlier.number < turns.number AND earlier.state_name <> 'finished')",
    )
    .bind(ended.attempt.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the agent said its last word, so that another one of the user is worth a turn.
fn in_good_order(turn: &Turn) -> bool {
    let outcome = turn.state.ended().map(|ended| ended.outcome);
    matches!(
        outcome,
        Some(Outcome::Succeeded | Outcome::NoChange | Outcome::Failed { reason: Failure::Verification })
    )
}
