//! Items: the visible things of a turn. A view needs nothing else to show what happened.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Decision, ItemId, MessageId, Timestamp, TurnId};

/// One visible thing in a turn. It starts, may be updated, and completes exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// Its name within the attempt.
    pub id: ItemId,
    /// The turn that made it.
    pub turn: TurnId,
    /// How far it is.
    pub status: ItemStatus,
    /// When it started.
    pub started_at: Timestamp,
    /// When it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it is.
    #[serde(flatten)]
    pub body: ItemBody,
}

impl Item {
    /// Whether it waits for a person's word. Such an item stays open over leases, until that word comes or the turn ends.
    #[must_use]
    pub const fn asks(&self) -> bool {
        matches!(self.body, ItemBody::Question { .. } | ItemBody::Approval { .. })
    }
}

/// How far an item is (the Agent Client Protocol's words, and two ends of ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// Under way.
    InProgress,
    /// Ended; a command that exits non-zero is completed too.
    Completed,
    /// Could not be done.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Lost with its worker or sandbox: what it did is unknown.
    Interrupted,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemBody {
    /// A text from the user or the model. The model's last one of a turn is its answer.
    Message {
        /// Who wrote it.
        role: Author,
        /// Markdown.
        text: String,
        /// Which of the messages to the running turn this is; nothing for the turn's own input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<MessageId>,
    },
    /// A summary of the model's thinking, where the provider gives one.
    Reasoning {
        /// Markdown.
        text: String,
    },
    /// A command in a sandbox.
    Command(CommandRun),
    /// Files changed by a tool.
    FileChange {
        /// What changed.
        changes: Vec<Change>,
        /// What the tool told the model.
        output: String,
    },
    /// Any other tool call.
    ToolCall {
        /// The tool's name.
        name: String,
        /// Its arguments as the model sent them, cut to a bounded length.
        input: String,
        /// What the model got back, cut to a bounded length.
        output: String,
    },
    /// The model's plan.
    Plan {
        /// The steps in order.
        steps: Vec<PlanStep>,
    },
    /// Instruction files (`AGENTS.md`) that were loaded, in the order of their text.
    Instructions {
        /// Paths from the root of the checkout.
        files: Vec<String>,
    },
    /// What the agent wants to know from a person. Completes with the answer.
    Question {
        /// One question, in plain words.
        text: String,
        /// Answers to choose from; another one may be given.
        options: Vec<String>,
        /// What the person said.
        answer: Option<String>,
    },
    /// An action that the agent may do only if a person says so. Completes with the decision.
    Approval {
        /// The command line, or what else is to be done.
        action: String,
        /// Why the agent wants it.
        reason: String,
        /// What the person said.
        decision: Option<Decision>,
    },
    /// Something that the user should know: a retry, a compaction, an omission, an error.
    Notice {
        /// How bad.
        level: Level,
        /// One or two sentences.
        text: String,
    },
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The user who gave the task or steers it.
    User,
    /// The model.
    Assistant,
}

/// How bad a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the record.
    Info,
    /// Something was left out or done again.
    Warning,
    /// Something failed.
    Error,
}

/// In which part of a turn a command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The recipe's set-up script.
    Setup,
    /// The recipe's start script: services, in each sandbox.
    Start,
    /// Asked for by the model.
    Agent,
    /// A check on the base commit, in a clean sandbox.
    CheckBase,
    /// A check on base + patch, in a clean sandbox.
    CheckPatched,
}

/// A command and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandRun {
    /// The command line.
    pub command: String,
    /// Directory inside the sandbox.
    pub workdir: String,
    /// In which part of the turn.
    pub phase: Phase,
    /// Standard output and error in order of arrival, invalid UTF-8 replaced, the middle cut where it was long.
    pub output: String,
    /// Bytes that the command wrote, cut or not.
    pub output_bytes: u64,
    /// `None` while it runs, and where it did not end by itself.
    pub exit_code: Option<i32>,
    /// Milliseconds from start to end.
    pub duration_ms: Option<u64>,
}

/// What a tool did to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// From the root of the checkout.
    pub path: String,
    /// What was done.
    pub kind: ChangeKind,
    /// The earlier path of a moved file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// Its content changed.
    Update,
    /// It is gone.
    Delete,
}

/// A step of the model's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// One line.
    pub step: String,
    /// How far.
    pub status: PlanStepStatus,
}

/// How far a step of the plan is. At most one is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanStepStatus {
    /// Not begun.
    Pending,
    /// Under way.
    InProgress,
    /// Done.
    Completed,
}
