//! How a turn ended, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Limit, Patch, Timestamp, Usage, Verdict};

/// How a turn ended, with what it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The same for a person: what happened, why, what was kept, what to do.
    pub sentence: String,
    /// The patch, also a partial one of a turn that did not succeed.
    pub patch: Option<Patch>,
    /// What the declared checks showed.
    pub verdicts: Vec<Verdict>,
    /// What it spent.
    pub usage: Usage,
    /// When.
    pub at: Timestamp,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// With a patch whose declared checks hold.
    Succeeded,
    /// The agent ended in good order and changed nothing; the end of every question.
    NoChange,
    /// It did not work.
    Failed {
        /// Why.
        reason: Failure,
    },
    /// A person stopped it.
    Cancelled,
    /// It reached what it may spend.
    LimitReached {
        /// Which limit.
        limit: Limit,
    },
}

/// Why a turn failed, cut by what a person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The repository or the base could not be had.
    Checkout,
    /// The set-up script failed.
    Setup,
    /// No safe sandbox could be made, or it died.
    Sandbox,
    /// The model's provider refused the key.
    ModelAuth,
    /// The model's provider has no quota left.
    ModelQuota,
    /// The model could not be reached or broke off again and again.
    Model,
    /// The model refused the task.
    Refusal,
    /// A declared check does not hold on a clean sandbox with the patch.
    Verification,
    /// What the agent made holds the value of a secret, so it was not stored.
    Secret,
    /// The task's decoy secret showed up where it has no business, so the task was stopped.
    Decoy,
    /// The worker was lost more often than [`crate::TRIES_MAX`] allows.
    WorkerLost,
    /// A defect of ours.
    Internal,
}

impl Ended {
    /// An end that leaves nothing but a sentence.
    #[must_use]
    pub fn nothing(outcome: Outcome, sentence: impl Into<String>, at: Timestamp) -> Self {
        Self {
            outcome,
            sentence: sentence.into(),
            patch: None,
            verdicts: Vec::new(),
            usage: Usage::default(),
            at,
        }
    }
}
