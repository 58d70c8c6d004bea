//! The queue as people see it: where a turn stands in it, and what it waits for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MachineId, Timestamp, Turn, TurnId, WorkerId};

/// A worker as the server knows it from its calls for work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerRecord {
    /// Its id.
    pub id: WorkerId,
    /// Where it keeps the files of attempts, if it says so. Workers over one data directory share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// What it has.
    pub labels: Vec<String>,
    /// How many turns it runs at a time.
    pub slots: u32,
    /// Its program's version.
    pub version: String,
    /// When it asked for work last.
    pub last_seen: Timestamp,
    /// Turns that it has now.
    pub running: u32,
}

/// The workers that asked for work lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// Those seen last first.
    pub workers: Vec<WorkerRecord>,
}

/// What a queued turn waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Hold {
    /// The end of an earlier turn of its attempt.
    EarlierTurn,
    /// A worker: none asks for work.
    Worker,
    /// A worker that has these labels: none of those that ask for work has all of them.
    Labels {
        /// Those that no worker has, or all if each is somewhere.
        labels: Vec<String>,
    },
    /// The end of one of the user's own turns.
    OwnTurns {
        /// How many of them run.
        running: u32,
        /// How many may.
        most: u32,
    },
    /// A free slot of a worker.
    Slot,
    /// A free slot of a worker of the machine that has the attempt's files.
    Machine {
        /// Which.
        machine: MachineId,
    },
    /// The same, but no worker of it asks for work. After some time any other takes the turn.
    SilentMachine {
        /// Which.
        machine: MachineId,
        /// For how long none was heard of.
        silent_ms: u64,
        /// How long it is still waited for.
        left_ms: u64,
    },
}

/// Where a queued turn stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePlace {
    /// Which turn.
    pub turn: TurnId,
    /// Turns that go first, as things stand now.
    pub before: u32,
    /// What it waits for.
    pub hold: Hold,
    /// The same for a person.
    pub reason: String,
}

impl QueuePlace {
    /// With the sentence that goes with it.
    #[must_use]
    pub fn new(turn: TurnId, before: u32, hold: Hold) -> Self {
        let reason = match &hold {
            Hold::EarlierTurn => "waiting for the attempt's earlier turn".to_owned(),
            Hold::Worker => "no worker asks for work".to_owned(),
            Hold::Labels { labels } if labels.len() == 1 => format!("no worker has the label {}", labels[0]),
            Hold::Labels { labels } => format!("no worker has the labels {}", labels.join(", ")),
            Hold::OwnTurns { running, most } => format!("you have {running} of {most} turns running"),
            Hold::Slot => format!("waiting for a free slot: {}", line(before)),
            Hold::Machine { .. } => format!("waiting for the machine that has its files: {}", line(before)),
            Hold::SilentMachine { silent_ms, left_ms, .. } => format!(
                "the machine that has its files has not been heard of for {}; another takes it in {}",
                time(*silent_ms),
                time(*left_ms)
            ),
        };
        Self { turn, before, hold, reason }
    }
}

fn line(before: u32) -> String {
    if before == 0 { "next in line".to_owned() } else { format!("{before} before you") }
}

/// Seconds, and from two minutes on minutes, rounded up: what is said to come has come by then.
fn time(ms: u64) -> String {
    match ms.div_ceil(1000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// A turn, and where it stands in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TurnView {
    /// The turn.
    pub turn: Turn,
    /// While it is queued.
    pub queue: Option<QueuePlace>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_sentence_for_its_person() {
        let said = |before, hold| QueuePlace::new(TurnId::from_u128(1), before, hold).reason;
        assert_eq!(said(3, Hold::Slot), "waiting for a free slot: 3 before you");
        let machine = MachineId::from_u128(1);
        assert_eq!(
            said(2, Hold::Machine { machine }),
            "waiting for the machine that has its files: 2 before you"
        );
        assert_eq!(
            said(0, Hold::SilentMachine { machine, silent_ms: 119_001, left_ms: 180_001 }),
            "the machine that has its files has not been heard of for 2 min; another takes it in 4 min"
        );
        assert_eq!(
            said(0, Hold::SilentMachine { machine, silent_ms: 60_000, left_ms: 1 }),
            "the machine that has its files has not been heard of for 60 s; another takes it in 1 s"
        );
        assert_eq!(said(0, Hold::Labels { labels: vec!["gpu".into()] }), "no worker has the label gpu");
        assert_eq!(said(0, Hold::OwnTurns { running: 4, most: 4 }), "you have 4 of 4 turns running");
    }
}
