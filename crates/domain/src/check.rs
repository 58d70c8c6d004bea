//! Checks and what running them on clean sandboxes showed.
//!
//! A check is run on the base and on base + patch, each in a sandbox that the agent never touched. The judgement is a
//! pure function of the exit codes, so that anybody can recompute it from the recorded runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ItemId, Timestamp};

/// A command that must exit 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// A short name, unique in its environment.
    pub name: String,
    /// A shell command line, run at the root of the checkout.
    pub command: String,
    /// Who says that it must pass.
    #[serde(default, skip_serializing_if = "CheckOrigin::is_declared")]
    pub origin: CheckOrigin,
}

/// Who says that a check must pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOrigin {
    /// A person or the repository.
    #[default]
    Declared,
    /// Nobody: it was found by looking at the repository's files. It counts against a patch only if it passed before.
    Detected,
}

impl CheckOrigin {
    /// Whether somebody said so.
    #[must_use]
    pub const fn is_declared(&self) -> bool {
        matches!(self, Self::Declared)
    }
}

impl Check {
    /// One that somebody declared.
    #[must_use]
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self { name: name.into(), command: command.into(), origin: CheckOrigin::Declared }
    }

    /// One that was found by looking.
    #[must_use]
    pub fn detected(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self { origin: CheckOrigin::Detected, ..Self::new(name, command) }
    }
}

/// One run of a check. Its output is the command item it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckRun {
    /// The item that holds command, output and duration.
    pub item: ItemId,
    /// `None`: it did not end by itself (time-out, killed, could not start).
    pub exit_code: Option<i32>,
    /// When it started.
    pub at: Timestamp,
}

impl CheckRun {
    /// Exit code 0.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.exit_code == Some(0)
    }
}

/// What a check says of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Failed before, passes now.
    Fixed,
    /// Passed before, fails now.
    Broken,
    /// Failed before and fails now.
    StillFailing,
    /// Passed before and passes now.
    Passing,
    /// Runs of the same tree disagree.
    Flaky,
}

/// A check, its runs and the judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// What was run.
    pub check: Check,
    /// Runs on the base commit, at least one.
    pub base: Vec<CheckRun>,
    /// Runs on base + patch, at least one.
    pub patched: Vec<CheckRun>,
    /// What they show.
    pub judgement: Judgement,
}

impl Verdict {
    /// Judges the runs. An empty side counts as failed: nothing was shown.
    #[must_use]
    pub fn new(check: Check, base: Vec<CheckRun>, patched: Vec<CheckRun>) -> Self {
        let judgement = match (agreed(&base), agreed(&patched)) {
            (_, None) | (None, _) => Judgement::Flaky,
            (Some(false), Some(true)) => Judgement::Fixed,
            (Some(true), Some(false)) => Judgement::Broken,
            (Some(false), Some(false)) => Judgement::StillFailing,
            (Some(true), Some(true)) => Judgement::Passing,
        };
        Self { check, base, patched, judgement }
    }

    /// Whether the patch may be called verified as far as this check goes.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self.judgement, Judgement::Fixed | Judgement::Passing)
    }

    /// Whether it speaks against the patch. One that nobody declared does so only if the patch broke it: what fails anyway
    /// may be the fault of how it is run.
    #[must_use]
    pub const fn objects(&self) -> bool {
        match self.check.origin {
            CheckOrigin::Declared => !self.holds(),
            CheckOrigin::Detected => matches!(self.judgement, Judgement::Broken),
        }
    }
}

/// `None` if the runs disagree.
fn agreed(runs: &[CheckRun]) -> Option<bool> {
    let first = runs.first().is_some_and(CheckRun::passed);
    runs.iter().all(|run| run.passed() == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(codes: &[i32]) -> Vec<CheckRun> {
        codes
            .iter()
            .map(|code| CheckRun {
                item: ItemId::new(1),
                exit_code: Some(*code),
                at: Timestamp::from_micros(0),
            })
            .collect()
    }

    #[test]
    fn the_judgement_follows_from_the_exit_codes() {
        let judge = |base: &[i32], patched: &[i32]| {
            let check = Check::new("t", "t");
            Verdict::new(check, runs(base), runs(patched)).judgement
        };
        assert_eq!(judge(&[1], &[0]), Judgement::Fixed);
        assert_eq!(judge(&[0], &[1, 1]), Judgement::Broken);
        assert_eq!(judge(&[1], &[2, 2]), Judgement::StillFailing);
        assert_eq!(judge(&[0], &[0]), Judgement::Passing);
        assert_eq!(judge(&[0], &[1, 0]), Judgement::Flaky);
        assert_eq!(judge(&[0, 1], &[0]), Judgement::Flaky);
        assert_eq!(judge(&[0], &[]), Judgement::Broken);
    }
}
