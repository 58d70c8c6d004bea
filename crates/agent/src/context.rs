//! What the model is told before it starts: who it is, where it is, what the repository asks, what the user asks.
//!
//! The system prompt is one constant and the rest is said once, in a fixed order and without the date, so that every
//! request of an attempt starts with the same bytes and the provider's cache holds. Instruction files come from a hostile
//! repository: they are passed on as what they are, a text of the repository, and change nothing of who may do what.

use std::path::Path;

use legwork_domain::{Check, ItemBody, Kind, Level, NetworkPolicy, TurnId};
use legwork_model::{Entry, Part};
use legwork_sandbox::{Error, Sandbox, WORKSPACE};

use crate::history::{Origin, Record};
use crate::{Brief, Timeline};

/// Who the model is and how it works here.
pub(crate) const PROMPT: &str = include_str!("prompt.md");

/// Instruction files of a directory, the first that exists counts.
const INSTRUCTION_FILES: [&str; 2] = ["AGENTS.override.md", "AGENTS.md"];
/// All instruction files together.
const INSTRUCTIONS_BYTES_MAX: usize = 32 * 1024;
/// A longer file is not read at all; far above what is used of it.
const INSTRUCTION_FILE_BYTES_MAX: u64 = 1 << 20;

/// What is said before the task: facts, then the repository's instructions.
pub(crate) async fn opening(
    sandbox: &dyn Sandbox,
    timeline: &Timeline,
    facts: String,
) -> Result<Vec<Record>, Error> {
    let mut records = vec![Record::said(Origin::Context, facts)];
    let loaded = instructions(sandbox, timeline).await?;
    if !loaded.files.is_empty() {
        records.push(Record::said(
            Origin::Context,
            format!(
                "Instructions of this repository, from the root to the working directory:\n\n{}",
                loaded.text.trim_end()
            ),
        ));
        timeline.record(ItemBody::Instructions { files: loaded.files }).await;
    }
    Ok(records)
}

/// What the model is to know of where it is.
pub(crate) fn facts(kind: Kind, brief: &Brief) -> String {
    let task = match kind {
        Kind::Code | Kind::Prepare => {
            "You may change the checkout; the patch is taken from its files when you stop."
        }
        Kind::Ask => "The checkout is read-only. Answer the question; no patch is taken.",
    };
    let network = match brief.network {
        NetworkPolicy::None => "none but loopback",
        NetworkPolicy::PackageManagers => {
            "the hosts of package managers alone, by a proxy that programs find set up"
        }
        NetworkPolicy::Custom(_) => {
            "the hosts that the environment lists, by a proxy that programs find set up"
        }
        NetworkPolicy::All => "public hosts, by a proxy that programs find set up",
    };
    let notes: String = brief.notes.iter().map(|note| format!("- {note}\n")).collect();
    format!(
        "Environment:\n- working directory: {WORKSPACE} (the root of the checkout)\n- shell: bash\n- network: {network}\n- sandbox: a fresh isolated machine that is thrown away after the task\n- the user can be asked with ask_user, and the work then waits; ask only what you cannot find out and must not guess\n{notes}{task}"
    )
}

/// The goal: what the user asks and what must hold in the end.
pub(crate) fn goal(turn: TurnId, input: &str, images: Vec<String>, checks: &[Check]) -> Record {
    let mut text = input.to_owned();
    if !checks.is_empty() {
        text.push_str("\n\nAcceptance: these commands must exit 0 at the root of the checkout, in a fresh sandbox with your patch:");
        for check in checks {
            text.push_str(&format!("\n- {}: `{}`", check.name, check.command));
        }
    }
    let parts = std::iter::once(Part::Text(text)).chain(images.into_iter().map(Part::Image)).collect();
    Record { origin: Origin::Goal { turn }, entry: Entry::User { parts } }
}

/// Instruction files, joined.
#[derive(Default)]
struct Instructions {
    files: Vec<String>,
    text: String,
    used: usize,
}

async fn instructions(sandbox: &dyn Sandbox, timeline: &Timeline) -> Result<Instructions, Error> {
    let mut loaded = Instructions::default();
    // The working directory is the root of the checkout, so the chain from one to the other is this directory alone.
    for directory in [Path::new(WORKSPACE)] {
        for name in INSTRUCTION_FILES {
            let contents = match sandbox.read(&directory.join(name), INSTRUCTION_FILE_BYTES_MAX).await {
                Ok(file) => file.contents,
                Err(Error::Path { .. }) => continue,
                Err(error) => return Err(error),
            };
            if loaded.add(name, &String::from_utf8_lossy(&contents)) {
                let text = format!(
                    "{name} was cut: all instruction files together may have {INSTRUCTIONS_BYTES_MAX} bytes."
                );
                timeline.notice(Level::Warning, text).await;
            }
            break;
        }
    }
    Ok(loaded)
}

impl Instructions {
    /// Adds a file as far as there is room; says whether it was cut.
    fn add(&mut self, path: &str, text: &str) -> bool {
        let room = INSTRUCTIONS_BYTES_MAX - self.used;
        if text.trim().is_empty() || room == 0 {
            return false;
        }
        let cut = &text[..text.floor_char_boundary(room)];
        self.used += cut.len();
        self.files.push(path.to_owned());
        self.text.push_str(&format!("<file path=\"{path}\">\n{}\n</file>\n", cut.trim_end()));
        cut.len() < text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_short_and_the_facts_are_stable() {
        assert!(PROMPT.len() < 4000, "{}", PROMPT.len());
        insta::assert_snapshot!(PROMPT);
        insta::assert_snapshot!(facts(Kind::Ask, &Brief::default()), @r"
        Environment:
        - working directory: /workspace (the root of the checkout)
        - shell: bash
        - network: none but loopback
        - sandbox: a fresh isolated machine that is thrown away after the task
        - the user can be asked with ask_user, and the work then waits; ask only what you cannot find out and must not guess
        The checkout is read-only. Answer the question; no patch is taken.
        ");
    }

    #[test]
    fn the_network_is_told_as_it_is() {
        let told = |network| facts(Kind::Code, &Brief { network, ..Brief::default() });
        assert!(told(NetworkPolicy::None).contains("- network: none but loopback\n"));
        assert!(
            told(NetworkPolicy::PackageManagers).contains("- network: the hosts of package managers alone")
        );
    }

    #[test]
    fn the_goal_has_the_acceptance_verbatim() {
        let checks = [Check::new("tests", "cargo test --locked")];
        let Entry::User { parts } =
            goal(TurnId::from_u128(1), "Fix it", vec!["data:image/png;base64,".into()], &checks).entry
        else {
            panic!("not said by the user")
        };
        insta::assert_debug_snapshot!(parts, @r#"
        [
            Text(
                "Fix it\n\nAcceptance: these commands must exit 0 at the root of the checkout, in a fresh sandbox with your patch:\n- tests: `cargo test --locked`",
            ),
            Image(
                "data:image/png;base64,",
            ),
        ]
        "#);
    }

    #[test]
    fn the_file_that_crosses_the_bound_is_cut_and_later_ones_are_skipped() {
        let mut loaded = Instructions::default();
        assert!(!loaded.add("blank", " \n"));
        assert!(!loaded.add("a", &"x".repeat(INSTRUCTIONS_BYTES_MAX - 1)));
        assert!(loaded.add("b", "üü"), "no room for a whole character");
        assert!(loaded.add("c", "zz"));
        assert!(!loaded.add("d", "never"));
        assert_eq!(loaded.used, INSTRUCTIONS_BYTES_MAX);
        assert_eq!(loaded.files, ["a", "b", "c"]);
    }
}
