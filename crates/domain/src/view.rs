//! What the API answers with beside the nouns themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Attempt, BlobId, QueuePlace, Task, Timestamp, Turn, TurnId};

/// A task with its attempts: the answer to `POST /v1/tasks` and `GET /v1/tasks/{task}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// In the order of their numbers.
    pub attempts: Vec<AttemptView>,
    /// Where its queued turns stand. Only `GET /v1/tasks/{task}` says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<QueuePlace>,
}

/// An attempt with its turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The attempt.
    pub attempt: Attempt,
    /// In order, at least one.
    pub turns: Vec<Turn>,
}

/// Files that an attempt's turns stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// In the order of the log.
    pub artifacts: Vec<Artifact>,
}

/// A blob that belongs to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// The event that tells of it.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// By which turn.
    pub turn: TurnId,
    /// A file name.
    pub name: String,
    /// Its bytes.
    pub blob: BlobId,
}

/// An error over HTTP (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for a person.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs, such as `stale_epoch`.
    pub code: String,
    /// What happened this time, why, what was kept, what to do.
    pub detail: String,
    /// Of `secret_in_blob`: which, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretAt>,
}

/// Where bytes hold the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretAt {
    /// Its name.
    pub name: String,
    /// The first byte of it, counted from 0.
    pub offset: u64,
}
