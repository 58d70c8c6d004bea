//! The event log: the one record of an attempt. Every view replays it; the model's context is rebuilt from it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AttemptId, BlobId, Connection, Item, ItemId, LaidRepository, Patch, Saved, State, Timestamp, TurnId,
    Usage, Verdict,
};

/// A row of an attempt's log. `seq` runs 1, 2, 3, … without gap or repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the attempt's log, from 1.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Whose log it is in.
    pub attempt: AttemptId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. Look for an item kind before adding another of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A turn changed its state. The first event of each turn is this one with `queued`.
    State {
        /// Which turn.
        turn: TurnId,
        /// Its new state.
        state: State,
    },
    /// The checkout stands; later patches are against this commit.
    Base {
        /// Which turn made it.
        turn: TurnId,
        /// Full object id.
        commit: String,
        /// Full object id of its tree.
        tree: String,
        /// What the user asked for, when it was a name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The digest of the base image that all of the attempt stands on, whatever its name stands for later; none: the
        /// worker's own system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// What is laid beside it, at which commits; later turns have the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repositories: Vec<LaidRepository>,
    },
    /// An item began.
    ItemStarted {
        /// As it stands.
        item: Item,
    },
    /// More of an item's text or output.
    ItemUpdated {
        /// Which item.
        item: ItemId,
        /// Text to append.
        delta: String,
    },
    /// An item ended; this is its final form, whole.
    ItemCompleted {
        /// As it stands.
        item: Item,
    },
    /// The turn's spending so far.
    Usage {
        /// Which turn.
        turn: TurnId,
        /// The sum over the turn.
        usage: Usage,
    },
    /// The model's context grew or was replaced. Opaque to all but the agent; views skip it.
    Context {
        /// Which turn.
        turn: TurnId,
        /// What changed.
        #[serde(flatten)]
        context: Context,
    },
    /// The files as they are now: frozen, or frozen and worked on since.
    Snapshot {
        /// Which turn.
        turn: TurnId,
        /// The backend's names for the frozen layers, lowest first.
        layers: Vec<String>,
        /// The sandbox that stands on them from now on. What it leaves if its worker dies is found by this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live: Option<String>,
        /// What the server has of these files, where no event before says so: in a fork's log, or where none differs from
        /// the base.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<Saved>,
    },
    /// A patch was saved.
    Patch {
        /// Which turn.
        turn: TurnId,
        /// The patch.
        patch: Patch,
    },
    /// A check was judged.
    Verdict {
        /// Which turn.
        turn: TurnId,
        /// The judgement with its runs.
        verdict: Verdict,
    },
    /// A blob that belongs to the attempt was stored (an image, a full output).
    Artifact {
        /// Which turn.
        turn: TurnId,
        /// A file name.
        name: String,
        /// Its bytes.
        blob: BlobId,
    },
    /// Something left the sandbox, or was kept from it.
    Connection {
        /// Which turn.
        turn: TurnId,
        /// What.
        connection: Connection,
    },
}

/// A change of the model's context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Context {
    /// What the entries are to what was there.
    pub change: ContextChange,
    /// Opaque entries in the agent's own form.
    #[schema(value_type = Vec<Object>)]
    pub entries: Vec<serde_json::Value>,
}

/// What new context entries are to the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextChange {
    /// They follow what was there.
    Append,
    /// Compaction: they are all there is now.
    Replace,
}

impl Context {
    /// Applies the change to `history`.
    pub fn apply(self, history: &mut Vec<serde_json::Value>) {
        match self.change {
            ContextChange::Append => history.extend(self.entries),
            ContextChange::Replace => *history = self.entries,
        }
    }
}
