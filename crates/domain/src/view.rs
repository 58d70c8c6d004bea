//! What the API answers with beside the nouns themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Attempt, Task, Turn};

/// A task with its attempts: the answer to `POST /v1/tasks` and `GET /v1/tasks/{task}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// In the order of their numbers.
    pub attempts: Vec<AttemptView>,
}

/// An attempt with its turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The attempt.
    pub attempt: Attempt,
    /// In order, at least one.
    pub turns: Vec<Turn>,
}

/// A list of tasks, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// The page.
    pub tasks: Vec<TaskView>,
    /// For the next page: pass as `cursor`. `None`: this was the last.
    pub next: Option<String>,
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
}
