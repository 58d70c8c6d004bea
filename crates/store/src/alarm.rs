//! The alarm of a task whose decoy showed up: what its end means for everybody else.

use legwork_domain::{Actor, Failure, Outcome, Timestamp, Turn, TurnId};
use serde_json::json;

use crate::audit::{self, Act, Change};
use crate::deliveries::{self, News};
use crate::dialect::Lock;
use crate::turn_row::TurnRow;
use crate::turns::stop_all;
use crate::{Connection, Error, Store, Transaction};

pub(crate) fn is_one(outcome: Outcome) -> bool {
    outcome == Outcome::Failed { reason: Failure::Decoy }
}

/// A transaction that has locked what an alarm writes, in the order of everybody else: the audit log, then the task's turns.
pub(crate) async fn begin(store: &Store, turn: TurnId) -> Result<Transaction, Error> {
    let mut transaction = store.audited().await?;
    let task = TurnRow::get(&mut transaction, turn, Lock::None).await?.turn.task;
    TurnRow::load_task(&mut transaction, task).await?;
    Ok(transaction)
}

/// Adds an entry that nobody takes back, tells webhooks, and asks the task's other turns to stop: they run what the same
/// repository and prompt told them. The transaction is one of [`begin`].
pub(crate) async fn raise(
    connection: &mut Connection,
    row: &TurnRow,
    ended: &Turn,
    now: Timestamp,
) -> Result<(), Error> {
    let sentence = ended.state.ended().map(|ended| ended.sentence.as_str());
    let told = json!({ "attempt": ended.attempt, "turn": ended.id, "sentence": sentence });
    let act = Act { actor: Actor::PROCESS, at: now };
    audit::record(connection, &act, Change::of("task.alarm", &ended.task).after(&told)?).await?;
    deliveries::announce(connection, News::of_alarm(ended, row.revision, now)).await?;
    stop_all(connection, ended.task, now).await
}
