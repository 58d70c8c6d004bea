//! An attempt's last turn once more: the same words and images as a new turn, on what is there or from the start.

use legwork_domain::{
    AttemptId, Context, ContextChange, EventKind, FollowUp, NewEvent, Outcome, RetryFrom, Timestamp, Turn,
    TurnId,
};

use crate::dialect::Lock;
use crate::follow_up::Asked;
use crate::idempotency::{Call, taken_meanwhile};
use crate::turn_row::{TurnRow, parsed};
use crate::{Connection, Copying, Error, Store, follow_up, listing, log, machines, queue};

impl Store {
    /// Queues what the attempt's last turn was asked once more, as a turn of its own. With a key that came with the same
    /// request before, the turn of that time is the answer.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `turn_open` if the last turn has not ended, with `nothing_to_retry` if it did what it was
    /// asked, with `files_gone` if what is left is known to be gone; [`Error::NotFound`]; [`Error::KeyReused`].
    pub async fn retry(
        &self,
        attempt: AttemptId,
        turn: TurnId,
        from: RetryFrom,
        copying: Copying<'_>,
    ) -> Result<Turn, Error> {
        let sent = copying.sent;
        let call = Call::new(&sent, &("retry", attempt, from))?;
        let mut transaction = self.write().await?;
        if let Some(made) = call.made(&mut transaction).await? {
            return Ok(TurnRow::get(&mut transaction, parsed(&made)?, Lock::None).await?.turn);
        }
        queue::room(&mut transaction, &sent, 1).await?;
        follow_up::lower(&mut transaction, attempt, sent.trust()).await?;
        let request = copying.clean(&again(&mut transaction, attempt).await?)?;
        if from == RetryFrom::Left {
            machines::check_files(&mut transaction, attempt, sent.act.at).await?;
        }
        let next = follow_up::add(&mut transaction, attempt, turn, request, Asked::by(&sent.act)).await?;
        if from == RetryFrom::Fresh {
            log::append(&mut transaction, attempt, afresh(turn, sent.act.at)).await?;
            machines::set(&mut transaction, attempt, None).await?;
        }
        if !call.keep(&mut transaction, next.task, &turn, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        listing::commit(transaction, next.task, sent.act.at).await?;
        Ok(next)
    }
}

/// What the last turn was asked, if that is to be done again.
async fn again(connection: &mut Connection, attempt: AttemptId) -> Result<FollowUp, Error> {
    TurnRow::lock_attempt(connection, attempt).await?;
    let turns = TurnRow::load_attempt(connection, attempt).await?;
    let Some(last) = turns.into_iter().next_back() else {
        return Err(Error::NotFound { what: "attempt", id: attempt.to_string() });
    };
    let Some(ended) = last.turn.state.ended() else {
        let sentence = "The attempt's last turn has not ended. Wait for it, or cancel it.";
        return Err(Error::conflict("turn_open", sentence));
    };
    match ended.outcome {
        Outcome::Failed { .. } | Outcome::Cancelled | Outcome::LimitReached { .. } => {}
        Outcome::Succeeded | Outcome::NoChange => {
            let sentence =
                "The attempt's last turn did what it was asked. Say what else to do with a follow-up.";
            return Err(Error::conflict("nothing_to_retry", sentence));
        }
    }
    Ok(FollowUp::new(last.turn.input, last.turn.images))
}

/// The log's words for a turn that starts from the checkout: no history, and no layers.
fn afresh(turn: TurnId, at: Timestamp) -> Vec<NewEvent> {
    let context = Context { change: ContextChange::Replace, entries: Vec::new() };
    let kinds = [
        EventKind::Context { turn, context },
        EventKind::Snapshot { turn, layers: Vec::new(), live: None, saved: None },
    ];
    kinds.map(|kind| NewEvent { at, kind }).into()
}
