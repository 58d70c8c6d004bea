//! What people do to a task beside its turns: name it, put it away, have its work done again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Task, Timestamp};

/// Longest title, in bytes: a line of a list.
pub const TITLE_BYTES_MAX: usize = 200;

/// The body of `PATCH /v1/tasks/{task}`. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskChange {
    /// One line of 1 to 200 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it is out of the list. It goes on all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
}

impl TaskChange {
    /// Says in one sentence what is wrong with the change, if anything is.
    ///
    /// # Errors
    /// The sentence, for the person who sent it.
    pub fn validate(&self) -> Result<(), String> {
        let Some(title) = &self.title else { return Ok(()) };
        if title.trim().is_empty() || title.len() > TITLE_BYTES_MAX {
            return Err(format!("A title has 1 to {TITLE_BYTES_MAX} bytes, and not blanks alone."));
        }
        if title.chars().any(char::is_control) {
            return Err("A title is one line, without control characters.".to_owned());
        }
        Ok(())
    }
}

impl Task {
    /// The task with the change: its next version, or as it is if nothing differs. What is archived again keeps its time.
    #[must_use]
    pub fn changed(&self, change: &TaskChange, now: Timestamp) -> Self {
        let title = change.title.as_deref().map_or(self.title.as_str(), str::trim).to_owned();
        let archived_at = match change.archived {
            Some(true) => self.archived_at.or(Some(now)),
            Some(false) => None,
            None => self.archived_at,
        };
        if title == self.title && archived_at == self.archived_at {
            return self.clone();
        }
        Self { title, archived_at, version: self.version.saturating_add(1), ..self.clone() }
    }
}

/// What a retry starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryFrom {
    /// The files and the history that the attempt has now.
    #[default]
    Left,
    /// A fresh checkout of the attempt's base, and no history.
    Fresh,
}

/// The body of `POST /v1/attempts/{attempt}/retry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// What it starts from.
    pub from: RetryFrom,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalChanges, NewTask, Source, TaskId, UserId};

    fn task() -> Task {
        let source = Source { repository: "/r".into(), base: None, local_changes: LocalChanges::Leave };
        Task {
            id: TaskId::from_u128(1),
            title: "old".into(),
            created_at: Timestamp::from_micros(1),
            created_by: UserId::LOCAL,
            archived_at: None,
            forked_from: None,
            version: 1,
            request: NewTask::new("x".into(), source, "a/b".into()),
        }
    }

    #[test]
    fn a_change_that_changes_nothing_is_no_version() {
        let [early, late] = [2, 3].map(Timestamp::from_micros);
        let change = TaskChange { title: Some(" new ".into()), archived: Some(true) };
        let next = task().changed(&change, early);
        assert_eq!((next.title.as_str(), next.archived_at, next.version), ("new", Some(early), 2));
        assert_eq!(next.changed(&change, late), next);
        assert_eq!(next.changed(&TaskChange::default(), late), next);
        let back = next.changed(&TaskChange { title: None, archived: Some(false) }, late);
        assert_eq!((back.archived_at, back.version), (None, 3));
    }

    #[test]
    fn a_title_is_one_line() {
        let refused =
            |title: &str| TaskChange { title: Some(title.into()), archived: None }.validate().is_err();
        assert!(refused(" ") && refused("a\nb") && refused(&"x".repeat(TITLE_BYTES_MAX + 1)));
        assert!(!refused("Fix the ü") && TaskChange::default().validate().is_ok());
    }
}
