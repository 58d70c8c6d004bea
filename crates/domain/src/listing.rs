//! What a list of tasks shows: a light row for each, kept up to date as its turns change.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    DiffStat, Ended, Judgement, Kind, Outcome, Spending, State, TaskId, Timestamp, Turn, UserId, Verdict,
};

/// Where a task stands, as its turns say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its turns wait for a worker.
    Queued,
    /// A worker has at least one of its turns.
    Running,
    /// It waits for a person, or for a larger budget.
    Parked,
    /// Its best attempt ended with a patch whose checks hold.
    Succeeded,
    /// It ended in good order and changed nothing.
    NoChange,
    /// Its attempts reached what they may spend.
    LimitReached,
    /// Its attempts did not work.
    Failed,
    /// A person stopped it.
    Cancelled,
}

impl TaskState {
    /// The word for it, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Succeeded => "succeeded",
            Self::NoChange => "no_change",
            Self::LimitReached => "limit_reached",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether none of its turns is to run.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Parked)
    }

    /// Where one turn stands.
    #[must_use]
    pub const fn of(state: &State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Leased { .. }
            | State::Preparing { .. }
            | State::Running { .. }
            | State::Waiting { .. } => Self::Running,
            State::Parked { .. } => Self::Parked,
            State::Finished(ended) => match ended.outcome {
                Outcome::Succeeded => Self::Succeeded,
                Outcome::NoChange => Self::NoChange,
                Outcome::LimitReached { .. } => Self::LimitReached,
                Outcome::Failed { .. } => Self::Failed,
                Outcome::Cancelled => Self::Cancelled,
            },
        }
    }

    /// Which of several attempts speaks for the task: one that waits for a person first, then one that runs, then one
    /// that is to run, then the best end.
    const fn rank(self) -> u8 {
        match self {
            Self::Parked => 0,
            Self::Running => 1,
            Self::Queued => 2,
            Self::Succeeded => 3,
            Self::NoChange => 4,
            Self::LimitReached => 5,
            Self::Failed => 6,
            Self::Cancelled => 7,
        }
    }
}

/// How many checks say what of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckCount {
    /// Failed before, pass now.
    pub fixed: u32,
    /// Passed before, fail now.
    pub broken: u32,
    /// Failed before and fail now.
    pub still_failing: u32,
    /// Passed before and pass now.
    pub passing: u32,
    /// Their runs disagree.
    pub flaky: u32,
}

impl CheckCount {
    /// Counts verdicts.
    #[must_use]
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut count = Self::default();
        for verdict in verdicts {
            *count.slot(verdict.judgement) += 1;
        }
        count
    }

    /// How many have each judgement, those that somebody must look at first.
    #[must_use]
    pub fn each(mut self) -> [(Judgement, u32); 5] {
        use Judgement::{Broken, Fixed, Flaky, Passing, StillFailing};
        [Broken, StillFailing, Flaky, Fixed, Passing].map(|judgement| (judgement, *self.slot(judgement)))
    }

    const fn slot(&mut self, judgement: Judgement) -> &mut u32 {
        match judgement {
            Judgement::Fixed => &mut self.fixed,
            Judgement::Broken => &mut self.broken,
            Judgement::StillFailing => &mut self.still_failing,
            Judgement::Passing => &mut self.passing,
            Judgement::Flaky => &mut self.flaky,
        }
    }
}

/// A task in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Its title.
    pub title: String,
    /// Code or question.
    pub kind: Kind,
    /// On which code.
    pub repository: String,
    /// Branch, tag or commit, where one was named.
    pub base: Option<String>,
    /// How many attempts it has.
    pub attempts: u8,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Who handed it over.
    pub created_by: UserId,
    /// Since when it is out of the list.
    pub archived_at: Option<Timestamp>,
    /// Where it stands.
    pub state: TaskState,
    /// When its last turn ended, if none is to run.
    pub ended_at: Option<Timestamp>,
    /// The size of its best attempt's patch.
    pub stat: Option<DiffStat>,
    /// What the declared checks say of that patch.
    pub checks: CheckCount,
    /// What all its turns spent.
    pub spent: Spending,
    /// Whether it ended or parked since the caller last looked at it.
    #[serde(default)]
    pub unread: bool,
}

/// What the turns of a task make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: TaskState,
    /// When its last turn ended, if none is to run.
    pub ended_at: Option<Timestamp>,
    /// The size of its best attempt's patch.
    pub stat: Option<DiffStat>,
    /// What the declared checks say of that patch.
    pub checks: CheckCount,
}

impl Standing {
    /// Reads it off the task's turns, which come by attempt and number. `None`: there are none.
    #[must_use]
    pub fn of(turns: &[Turn]) -> Option<Self> {
        let attempts = turns.chunk_by(|one, next| one.attempt == next.attempt);
        let speakers: Vec<&Turn> = attempts.filter_map(speaker).collect();
        let best = speakers.iter().min_by_key(|turn| TaskState::of(&turn.state).rank())?;
        let state = TaskState::of(&best.state);
        // While it goes on, the last patch that there was.
        let last = || turns.iter().rev().filter(|turn| turn.attempt == best.attempt);
        let left = last().find_map(|turn| turn.state.ended().filter(|ended| ended.patch.is_some()));
        let parked = match &best.state {
            State::Parked { patch, .. } => patch.as_ref(),
            State::Queued
            | State::Leased { .. }
            | State::Preparing { .. }
            | State::Running { .. }
            | State::Waiting { .. }
            | State::Finished(_) => None,
        };
        let stat = parked.or(left.and_then(|ended| ended.patch.as_ref())).map(|patch| patch.stat);
        let ends = turns.iter().filter_map(|turn| turn.state.ended());
        Some(Self {
            state,
            ended_at: if state.is_over() { ends.map(|ended| ended.at).max() } else { None },
            stat,
            checks: left.map_or_else(CheckCount::default, |ended: &Ended| CheckCount::of(&ended.verdicts)),
        })
    }
}

/// The turn that says where an attempt stands: its first that has not ended, or its last.
fn speaker(turns: &[Turn]) -> Option<&Turn> {
    turns.iter().find(|turn| turn.state.ended().is_none()).or(turns.last())
}

/// Which archived tasks a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Archived {
    /// None.
    #[default]
    Without,
    /// Them alone.
    Only,
    /// All, among the others.
    With,
}

impl Archived {
    /// The word for it, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Only => "only",
            Self::With => "with",
        }
    }
}

/// Which tasks a list has: the parameters of `GET /v1/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct TaskQuery {
    /// Only in this state.
    #[param(inline)]
    pub state: Option<TaskState>,
    /// Only of this repository, as it was named.
    pub repository: Option<String>,
    /// Only handed over by this user.
    pub created_by: Option<UserId>,
    /// Which archived ones.
    #[param(inline, required = false)]
    pub archived: Archived,
    /// Only with these words in their titles, in either case.
    pub title: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<TaskId>,
    /// Tasks of a page, at most 100; 50 if nothing is said.
    pub limit: Option<u32>,
}

/// A list of tasks, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// The page.
    pub tasks: Vec<TaskRow>,
    /// For the next page: pass as `cursor`. `None`: this was the last.
    pub next: Option<TaskId>,
    /// The last change that the page may show: pass as `after` to `GET /v1/changes`, and nothing is missed in between.
    pub as_of: u64,
}

/// What changed in the list: the data of a message of `GET /v1/changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ListChange {
    /// A task is new, or its row is another.
    Task {
        /// As it is now.
        row: Box<TaskRow>,
    },
    /// A task is gone.
    Gone {
        /// Which.
        task: TaskId,
    },
    /// What changed since the caller's last message is not known any more: read the list anew.
    Reset,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttemptId, Lease, LeaseId, TurnId, Usage, Waiting, WorkerId};

    fn turn(attempt: u128, number: u32, state: State) -> Turn {
        Turn {
            id: TurnId::from_u128(u128::from(number)),
            task: TaskId::from_u128(1),
            attempt: AttemptId::from_u128(attempt),
            number,
            input: "x".into(),
            images: Vec::new(),
            created_at: Timestamp::from_micros(0),
            epoch: 0,
            tries: 0,
            cancel_requested_at: None,
            usage: Usage::default(),
            state,
        }
    }

    fn ended(outcome: Outcome) -> State {
        State::Finished(Box::new(Ended::nothing(outcome, "x", Timestamp::from_micros(9))))
    }

    fn state(turns: &[Turn]) -> TaskState {
        Standing::of(turns).unwrap().state
    }

    #[test]
    fn the_attempt_that_needs_a_person_speaks_for_the_task() {
        let until = Timestamp::from_micros(1);
        let lease = Lease { id: LeaseId::from_u128(1), worker: WorkerId::from_u128(1), epoch: 1, until };
        let running = || State::Running { lease };
        let parked = State::Parked { on: Waiting::Input, patch: None };
        assert_eq!(state(&[turn(1, 1, running()), turn(2, 1, parked)]), TaskState::Parked);
        assert_eq!(state(&[turn(1, 1, State::Queued), turn(2, 1, running())]), TaskState::Running);
        assert_eq!(
            state(&[turn(1, 1, ended(Outcome::Succeeded)), turn(1, 2, State::Queued)]),
            TaskState::Queued
        );
        let best = [turn(1, 1, ended(Outcome::Cancelled)), turn(2, 1, ended(Outcome::NoChange))];
        assert_eq!(state(&best), TaskState::NoChange);
        assert_eq!(Standing::of(&best).unwrap().ended_at, Some(Timestamp::from_micros(9)));
        assert_eq!(Standing::of(&[]), None);
    }
}
