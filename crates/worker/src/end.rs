//! The sentences that a turn can end with: what happened, why, what was kept, what to do.

use legwork_domain::{DiffStat, Failure, Judgement, Kind, Limit, Outcome, Verdict};
use legwork_model::Error as ModelError;

use crate::setup::Fault;

/// An end, before what was spent and kept is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) sentence: String,
}

impl End {
    pub(crate) fn failed(reason: Failure, sentence: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed { reason }, sentence: sentence.into() }
    }

    /// The repository or the base could not be had.
    pub(crate) fn checkout(why: impl std::fmt::Display) -> Self {
        let sentence =
            format!("No checkout could be made: {}. Nothing was changed.", stripped(&why.to_string()));
        Self::failed(Failure::Checkout, sentence)
    }

    /// A set-up that somebody asked for failed.
    pub(crate) fn setup(fault: &Fault) -> Self {
        let mend = fault.mend.as_deref().map(|mend| format!(" {mend}")).unwrap_or_default();
        let sentence = format!(
            "{}{mend} The agent was not started; mend the script (its whole output is {}), and try it: legwork env test",
            fault.words, fault.item
        );
        Self::failed(Failure::Setup, sentence)
    }

    /// No sandbox, or it died.
    pub(crate) fn sandbox(error: &legwork_sandbox::Error) -> Self {
        let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
        let sentence = format!(
            "The sandbox failed: {}{cause}. What was recorded is kept; `legwork doctor` says what this machine lacks.",
            stripped(&error.to_string())
        );
        Self::failed(Failure::Sandbox, sentence)
    }

    /// A defect of ours, or a disk that does not take what must be kept.
    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        let sentence =
            format!("{what}. What was recorded is kept; please report it, and run the task again.");
        Self::failed(Failure::Internal, sentence)
    }

    /// The patch holds the value of a secret.
    pub(crate) fn secret(name: &str, path: Option<&str>) -> Self {
        let place = path.map(|path| format!(", in {path}")).unwrap_or_default();
        let sentence = format!(
            "The patch holds the value of the secret {name}{place}, so it was not stored. The files are kept as the agent left them: \
             ask it to take the value out (legwork task send), and the patch is made again."
        );
        Self::failed(Failure::Secret, sentence)
    }

    /// The task's decoy was seen where it has no business.
    pub(crate) fn decoy(place: &str) -> Self {
        let sentence = format!(
            "The task was stopped: its decoy secret, which nothing has a reason to touch, showed up in {}. Something in it looks for \
             secrets. What was done so far is kept; look at what it ran, and at what its repository and prompt told it, before you go on.",
            stripped(place)
        );
        Self::failed(Failure::Decoy, sentence)
    }

    pub(crate) fn cancelled() -> Self {
        Self { outcome: Outcome::Cancelled, sentence: "Cancelled. What was done so far is kept.".to_owned() }
    }

    pub(crate) fn limit(limit: Limit, detail: &str) -> Self {
        let sentence = format!(
            "Stopped at a limit: {}. What was done so far is kept; raise the limit to go on.",
            stripped(detail)
        );
        Self { outcome: Outcome::LimitReached { limit }, sentence }
    }

    pub(crate) fn model(error: &ModelError) -> Self {
        let (reason, advice) = match error {
            ModelError::Auth { .. } => (Failure::ModelAuth, "check the provider's key"),
            ModelError::Quota { .. } => (Failure::ModelQuota, "raise the quota or use another model"),
            ModelError::Config(_) => (Failure::Model, "mend the configuration; `legwork doctor` checks it"),
            ModelError::ContextOverflow { .. } => {
                (Failure::Model, "use a model with a larger context or a smaller task")
            }
            ModelError::Rejected { .. } => (Failure::Model, "see whether the provider has that model"),
            ModelError::Unavailable { .. } => {
                (Failure::Model, "see the provider's status, then run the task again")
            }
        };
        let sentence = format!(
            "The model gave no answer: {}. What was done so far is kept; {advice}.",
            stripped(&error.to_string())
        );
        Self::failed(reason, sentence)
    }

    pub(crate) fn refusal() -> Self {
        let sentence =
            "The model refuses the task; its words are recorded. Ask in another way or use another model.";
        Self::failed(Failure::Refusal, sentence)
    }

    /// The agent ended in good order: the checks decide.
    pub(crate) fn done(kind: Kind, stat: Option<DiffStat>, verdicts: &[Verdict]) -> Self {
        let failing: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.objects()).collect();
        if !failing.is_empty() {
            return Self::verification(stat, &failing);
        }
        let holding = verdicts.iter().filter(|verdict| verdict.holds()).count();
        let checks = match holding {
            0 if !verdicts.is_empty() => {
                "the tests that were detected do not pass without the patch either, so nothing is verified"
                    .to_owned()
            }
            0 => "no check was declared, so nothing is verified".to_owned(),
            1 => "its check holds on a clean sandbox".to_owned(),
            n => format!("its {n} checks hold on clean sandboxes"),
        };
        let (outcome, sentence) = match (kind, stat) {
            (Kind::Ask | Kind::Prepare, _) => (Outcome::NoChange, "Answered.".to_owned()),
            (Kind::Code, None) if verdicts.is_empty() => {
                (Outcome::NoChange, "The agent ended and changed nothing.".to_owned())
            }
            (Kind::Code, None) => (
                Outcome::NoChange,
                "The agent ended and changed nothing; the checks hold as it is.".to_owned(),
            ),
            (Kind::Code, Some(stat)) => (Outcome::Succeeded, format!("Done: {}; {checks}.", size(stat))),
        };
        Self { outcome, sentence }
    }

    fn verification(stat: Option<DiffStat>, failing: &[&Verdict]) -> Self {
        let named: Vec<String> = failing
            .iter()
            .map(|verdict| format!("{} is {}", verdict.check.name, word(verdict.judgement)))
            .collect();
        let kept = stat.map_or_else(
            || "Nothing was changed".to_owned(),
            |stat| format!("The patch ({}) is kept", size(stat)),
        );
        let sentence = format!(
            "Verification failed on clean sandboxes: {}. {kept}; see the recorded output of the runs.",
            named.join(", ")
        );
        Self::failed(Failure::Verification, sentence)
    }
}

fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Fixed => "fixed",
        Judgement::Broken => "broken by the patch",
        Judgement::StillFailing => "still failing",
        Judgement::Passing => "passing",
        Judgement::Flaky => "flaky",
    }
}

fn size(stat: DiffStat) -> String {
    let files = if stat.files == 1 { "1 file".to_owned() } else { format!("{} files", stat.files) };
    format!("{files}, +{} −{}", stat.added, stat.removed)
}

/// Without the full stop that the sentence around it brings.
pub(crate) fn stripped(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use legwork_domain::{Check, CheckRun, ItemId, Timestamp};

    fn verdict(base: i32, patched: i32) -> Verdict {
        let run =
            |code| CheckRun { item: ItemId::new(1), exit_code: Some(code), at: Timestamp::from_micros(0) };
        Verdict::new(Check::new("t", "t"), vec![run(base)], vec![run(patched)])
    }

    #[test]
    fn ends_say_what_happened_and_what_was_kept() {
        let stat = Some(DiffStat { files: 2, added: 3, removed: 1 });
        let say = |end: End| end.sentence;
        insta::assert_snapshot!(say(End::done(Kind::Code, stat, &[verdict(1, 0)])), @"Done: 2 files, +3 −1; its check holds on a clean sandbox.");
        insta::assert_snapshot!(say(End::done(Kind::Code, stat, &[])), @"Done: 2 files, +3 −1; no check was declared, so nothing is verified.");
        insta::assert_snapshot!(say(End::done(Kind::Code, stat, &[verdict(0, 1)])), @"Verification failed on clean sandboxes: t is broken by the patch. The patch (2 files, +3 −1) is kept; see the recorded output of the runs.");
        insta::assert_snapshot!(say(End::done(Kind::Code, None, &[verdict(1, 1)])), @"Verification failed on clean sandboxes: t is still failing. Nothing was changed; see the recorded output of the runs.");
        insta::assert_snapshot!(say(End::limit(Limit::WallTime, "2 h of wall time are over.")), @"Stopped at a limit: 2 h of wall time are over. What was done so far is kept; raise the limit to go on.");
        assert_eq!(End::done(Kind::Ask, None, &[]).outcome, Outcome::NoChange);
    }
}
