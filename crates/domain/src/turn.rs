//! The one state machine: a turn's way from the queue to its end.
//!
//! Task and attempt have no state of their own; theirs follows from their turns. `Turn::apply` is the only way to a new
//! state and is pure, so the whole table can be printed, and the store can compare-and-set its result.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AttemptId, BlobId, Ended, Failure, LeaseId, Outcome, Patch, TaskId, Timestamp, TurnId, Usage, WorkerId,
};

/// How often a turn is started before a lost worker becomes its failure: the first time and two retries.
pub const TRIES_MAX: u32 = 3;

/// One user input and all that the agent does until it stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Turn {
    /// Its id.
    pub id: TurnId,
    /// Whose turn.
    pub task: TaskId,
    /// Whose turn.
    pub attempt: AttemptId,
    /// 1, 2, … within the attempt.
    pub number: u32,
    /// What the user said.
    pub input: String,
    /// Images with the input.
    #[serde(default)]
    pub images: Vec<BlobId>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Rises at each lease; a write under an older one is refused.
    pub epoch: u64,
    /// How often it was leased.
    pub tries: u32,
    /// When somebody asked to cancel it.
    pub cancel_requested_at: Option<Timestamp>,
    /// What it has spent so far, over all its leases.
    #[serde(default)]
    pub usage: Usage,
    /// Where it stands.
    pub state: State,
}

/// Where a turn stands. Each variant holds only what that state has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Leased {
        /// Whose.
        lease: Lease,
    },
    /// Checkout and set-up.
    Preparing {
        /// Whose.
        lease: Lease,
    },
    /// The agent works.
    Running {
        /// Whose.
        lease: Lease,
    },
    /// The agent waits, under its lease, for something that is named and near.
    Waiting {
        /// Whose.
        lease: Lease,
        /// For what.
        on: Waiting,
    },
    /// It waits for a person. Nothing of it runs; its files are frozen, and another worker may go on from them.
    Parked {
        /// For what.
        on: Waiting,
        /// What it has made so far.
        patch: Option<Patch>,
    },
    /// Final.
    Finished(Box<Ended>),
}

/// What a waiting turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A person's decision on an action.
    Approval,
    /// A person's answer.
    Input,
    /// A larger budget.
    Budget,
    /// The model's provider, which asked us to come back later.
    Model,
}

/// A worker's time-limited, fenced right to run one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Whose.
    pub worker: WorkerId,
    /// The turn's epoch under this lease.
    pub epoch: u64,
    /// When it lapses unless it is renewed.
    pub until: Timestamp,
}

/// A wish to move a turn on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "transition", rename_all = "snake_case")]
pub enum Transition {
    /// A worker takes it.
    Lease {
        /// The new lease's id.
        id: LeaseId,
        /// Who.
        worker: WorkerId,
        /// Until when.
        until: Timestamp,
    },
    /// The worker lives.
    Renew {
        /// Until when.
        until: Timestamp,
    },
    /// Checkout and set-up begin.
    Prepare,
    /// The agent begins or goes on.
    Run,
    /// The agent waits.
    Wait {
        /// For what.
        on: Waiting,
    },
    /// The worker froze the turn's files and lets go of it until a person has spoken.
    Park {
        /// For what.
        on: Waiting,
        /// What it has made so far.
        patch: Option<Patch>,
    },
    /// What it was parked for is there.
    Wake,
    /// The worker stops in good order and gives the turn back; that costs no try.
    Release,
    /// The lease lapsed.
    Expire,
    /// A person wants it stopped.
    Cancel,
    /// The worker reports its end.
    Finish(Box<Ended>),
}

/// A transition that the state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a turn that is {state} cannot {transition}")]
pub struct Refused {
    /// The state's name.
    pub state: &'static str,
    /// The transition's name.
    pub transition: &'static str,
}

impl State {
    /// The lease, while there is one.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Leased { lease }
            | Self::Preparing { lease }
            | Self::Running { lease }
            | Self::Waiting { lease, .. } => Some(lease),
            Self::Queued | Self::Parked { .. } | Self::Finished(_) => None,
        }
    }

    /// How it ended, if it did.
    #[must_use]
    pub const fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Finished(ended) => Some(ended),
            Self::Queued
            | Self::Leased { .. }
            | Self::Preparing { .. }
            | Self::Running { .. }
            | Self::Waiting { .. }
            | Self::Parked { .. } => None,
        }
    }

    /// The word for it, as in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased { .. } => "leased",
            Self::Preparing { .. } => "preparing",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Parked { .. } => "parked",
            Self::Finished(_) => "finished",
        }
    }

    fn with_lease(self, change: impl FnOnce(Lease) -> Lease) -> Self {
        match self {
            Self::Leased { lease } => Self::Leased { lease: change(lease) },
            Self::Preparing { lease } => Self::Preparing { lease: change(lease) },
            Self::Running { lease } => Self::Running { lease: change(lease) },
            Self::Waiting { lease, on } => Self::Waiting { lease: change(lease), on },
            Self::Queued | Self::Parked { .. } | Self::Finished(_) => self,
        }
    }
}

impl Transition {
    const fn name(&self) -> &'static str {
        match self {
            Self::Lease { .. } => "be leased",
            Self::Renew { .. } => "renew its lease",
            Self::Prepare => "prepare",
            Self::Run => "run",
            Self::Wait { .. } => "wait",
            Self::Park { .. } => "be parked",
            Self::Wake => "be woken",
            Self::Release => "be given back",
            Self::Expire => "lose its lease",
            Self::Cancel => "be cancelled",
            Self::Finish(_) => "finish",
        }
    }
}

impl Turn {
    /// The turn after `transition`, at time `now`.
    ///
    /// A cancel ends a queued turn at once; on a live one it is only noted, since the worker has to save the partial
    /// patch and reports the end itself. A repeated cancel keeps the first time.
    ///
    /// # Errors
    /// [`Refused`] if the state does not allow it; the turn is then unchanged for the caller, who still has it.
    pub fn apply(&self, transition: Transition, now: Timestamp) -> Result<Self, Refused> {
        let refused = Refused { state: self.state.name(), transition: transition.name() };
        let mut next = self.clone();
        next.state = match (self.state.clone(), transition) {
            (State::Queued, Transition::Lease { id, worker, until }) => {
                next.epoch += 1;
                next.tries += 1;
                State::Leased { lease: Lease { id, worker, epoch: next.epoch, until } }
            }
            (State::Queued, Transition::Cancel) => {
                next.cancel_requested_at = Some(now);
                let sentence = match self.epoch {
                    0 => "Cancelled before it started.",
                    _ => "Cancelled while it waited for a worker to go on.",
                };
                self.over(Outcome::Cancelled, sentence.to_owned(), now)
            }
            (State::Parked { patch, .. }, Transition::Cancel) => {
                next.cancel_requested_at = Some(now);
                let sentence = "Cancelled while it waited for a person. What was done so far is kept.";
                let ended = Ended::nothing(Outcome::Cancelled, sentence, now);
                State::Finished(Box::new(Ended { patch, usage: self.usage, ..ended }))
            }
            (State::Parked { .. }, Transition::Wake) => {
                next.tries = 0;
                State::Queued
            }
            (State::Leased { lease }, Transition::Prepare) => State::Preparing { lease },
            (State::Preparing { lease } | State::Waiting { lease, .. }, Transition::Run) => {
                State::Running { lease }
            }
            (State::Running { lease }, Transition::Wait { on }) => State::Waiting { lease, on },
            (State::Queued | State::Parked { .. } | State::Finished(_), _) => return Err(refused),
            (_, Transition::Park { on, patch }) => State::Parked { on, patch },
            (_, Transition::Release) => {
                next.tries = next.tries.saturating_sub(1);
                State::Queued
            }
            (live, Transition::Renew { until }) => live.with_lease(|lease| Lease { until, ..lease }),
            (live, Transition::Cancel) => {
                next.cancel_requested_at.get_or_insert(now);
                live
            }
            (_, Transition::Expire) => next.after_loss(now),
            (_, Transition::Finish(ended)) => State::Finished(ended),
            (
                _,
                Transition::Lease { .. }
                | Transition::Prepare
                | Transition::Run
                | Transition::Wait { .. }
                | Transition::Wake,
            ) => {
                return Err(refused);
            }
        };
        Ok(next)
    }

    fn after_loss(&self, now: Timestamp) -> State {
        if self.cancel_requested_at.is_some() {
            let sentence = "Cancelled; its worker was lost before it could save a partial patch.";
            return self.over(Outcome::Cancelled, sentence.to_owned(), now);
        }
        if self.tries < TRIES_MAX {
            return State::Queued;
        }
        let outcome = Outcome::Failed { reason: Failure::WorkerLost };
        let sentence = format!(
            "The worker was lost {TRIES_MAX} times. What it recorded is kept; see the worker's log, then run the task again."
        );
        self.over(outcome, sentence, now)
    }

    /// An end that the worker could not tell itself: what was spent stays spent.
    fn over(&self, outcome: Outcome, sentence: String, now: Timestamp) -> State {
        State::Finished(Box::new(Ended { usage: self.usage, ..Ended::nothing(outcome, sentence, now) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(5_000_000);

    fn turn(state: State) -> Turn {
        Turn {
            id: TurnId::from_u128(1),
            task: TaskId::from_u128(1),
            attempt: AttemptId::from_u128(1),
            number: 1,
            input: "do it".into(),
            images: Vec::new(),
            created_at: Timestamp::from_micros(0),
            epoch: 1,
            tries: 1,
            cancel_requested_at: None,
            usage: Usage::default(),
            state,
        }
    }

    fn states() -> Vec<State> {
        let lease = Lease { id: LeaseId::from_u128(1), worker: WorkerId::from_u128(1), epoch: 1, until: NOW };
        vec![
            State::Queued,
            State::Leased { lease },
            State::Preparing { lease },
            State::Running { lease },
            State::Waiting { lease, on: Waiting::Model },
            State::Parked { on: Waiting::Input, patch: None },
            State::Finished(Box::new(Ended::nothing(Outcome::NoChange, "Done.", NOW))),
        ]
    }

    fn transitions() -> Vec<Transition> {
        vec![
            Transition::Lease { id: LeaseId::from_u128(2), worker: WorkerId::from_u128(2), until: NOW },
            Transition::Renew { until: NOW.plus_ms(1000) },
            Transition::Prepare,
            Transition::Run,
            Transition::Wait { on: Waiting::Model },
            Transition::Park { on: Waiting::Input, patch: None },
            Transition::Wake,
            Transition::Release,
            Transition::Expire,
            Transition::Cancel,
            Transition::Finish(Box::new(Ended::nothing(Outcome::Succeeded, "Done.", NOW))),
        ]
    }

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for state in states() {
            for transition in transitions() {
                let from = state.name();
                let wish = transition.name();
                let to = match turn(state.clone()).apply(transition, NOW) {
                    Ok(next) => next.state.name().to_owned(),
                    Err(_) => "-".to_owned(),
                };
                table.push_str(&format!("{from:<10} {wish:<16} {to}\n"));
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_lease_raises_the_epoch_and_losing_it_three_times_ends_the_turn() {
        let mut turn = Turn { epoch: 0, tries: 0, ..turn(State::Queued) };
        for epoch in 1..=3 {
            let lease = Transition::Lease {
                id: LeaseId::from_u128(epoch),
                worker: WorkerId::from_u128(1),
                until: NOW,
            };
            turn = turn.apply(lease, NOW).unwrap();
            assert_eq!(u128::from(turn.state.lease().unwrap().epoch), epoch);
            turn = turn.apply(Transition::Expire, NOW).unwrap();
        }
        let outcome = turn.state.ended().unwrap().outcome;
        assert_eq!(outcome, Outcome::Failed { reason: Failure::WorkerLost });
    }

    #[test]
    fn a_cancelled_turn_that_loses_its_worker_is_not_run_again() {
        let running = turn(states().swap_remove(3));
        let cancelled = running.apply(Transition::Cancel, NOW).unwrap();
        assert_eq!(cancelled.state.name(), "running");
        let lost = cancelled.apply(Transition::Expire, NOW).unwrap();
        assert_eq!(lost.state.ended().unwrap().outcome, Outcome::Cancelled);
    }
}
