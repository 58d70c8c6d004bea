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
            let check = Check { name: "t".into(), command: "t".into() };
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
