//! `ask_user`: a question to a person, and commands that need a person's yes.
//!
//! Neither waits here: a person may take days, and nothing is to be held meanwhile. The call says what is to be asked and
//! stays without a result; the turn is parked, and the answer comes with the lease that takes it up.

use async_trait::async_trait;
use legwork_domain::ItemBody;
use serde::Deserialize;
use serde_json::json;

use super::output::cut_end;
use super::{Call, Outcome, Tool, spec};

/// A question longer than this is no question.
const QUESTION_BYTES_MAX: usize = 8 * 1024;
/// Answers to choose from, and bytes of one.
const OPTIONS_MAX: usize = 10;
const OPTION_BYTES_MAX: usize = 1024;

/// Asks a person.
pub(super) struct AskUser;

#[derive(Deserialize)]
struct Arguments {
    question: String,
    #[serde(default)]
    options: Vec<String>,
}

#[async_trait]
impl Tool for AskUser {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "ask_user",
            "Asks the user a question and waits for the answer, which may take hours. Only for what you cannot find out yourself and must not guess.",
            json!({
                "type": "object",
                "properties": {
                    "question": {"type": "string", "description": "One question, with what the user needs to know to answer it."},
                    "options": {"type": "array", "items": {"type": "string"}, "description": "Answers to choose from, if there are some; the user may give another one."}
                },
                "required": ["question"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        match question(&call) {
            Ok(body) => Outcome::asks(body),
            Err(refusal) => {
                call.record(&refusal).await;
                refusal
            }
        }
    }
}

fn question(call: &Call) -> Result<ItemBody, Outcome> {
    let Arguments { question, options } = call.arguments()?;
    if question.trim().is_empty() {
        return Err(Outcome::failed("The question is empty."));
    }
    if options.len() > OPTIONS_MAX {
        return Err(Outcome::failed(format!("A question has at most {OPTIONS_MAX} options.")));
    }
    let options = options.iter().map(|option| cut_end(option, OPTION_BYTES_MAX)).collect();
    Ok(ItemBody::Question { text: cut_end(&question, QUESTION_BYTES_MAX), options, answer: None })
}

/// What is to be asked before the command is run, if one of the patterns says so.
///
/// A pattern is held against the whole line and against each of its simple commands; `*` stands for any text. This tells
/// what a person wants to see from what not; it is no wall, for a command can be hidden in many ways. What must not be
/// possible is kept out of the sandbox.
pub(super) fn approval(command: &str, patterns: &[String]) -> Option<ItemBody> {
    let parts = command.split(['\n', ';', '|', '&', '(', ')']).map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<&str> = std::iter::once(command.trim()).chain(parts).collect();
    let pattern = patterns.iter().find(|pattern| parts.iter().any(|part| matches(pattern, part)))?;
    Some(ItemBody::Approval {
        action: cut_end(command, QUESTION_BYTES_MAX),
        reason: format!("The task asks for a person's word on commands like `{pattern}`."),
        decision: None,
    })
}

/// Whether the pattern is the text, `*` standing for any text. Takes time in proportion to both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.trim().split_once('*') else { return pattern.trim() == text };
    let (between, last) = others.rsplit_once('*').map_or(("", others), |(between, last)| (between, last));
    let inner = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let Some(mut rest) = inner else { return false };
    for piece in between.split('*') {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(command: &str, pattern: &str) -> bool {
        approval(command, &[pattern.to_owned()]).is_some()
    }

    #[test]
    fn patterns_are_held_against_the_line_and_its_commands() {
        assert!(asks("git push origin main", "git push *"));
        assert!(asks("cd x && git push --force", "git push*"));
        assert!(asks("make; (terraform apply)", "terraform apply"));
        assert!(asks("a b a b", "a*b"));
        assert!(asks("rm -rf /workspace/x", "rm *x"));
        assert!(asks("anything", "*"));
        assert!(!asks("git status", "git push *"));
        assert!(!asks("git pushy", "git push *"));
        assert!(!asks("terraform apply -auto", "terraform apply"));
        assert!(!asks("echo rm", "rm*"));
        assert!(!asks("a b c", "a*b"));
        assert!(!asks("x", ""));
    }
}
