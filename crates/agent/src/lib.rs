//! The agent: the loop, the tools and the model's context.
//!
//! It touches a model, a sandbox and a [`Timeline`], nothing else: no HTTP, no database, no host file, no environment
//! variable. It runs outside the sandbox; what it does inside goes through the sandbox's handle.

mod answer;
pub mod apply_patch;
mod breaker;
mod calls;
mod compact;
mod context;
#[doc(hidden)]
pub mod fuzz;
mod history;
mod limits;
mod purse;
mod resume;
mod timeline;
mod tools;
mod trace;
mod turn;

use std::sync::Arc;
use std::time::Instant;

use legwork_domain::{Check, Kind, Limit, Limits, Message, NetworkPolicy, Usage, Waiting};
use legwork_model::Model;
use legwork_sandbox::Sandbox;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use purse::{Grant, Purse, Wish};
pub use timeline::{Telling, Timeline, Watch, now};
pub use turn::run_turn;

/// What one turn needs.
pub struct Job {
    /// Who thinks.
    pub model: Arc<dyn Model>,
    /// Where it works.
    pub sandbox: Arc<dyn Sandbox>,
    /// Where it tells what happens.
    pub timeline: Timeline,
    /// Code or question.
    pub kind: Kind,
    /// What was before this lease.
    pub past: Past,
    /// What the user says now.
    pub input: String,
    /// Images with it, as `data:` URLs.
    pub images: Vec<String>,
    /// What the model is told beside the input.
    pub brief: Brief,
    /// Patterns of commands that need a person's yes.
    pub approve: Vec<String>,
    /// What it may spend.
    pub limits: Limits,
    /// Since when it is worked on under this one.
    pub started: Instant,
    /// Names the conversation to the provider's cache.
    pub cache_key: String,
    /// Who must be asked before a request to the model is paid for; `None`: nobody.
    pub purse: Option<Arc<dyn Purse>>,
    /// What the user says while it works, and before it all answers to what it asked.
    pub messages: mpsc::Receiver<Message>,
    /// Ends the turn: open calls get a result, then [`Stop::Cancelled`].
    pub cancel: CancellationToken,
}

/// What the model is told beside the input.
#[derive(Clone, Debug, Default)]
pub struct Brief {
    /// What must hold in the end; repeated after a compaction.
    pub checks: Vec<Check>,
    /// What its commands can reach.
    pub network: NetworkPolicy,
    /// What to know of the environment, a line each; said once, before the task.
    pub notes: Vec<String>,
}

/// What a turn looks back on when it is taken up.
#[derive(Clone, Debug)]
pub struct Past {
    /// The context so far, of earlier turns and of this one if it began under an earlier lease, as this crate wrote it to
    /// the log.
    pub history: Vec<serde_json::Value>,
    /// What became of the files since.
    pub files: Files,
    /// What the turn spent.
    pub spent: Usage,
}

/// What the files of the sandbox are to the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As its calls left them.
    Kept,
    /// As they were after so many of its entries; what later calls did to them is lost.
    AsOf(usize),
    /// On another machine, as a patch holds them that was made after so many of its entries. What no patch holds is lost.
    Carried(usize),
}

/// Why the agent stopped, and what it spent over all leases.
#[derive(Debug)]
pub struct Report {
    /// Why.
    pub stop: Stop,
    /// How much.
    pub usage: Usage,
}

/// Why the agent stopped.
#[derive(Debug)]
pub enum Stop {
    /// The model said its last word.
    EndTurn {
        /// It.
        answer: String,
    },
    /// The model refuses the task.
    Refusal {
        /// What it said.
        answer: String,
    },
    /// It cannot go on without a person. What it waits for stands in the log; a later lease goes on from there.
    Parked {
        /// For what.
        on: Waiting,
    },
    /// Somebody cancelled.
    Cancelled,
    /// A limit; `detail` says what was seen (for [`Limit::NoProgress`] both states).
    Limit {
        /// Which.
        limit: Limit,
        /// For a person.
        detail: String,
    },
    /// The model gave no answer.
    Model(legwork_model::Error),
    /// The sandbox died.
    Sandbox(legwork_sandbox::Error),
}
