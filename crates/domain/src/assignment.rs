//! What worker and server say to each other. Four calls: lease, events, finish, blob.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Attempt, BlobId, Ended, EventKind, HandedSecret, LaidRepository, Lease, LeaseId, MachineId, Message,
    Saved, Task, TaskId, Timestamp, Transition, Turn, WorkerId,
};

/// The body of `POST /v1/leases`: a worker asks for work and waits up to `wait_ms` for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Where it keeps the files of attempts: turns that go on from files there come here first. `None`: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// How long the call may wait, at most 30,000.
    pub wait_ms: u64,
    /// Only turns of this task; `None`: of any. A command that runs one task in its own process asks so, since
    /// it ends with that task and would strand the turns of others.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// What this worker has: it gets only turns whose labels are all among these.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How many turns it runs at a time.
    #[serde(default)]
    pub slots: u32,
    /// Its program's version.
    #[serde(default)]
    pub version: String,
    /// How long it keeps the files of attempts that nothing uses, for who goes on from them; `None`: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_ms: Option<u64>,
}

impl LeaseRequest {
    /// One that takes a turn of any task without labels, waits for none, and says nothing of files.
    #[must_use]
    pub const fn of(worker: WorkerId) -> Self {
        Self {
            worker,
            machine: None,
            wait_ms: 0,
            task: None,
            labels: Vec::new(),
            slots: 1,
            version: String::new(),
            keeps_ms: None,
        }
    }
}

/// What an attempt stands on: once a turn has made the checkout, its later turns stand on the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pins {
    /// The commit that the attempt's patches are against.
    #[serde(rename = "base_commit")]
    pub commit: Option<String>,
    /// The digest of the base image, if it is one.
    #[serde(default, rename = "base_image", skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How often the caches of the repository were reset. What was made before the last time is not used.
    #[serde(default)]
    pub generation: u64,
    /// What is laid beside the checkout, once it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<LaidRepository>,
}

/// Everything that a worker needs to run one turn; there are no further look-ups but blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// The right to run it.
    pub lease: Lease,
    /// What was asked.
    pub task: Task,
    /// Which attempt.
    pub attempt: Attempt,
    /// Which turn, with its input.
    pub turn: Turn,
    /// The model's context so far, rebuilt from the log.
    #[schema(value_type = Vec<Object>)]
    pub history: Vec<serde_json::Value>,
    /// What the attempt stands on.
    #[serde(flatten)]
    pub pins: Pins,
    /// The frozen layers that the attempt's last snapshot names, lowest first.
    #[serde(default)]
    pub layers: Vec<String>,
    /// How many entries of `history` these layers have seen. What calls after them did to files is in `live`, or lost.
    #[serde(default)]
    pub layers_at: u64,
    /// The sandbox that stood on `layers` when its worker was lost. Whoever finds what it left goes on from there.
    #[serde(default)]
    pub live: Option<String>,
    /// What the server has of the attempt's files, for a worker that does not find `layers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
    /// How many entries of `history` these have seen.
    #[serde(default)]
    pub saved_at: u64,
    /// What was said to the turn and was not heard yet, in order.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// The values of the secrets that the task's recipe uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<HandedSecret>,
    /// The number for the next item.
    pub next_item: u32,
    /// Whether the worker must reserve what each model request may cost.
    #[serde(default)]
    pub spending: Bounds,
}

/// Whether a budget bounds what a turn spends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// No budget does: nothing needs to be reserved.
    #[default]
    Free,
    /// At least one does: `POST /v1/turns/{turn}/reserve` comes before each request to the model.
    Budgeted,
}

/// An event as a worker sends it; the store gives it its seq.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewEvent {
    /// When it was made, by the worker's clock.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The body of `POST /v1/turns/{turn}/events`: log, heartbeat and state in one call.
///
/// `first` numbers the events of this lease from 0; a batch that was already stored is answered as if it were new.
/// A batch may be empty: it is then a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventBatch {
    /// The worker's epoch.
    pub epoch: u64,
    /// The worker's lease. A database that was restored gives an epoch a second time, never a lease. Not compared if `None`.
    #[serde(default)]
    pub lease: Option<LeaseId>,
    /// The number of the first event within this lease, from 0.
    pub first: u64,
    /// In order, at most 1,000.
    pub events: Vec<NewEvent>,
    /// A move of the state machine that comes after these events (`prepare`, `run`, `wait`, `park`, `release`).
    #[serde(default)]
    pub transition: Option<Transition>,
}

/// The reply to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Until when the lease holds now.
    pub until: Timestamp,
    /// What the worker must do.
    pub directives: Vec<Directive>,
}

/// Something that the server wants of the worker that runs a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "directive", rename_all = "snake_case")]
pub enum Directive {
    /// Stop, save the partial patch, finish as cancelled.
    Cancel,
    /// Hear this. Said again with each reply until the log shows the message's id.
    Hear {
        /// What was said.
        message: Message,
    },
    /// A budget was set since the turn was leased: from now on reserve before each model request. Said after each
    /// `usage` event for as long as there is one.
    Reserve,
}

/// The body of `POST /v1/turns/{turn}/finish`: the last events and the end, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finish {
    /// The worker's epoch.
    pub epoch: u64,
    /// The worker's lease. A database that was restored gives an epoch a second time, never a lease. Not compared if `None`.
    #[serde(default)]
    pub lease: Option<LeaseId>,
    /// The number of the first event within this lease.
    pub first: u64,
    /// The last events.
    pub events: Vec<NewEvent>,
    /// How it ended.
    pub ended: Ended,
    /// Blobs that the events name and that must be stored already.
    #[serde(default)]
    pub blobs: Vec<BlobId>,
}
