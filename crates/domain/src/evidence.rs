//! What a final message claims, and whether the log proves it.
//!
//! Models say "all tests pass" whether or not they ran any. A claim counts as proven only by a recorded command of the
//! agent that exited 0 *after* the last edit; the reader sees the claim with its item, or marked as unproven. An edit is
//! also a command that may have changed files: a `sed -i` after the tests takes their proof away.

mod command;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Item, ItemBody, ItemId, ItemStatus, Phase};

/// A claim in the final message that commands or tests succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestClaim {
    /// The sentence that claims it.
    pub sentence: String,
    /// What the log says.
    pub proof: Proof,
}

/// What the log says of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// These commands exited 0 after the last edit.
    Proven {
        /// The commands' items.
        items: Vec<ItemId>,
    },
    /// Nothing recorded shows it.
    Unproven {
        /// Why, in one sentence.
        why: String,
    },
}

impl TestClaim {
    /// The claims of success in `answer`, each held against the turn's completed `items`, in the order of their ids.
    #[must_use]
    pub fn find(answer: &str, items: &[Item]) -> Vec<Self> {
        sentences(answer)
            .filter(|sentence| claims_success(sentence))
            .map(|sentence| Self { sentence: sentence.to_owned(), proof: prove(sentence, items) })
            .collect()
    }
}

/// Splits at line ends and at full stops that end a word.
fn sentences(answer: &str) -> impl Iterator<Item = &str> {
    answer
        .lines()
        .flat_map(|line| line.split_inclusive(". "))
        .map(|sentence| sentence.trim_matches([' ', '-', '*', '#', '>']))
        .filter(|sentence| !sentence.is_empty())
}

/// Words that name a check, and words that say that it went well; a claim has one of each.
const CHECK_WORDS: [&str; 14] = [
    "test",
    "check",
    "build",
    "compile",
    "clippy",
    "lint",
    "suite",
    "typecheck",
    "benchmark",
    "specs",
    "regression",
    "everything",
    "ci ",
    "verified",
];
const SUCCESS_WORDS: [&str; 21] = [
    "pass",
    "succeed",
    "success",
    "green",
    "works",
    "clean",
    "no error",
    "no failure",
    "without error",
    "without fail",
    "all ok",
    "is ok",
    "are ok",
    "exit 0",
    "exits 0",
    "exited 0",
    "exit code 0",
    "no regression",
    "no longer fail",
    "0 fail",
    "verified",
];
/// Whole claims by themselves.
const CLAIMS: [&str; 4] = ["all pass", "all green", "now pass", "both pass"];
/// Words that, before a word of success, turn the claim into something else.
const DENIALS: [&str; 13] = [
    "not ", "n't ", "n’t ", "fail to", "cannot", "could ", "should ", "would ", "unable", "until ",
    "whether", "never ", "if ",
];
/// Where a new thought begins, which a denial in the one before does not touch.
const TURNS: [&str; 6] = [";", " but ", ", and ", " and all ", " and the ", " although "];

fn claims_success(sentence: &str) -> bool {
    let mut lower = sentence.to_lowercase().replace("unverified", "");
    let names_check = CHECK_WORDS.iter().any(|word| lower.contains(word));
    for turn in TURNS {
        lower = lower.replace(turn, "\n");
    }
    let words = SUCCESS_WORDS.iter().filter(|_| names_check).chain(&CLAIMS);
    let affirmed = |thought: &str, word: &str| {
        thought.find(word).is_some_and(|at| !DENIALS.iter().any(|denial| thought[..at].contains(denial)))
    };
    words.into_iter().any(|word| lower.lines().any(|thought| affirmed(thought, word)))
}

fn prove(sentence: &str, items: &[Item]) -> Proof {
    let cited = cited(sentence);
    if let Some(missing) = cited.iter().find(|id| !items.iter().any(|item| item.id == **id)) {
        return Proof::Unproven { why: format!("It cites {missing}, which the log does not hold.") };
    }
    let last_edit = items.iter().rev().find(|item| edits(item));
    let meant = |item: &&Item| cited.is_empty() || cited.contains(&item.id);
    let good: Vec<&Item> = items.iter().filter(meant).filter(|item| succeeded(item)).collect();
    // A line that changes and then checks proves what it made.
    let after = |item: &&&Item| last_edit.is_none_or(|edit| item.id >= edit.id);
    let proof: Vec<ItemId> = good.iter().filter(after).map(|item| item.id).collect();
    if !proof.is_empty() {
        return Proof::Proven { items: proof };
    }
    let last = good.last().map(|item| item.id);
    let unclear = items.iter().rev().filter(meant).find(|item| exited_unclear(item)).map(|item| item.id);
    Proof::Unproven { why: why(last, last_edit, unclear.filter(|id| last.is_none_or(|last| *id > last))) }
}

/// Why nothing proves a claim: the last check that exited 0, the last edit, a later one whose exit code tells nothing.
fn why(good: Option<ItemId>, edit: Option<&Item>, unclear: Option<ItemId>) -> String {
    match (good, edit, unclear) {
        (_, _, Some(id)) => {
            format!("The exit code of {id} is not that of its check (a pipe, `;` or `||` hides it).")
        }
        (Some(good), Some(Item { id, body: ItemBody::Command(_), .. }), None) => {
            format!("{good} exited 0, but {id} may have changed files after it.")
        }
        (Some(good), Some(edit), None) => {
            format!("{good} exited 0, but {} changed files after it.", edit.id)
        }
        (None, Some(edit), None) => {
            format!("No check that exited 0 is recorded after the last edit ({}).", edit.id)
        }
        (_, None, None) => "No check that exited 0 is recorded.".to_owned(),
    }
}

/// Whether the item changed files or may have.
fn edits(item: &Item) -> bool {
    match &item.body {
        ItemBody::FileChange { .. } => true,
        ItemBody::Command(run) => run.phase == Phase::Agent && command::effect(&run.command).changes,
        ItemBody::Message { .. }
        | ItemBody::Reasoning { .. }
        | ItemBody::ToolCall { .. }
        | ItemBody::Plan { .. }
        | ItemBody::Instructions { .. }
        | ItemBody::Question { .. }
        | ItemBody::Approval { .. }
        | ItemBody::Notice { .. } => false,
    }
}

fn succeeded(item: &Item) -> bool {
    exited_0(item).is_some_and(|effect| effect.proves)
}

fn exited_unclear(item: &Item) -> bool {
    exited_0(item).is_some_and(|effect| effect.checks && !effect.proves && !effect.changes)
}

/// What a command of the agent did that exited 0.
fn exited_0(item: &Item) -> Option<command::Effect> {
    let ItemBody::Command(run) = &item.body else { return None };
    let good = item.status == ItemStatus::Completed && run.phase == Phase::Agent && run.exit_code == Some(0);
    good.then(|| command::effect(&run.command))
}

fn cited(sentence: &str) -> Vec<ItemId> {
    sentence
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, ChangeKind, CommandRun, Timestamp, TurnId};

    fn item(n: u32, body: ItemBody) -> Item {
        let at = Timestamp::from_micros(0);
        let (id, turn) = (ItemId::new(n), TurnId::from_u128(1));
        Item { id, turn, status: ItemStatus::Completed, started_at: at, ended_at: Some(at), body }
    }

    fn command(n: u32, command: &str, exit_code: i32) -> Item {
        let run = CommandRun {
            command: command.into(),
            workdir: "/workspace".into(),
            phase: Phase::Agent,
            output: String::new(),
            output_bytes: 0,
            exit_code: Some(exit_code),
            duration_ms: Some(1),
        };
        item(n, ItemBody::Command(run))
    }

    fn edit(n: u32) -> Item {
        let change = Change { path: "a.rs".into(), kind: ChangeKind::Update, moved_from: None };
        item(n, ItemBody::FileChange { changes: vec![change], output: String::new() })
    }

    #[test]
    fn a_run_after_the_last_edit_proves_the_claim() {
        let items = [edit(1), command(2, "cargo test", 0)];
        let claims = TestClaim::find("Fixed it.\nAll tests pass.", &items);
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].proof, Proof::Proven { items: vec![ItemId::new(2)] });
    }

    #[test]
    fn a_run_before_the_last_edit_proves_nothing() {
        for items in [
            vec![command(1, "cargo test", 0), edit(2)],
            vec![edit(1), command(2, "cargo test", 1)],
            vec![edit(1), command(2, "ls tests", 0)],
        ] {
            let claims = TestClaim::find("All tests pass.", &items);
            assert!(matches!(claims[0].proof, Proof::Unproven { .. }), "{claims:?}");
        }
    }

    #[test]
    fn a_cited_item_must_be_the_one() {
        let items = [edit(1), command(2, "cargo test", 0), command(3, "cargo clippy", 1)];
        let proof = |answer| TestClaim::find(answer, &items).remove(0).proof;
        assert_eq!(proof("The tests pass [item_2]."), Proof::Proven { items: vec![ItemId::new(2)] });
        assert!(matches!(proof("Clippy is clean [item_3]."), Proof::Unproven { .. }));
        assert!(matches!(proof("The tests pass [item_9]."), Proof::Unproven { .. }));
    }

    #[test]
    fn a_command_that_may_have_edited_takes_the_proof_away() {
        let why = |items: &[Item]| match TestClaim::find("All tests pass.", items).remove(0).proof {
            Proof::Unproven { why } => why,
            Proof::Proven { items } => format!("proven by {}", items[0]),
        };
        let tested = || command(2, "cargo test", 0);
        insta::assert_snapshot!(why(&[edit(1), tested(), command(3, "sed -i s/a/b/ a.rs", 0)]), @"item_2 exited 0, but item_3 may have changed files after it.");
        insta::assert_snapshot!(why(&[edit(1), command(2, "cargo test | tail", 0)]), @"The exit code of item_2 is not that of its check (a pipe, `;` or `||` hides it).");
        insta::assert_snapshot!(why(&[tested(), edit(3)]), @"item_2 exited 0, but item_3 changed files after it.");
        insta::assert_snapshot!(why(&[edit(1), tested(), command(3, "git diff | cat", 0)]), @"proven by item_2");
        insta::assert_snapshot!(why(&[command(1, "sed -i s/a/b/ a.rs && make test", 0)]), @"proven by item_1");
        insta::assert_snapshot!(why(&[command(1, "sed -i s/a/b/ a.rs && make test", 1)]), @"No check that exited 0 is recorded after the last edit (item_1).");
    }

    #[test]
    fn claims_are_seen_in_many_words() {
        for answer in [
            "The whole suite is green.",
            "I did not change the API, and all tests pass.",
            "The tests pass; the docs I did not touch.",
            "`cargo test` exits 0.",
            "The failing test no longer fails.",
            "12 tests ran, 0 failed.",
            "Everything works now.",
            "Verified.",
            "All pass.",
            "It builds without errors.",
        ] {
            assert_eq!(TestClaim::find(answer, &[]).len(), 1, "{answer}");
        }
        for answer in [
            "The tests do not pass.",
            "I could not check whether the tests pass.",
            "The build should succeed.",
            "I added a test for the last page.",
            "I did not verify that all tests pass.",
            "It is unverified.",
        ] {
            assert_eq!(TestClaim::find(answer, &[]), [], "{answer}");
        }
    }

    #[test]
    fn no_claim_is_seen_where_none_is_made() {
        assert_eq!(TestClaim::find("The tests do not pass. I could not build it.", &[]), []);
    }
}
