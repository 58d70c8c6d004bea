use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    APPROVE_BYTES_MAX, APPROVE_MAX, Allowance, AttemptId, BlobId, Environment, EnvironmentId, Limits, TaskId,
    Timestamp, UserId, check_no_login, without_login,
};

/// Longest prompt taken, in bytes. A larger one is a file: it belongs in the repository.
pub const PROMPT_BYTES_MAX: usize = 256 * 1024;

/// Most labels of a task.
pub const LABELS_MAX: usize = 16;

/// Longest label, in bytes: a DNS name's part.
pub const LABEL_BYTES_MAX: usize = 63;

/// Which queued turn of a user goes first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// In the order of arrival.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// What a task asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A change: ends with a patch.
    #[default]
    Code,
    /// A question: the repository is read-only, ends with an answer.
    Ask,
    /// The environment, tried out: set-up, and each check once on the base. No model is asked and no agent started; ends
    /// without a patch, with the files kept for a look.
    Prepare,
}

/// How far those are trusted who brought a task about. A worker keeps what an outsider's task makes apart, in a place that no
/// other task reads, and it gets no secrets. It falls and never rises: forks and retries have their task's, and a follow-up can
/// only lower it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Those who may run tasks on the repository.
    #[default]
    Member,
    /// Somebody else, whose words or commits a member or a program hands over: a stranger's issue, comment or pull request.
    Outsider,
}

impl Trust {
    /// What holds where two have their hands in it.
    #[must_use]
    pub const fn lowered_by(self, other: Self) -> Self {
        match (self, other) {
            (Self::Member, Self::Member) => Self::Member,
            (Self::Outsider, _) | (_, Self::Outsider) => Self::Outsider,
        }
    }

    /// Whether it need not be said.
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        matches!(self, Self::Member)
    }
}

/// Whether uncommitted changes of a local repository belong to the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LocalChanges {
    /// The commit as it is.
    #[default]
    Leave,
    /// The working tree as it is, put on top of the commit as one more commit.
    Include,
}

/// Where the code comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A URL without user and password, or an absolute path on the worker's machine.
    #[schema(min_length = 1)]
    pub repository: String,
    /// Branch, tag or commit; `None`: what `HEAD` names.
    #[serde(default)]
    pub base: Option<String>,
    /// Only for a path.
    #[serde(default)]
    pub local_changes: LocalChanges,
}

/// The body of `POST /v1/tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Code or question.
    #[serde(default)]
    pub kind: Kind,
    /// What to do, in plain language; at most [`PROMPT_BYTES_MAX`] bytes.
    #[schema(min_length = 1, max_length = 262144, pattern = r"\S")]
    pub prompt: String,
    /// On which code.
    pub source: Source,
    /// `provider/model`; left out: the server's own choice, if it has one. `prepare` needs none.
    #[serde(default)]
    #[schema(pattern = "^$|/")]
    pub model: String,
    /// Independent attempts, 1–4.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 4)]
    pub attempts: u8,
    /// The recipe. Checks and set-up that the repository declares are added where this has none.
    #[serde(default)]
    pub environment: Environment,
    /// What each turn may spend.
    #[serde(default)]
    pub limits: Limits,
    /// Images for the prompt, uploaded before.
    #[serde(default)]
    pub images: Vec<BlobId>,
    /// A stored recipe. Where it says something and `environment` does not, it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// Which of one user's queued turns goes first.
    #[serde(default)]
    pub priority: Priority,
    /// What a worker must have to run it: each is one of the worker's own labels. At most [`LABELS_MAX`].
    #[serde(default)]
    pub labels: Vec<String>,
    /// What all turns of the task together may spend. It becomes the task's budget, which can be raised later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Allowance>,
    /// Whose words and commits these are. Whoever creates the task may lower it.
    #[serde(default, skip_serializing_if = "Trust::is_usual")]
    pub trust: Trust,
}

const fn one() -> u8 {
    1
}

const fn first() -> u64 {
    1
}

impl NewTask {
    /// The most attempts at one task.
    pub const ATTEMPTS_MAX: u8 = 4;

    /// One attempt at a change, all else as where nobody says more.
    #[must_use]
    pub fn new(prompt: String, source: Source, model: String) -> Self {
        Self {
            kind: Kind::default(),
            prompt,
            source,
            model,
            attempts: one(),
            environment: Environment::default(),
            limits: Limits::default(),
            images: Vec::new(),
            environment_id: None,
            priority: Priority::default(),
            labels: Vec::new(),
            budget: None,
            trust: Trust::default(),
        }
    }

    /// Says in one sentence what is wrong with the request, if anything is.
    ///
    /// # Errors
    /// The sentence, for the person who sent it.
    pub fn validate(&self) -> Result<(), String> {
        if self.prompt.trim().is_empty() {
            return Err("The prompt is empty: say what to do.".to_owned());
        }
        if self.prompt.len() > PROMPT_BYTES_MAX {
            return Err(format!(
                "The prompt has {} bytes; at most {PROMPT_BYTES_MAX} are taken. Put long material in the repository.",
                self.prompt.len()
            ));
        }
        if !(1..=Self::ATTEMPTS_MAX).contains(&self.attempts) {
            return Err(format!(
                "{} attempts were asked for; 1 to {} can be made.",
                self.attempts,
                Self::ATTEMPTS_MAX
            ));
        }
        if self.source.repository.is_empty() {
            return Err("No repository was named.".to_owned());
        }
        check_no_login(&self.source.repository)?;
        if self.trust == Trust::Outsider && self.source.local_changes == LocalChanges::Include {
            return Err("An outsider's task takes no uncommitted changes: they are not the outsider's. Start it from a commit.".to_owned());
        }
        if self.kind != Kind::Prepare && !self.model.contains('/') {
            return Err(format!("The model {:?} is not of the form provider/model.", self.model));
        }
        self.validate_labels()?;
        self.validate_approve()?;
        self.environment.validate_needs()?;
        self.environment.check_network()?;
        self.environment.check_repositories()?;
        let mut names: Vec<&str> = self.environment.checks.iter().map(|check| check.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("Two checks are named {:?}; give each its own name.", pair[0]));
        }
        Ok(())
    }

    fn validate_approve(&self) -> Result<(), String> {
        let patterns = &self.environment.approve;
        if patterns.len() > APPROVE_MAX {
            return Err(format!(
                "{} patterns for approval were named; at most {APPROVE_MAX} are taken.",
                patterns.len()
            ));
        }
        let bad = |pattern: &&String| pattern.trim().is_empty() || pattern.len() > APPROVE_BYTES_MAX;
        match patterns.iter().find(bad) {
            Some(_) => {
                Err(format!("A pattern for approval is empty or longer than {APPROVE_BYTES_MAX} bytes."))
            }
            None => Ok(()),
        }
    }

    fn validate_labels(&self) -> Result<(), String> {
        if self.labels.len() > LABELS_MAX {
            return Err(format!("{} labels were named; at most {LABELS_MAX} are taken.", self.labels.len()));
        }
        match self.labels.iter().find(|label| label.is_empty() || label.len() > LABEL_BYTES_MAX) {
            Some(label) => {
                Err(format!("The label {label:?} is empty or longer than {LABEL_BYTES_MAX} bytes."))
            }
            None => Ok(()),
        }
    }
}

/// A request for work on a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The first words of the prompt, or what a person made of it.
    pub title: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Who handed it over.
    #[serde(default = "UserId::local")]
    pub created_by: UserId,
    /// Since when it is out of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// Where its first attempt started, if not at a fresh checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Fork>,
    /// Rises with each change of title or place by a person: the ETag.
    #[serde(default = "first")]
    pub version: u64,
    /// What was asked.
    pub request: NewTask,
}

impl Task {
    /// As it is shown: one that is older than the rule may name its repository with a password.
    #[must_use]
    pub fn without_login(mut self) -> Self {
        self.request.source.repository = without_login(&self.request.source.repository);
        self
    }
}

/// A point of an attempt's log that another task's attempt started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fork {
    /// Whose log.
    pub attempt: AttemptId,
    /// The event: a snapshot.
    pub seq: u64,
}

/// One independent line of turns towards a task's goal. Owns one event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// Whose attempt.
    pub task: TaskId,
    /// 1–4 within the task.
    pub number: u8,
}

/// A title for a prompt: its first line that says something, cut at a word near 72 characters.
#[must_use]
pub fn title_of(prompt: &str) -> String {
    const CHARS_MAX: usize = 72;
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(no prompt)");
    let line = line.trim_start_matches(['#', ' ']);
    if line.chars().count() <= CHARS_MAX {
        return line.to_owned();
    }
    let cut: String = line.chars().take(CHARS_MAX - 1).collect();
    let end = cut.rfind(' ').filter(|end| *end > CHARS_MAX / 2).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_only_falls() {
        use Trust::{Member, Outsider};
        assert_eq!(Member.lowered_by(Member), Member);
        for (one, other) in [(Member, Outsider), (Outsider, Member), (Outsider, Outsider)] {
            assert_eq!(one.lowered_by(other), Outsider);
        }
    }

    #[test]
    fn an_outsider_takes_no_uncommitted_changes() {
        let source = Source { repository: "/r".into(), base: None, local_changes: LocalChanges::Include };
        let task = NewTask::new("x".into(), source, "a/b".into());
        assert_eq!(task.validate(), Ok(()));
        assert!(NewTask { trust: Trust::Outsider, ..task }.validate().is_err());
    }

    #[test]
    fn a_title_is_the_first_line_cut_at_a_word() {
        assert_eq!(title_of("\n  # Fix it\nmore"), "Fix it");
        let long = "word ".repeat(40);
        let title = title_of(&long);
        assert!(title.ends_with("word…") && title.chars().count() <= 72, "{title}");
        assert_eq!(title_of(&"ü".repeat(100)).chars().count(), 72);
    }
}
