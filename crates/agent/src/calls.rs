//! Calls under way: started in the order in which the model makes them, joined in that order.
//!
//! Shared calls run side by side; one that writes waits for all before it, and all after it wait for it. A call is a
//! task of its own, so that it runs while the answer is still streaming. Each call has exactly one result: its own, or
//! ours if it was cancelled too slowly or panicked.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use legwork_domain::ContextChange;
use legwork_model::CallInput;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use crate::Timeline;
use crate::history::{Mark, Record};
use crate::tools::{Call, Order, Outcome, Tool};
use crate::trace;

/// How long a cancelled call may take to end in good order. A person who cancels sees the end within a second.
const GRACE: Duration = Duration::from_millis(500);

/// Calls of one answer at the same time. Models make a handful; an answer of hundreds must not start them all at once.
const AT_ONCE_MAX: usize = 16;

/// Lets calls in, in order.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The last call that must be alone.
    alone: Option<CancellationToken>,
    /// Shared calls after it.
    shared: Vec<CancellationToken>,
    /// Fires when the latest call has begun; `None` before the first.
    begun: Option<CancellationToken>,
    /// Room for those that are let in.
    room: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { alone: None, shared: Vec::new(), begun: None, room: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

/// What a call waits for, and what tells others that it is done.
struct Ticket {
    after: Vec<CancellationToken>,
    /// The call before it has begun: so their items are numbered in the order of the calls.
    turn: Option<CancellationToken>,
    begun: DropGuard,
    done: DropGuard,
    room: Arc<Semaphore>,
}

impl Gate {
    fn enter(&mut self, order: Order) -> Ticket {
        let done = CancellationToken::new();
        let mut after: Vec<CancellationToken> = self.alone.iter().cloned().collect();
        match order {
            Order::Shared => self.shared.push(done.clone()),
            Order::Alone => {
                after.append(&mut self.shared);
                self.alone = Some(done.clone());
            }
        }
        let begun = CancellationToken::new();
        let turn = self.begun.replace(begun.clone());
        let room = Arc::clone(&self.room);
        Ticket { after, turn, begun: begun.drop_guard(), done: done.drop_guard(), room }
    }
}

/// A call that the model made.
pub(crate) struct Running {
    /// The model's id for it.
    pub(crate) id: String,
    /// Tool and input, shortened, for a note to the model.
    pub(crate) title: String,
    task: JoinHandle<Outcome>,
}

impl Running {
    /// Starts a call as soon as those before it let it.
    pub(crate) fn start(id: String, tool: Arc<dyn Tool>, call: Call, gate: &mut Gate) -> Self {
        let ticket = gate.enter(tool.order());
        let title = title(&call);
        let span = trace::call(&call.name, &id);
        Self { id, title, task: tokio::spawn(run(tool, call, ticket).instrument(span)) }
    }

    /// A call that is answered without being made.
    pub(crate) fn refused(id: String, why: String) -> Self {
        Self { id, title: why.clone(), task: tokio::spawn(async { Outcome::failed(why) }) }
    }

    /// Its one result. After `cancel` it has only [`GRACE`] left.
    async fn result(&mut self, cancel: &CancellationToken) -> Outcome {
        let late = async {
            cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            result = &mut self.task => result.unwrap_or_else(|_| {
                Outcome::failed("The tool broke down; whether it had an effect is unknown.")
            }),
            () = late => {
                self.task.abort();
                Outcome::failed("Cancelled; whether it had an effect is unknown.")
            }
        }
    }
}

/// A call that nobody waits for any more ends.
impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a call once those before it let it, and once the log has it: what it does may outlive this process.
async fn run(tool: Arc<dyn Tool>, call: Call, ticket: Ticket) -> Outcome {
    let kept = tokio::select! {
        kept = call.scene.timeline.kept() => kept.is_ok(),
        () = call.cancel.cancelled() => false,
    };
    for earlier in ticket.after.iter().chain(&ticket.turn) {
        tokio::select! {
            () = earlier.cancelled() => {}
            () = call.cancel.cancelled() => break,
        }
    }
    // Taken only now: who waits for others must not keep them out. The semaphore is never closed.
    let _room = ticket.room.acquire().await;
    if !kept || call.cancel.is_cancelled() {
        return Outcome::cancelled();
    }
    let mut work = tool.call(call);
    // A command opens its item before it waits for anything.
    let first = futures::poll!(&mut work);
    drop(ticket.begun);
    let outcome = match first {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => work.await,
    };
    drop(ticket.done);
    outcome
}

/// The results of all calls, in order.
pub(crate) async fn results(calls: &mut [Running], cancel: &CancellationToken) -> Vec<Outcome> {
    futures::future::join_all(calls.iter_mut().map(|call| call.result(cancel))).await
}

/// The same, each told to the log as soon as it is there.
pub(crate) async fn recorded(
    calls: &mut [Running],
    cancel: &CancellationToken,
    timeline: &Timeline,
) -> Vec<Outcome> {
    let results = calls.iter_mut().map(|call| async {
        let mut outcome = call.result(cancel).await;
        let value = match outcome.asking.as_deref_mut() {
            Some(asking) => {
                let item = asking.tell(timeline).await;
                Mark::Asked { call: call.id.clone(), item }.value()
            }
            None => Record::output(call.id.clone(), outcome.parts.clone()).value(),
        };
        timeline.context(ContextChange::Append, vec![value]).await;
        outcome
    });
    futures::future::join_all(results).await
}

fn title(call: &Call) -> String {
    const CHARS_MAX: usize = 200;
    let (CallInput::Json(input) | CallInput::Text(input)) = &call.input;
    format!("{} {}", call.name, input).chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(after: &[CancellationToken]) -> usize {
        after.iter().filter(|earlier| !earlier.is_cancelled()).count()
    }

    /// Which earlier calls (by index) each call waits for.
    fn waits(orders: &[Order]) -> Vec<Vec<usize>> {
        let mut gate = Gate::default();
        let tickets = orders.iter().map(|order| gate.enter(*order)).map(|ticket| (ticket.after, ticket.done));
        let (after, done): (Vec<_>, Vec<_>) = tickets.unzip();
        let mut waits = vec![Vec::new(); orders.len()];
        for (index, done) in done.into_iter().enumerate() {
            let before: Vec<usize> = after.iter().map(|after| open(after)).collect();
            drop(done);
            let waited = (0..orders.len()).filter(|later| open(&after[*later]) < before[*later]);
            waited.for_each(|later| waits[later].push(index));
        }
        waits
    }

    #[test]
    fn writers_are_alone_and_in_order() {
        use Order::{Alone, Shared};
        let expected: Vec<Vec<usize>> =
            vec![vec![], vec![], vec![0, 1], vec![2], vec![2], vec![2, 3, 4], vec![5]];
        assert_eq!(waits(&[Shared, Shared, Alone, Shared, Shared, Alone, Alone]), expected);
    }
}
