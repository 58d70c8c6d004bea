//! `read_file`, `edit_file` and `write_file`, for models that were trained on whole strings instead of patches.

use std::fmt::Write as _;

use async_trait::async_trait;
use legwork_domain::ChangeKind;
use serde::Deserialize;
use serde_json::json;

use super::files::{change, checked, written};
use super::output::{cut_end, cut_middle};
use super::{Call, Order, Outcome, Tool, spec};

/// Lines that a call without a limit reads; the tools that models know have the same number.
const LINES_MAX: usize = 2000;
/// A longer line is cut: it is data, not code.
const LINE_BYTES_MAX: usize = 2000;
/// The whole output, as for commands: 10,000 tokens.
const OUTPUT_BYTES_MAX: usize = 40_000;

/// Reads a file.
pub(super) struct ReadFile;

#[derive(Deserialize)]
struct ReadArguments {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[async_trait]
impl Tool for ReadFile {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "read_file",
            "Reads a text file of the checkout with line numbers.",
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Path from the root of the checkout."},
                    "offset": {"type": "number", "description": "First line, from 1."},
                    "limit": {"type": "number", "description": "How many lines; 2000 by default."}
                },
                "required": ["path"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        let outcome = read(&call).await.unwrap_or_else(|refusal| refusal);
        call.record(&outcome).await;
        outcome
    }
}

async fn read(call: &Call) -> Result<Outcome, Outcome> {
    let arguments: ReadArguments = call.arguments()?;
    let path = checked(&arguments.path)?;
    let file = call.read(&path).await.map_err(Outcome::refused)?;
    let text = String::from_utf8_lossy(&file.contents);
    let first = arguments.offset.unwrap_or(1).max(1);
    let limit = arguments.limit.unwrap_or(LINES_MAX);
    let mut shown = String::new();
    for (number, line) in (first..).zip(text.lines().skip(first - 1).take(limit)) {
        // Writing to a string cannot fail.
        let _ = writeln!(shown, "{number:>6}\t{}", cut_end(line, LINE_BYTES_MAX));
    }
    let total = text.lines().count();
    if first.saturating_add(limit) <= total {
        let _ = writeln!(shown, "[… the file has {total} lines; use offset and limit to read on …]");
    }
    if shown.is_empty() {
        shown = format!("(nothing: the file has {total} lines)");
    }
    let mut outcome = Outcome::done(cut_middle(&shown, OUTPUT_BYTES_MAX));
    outcome.trace.call = format!("read {path} {first} {limit}");
    Ok(outcome)
}

/// Replaces a string in a file.
pub(super) struct EditFile;

#[derive(Deserialize)]
struct EditArguments {
    path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

#[async_trait]
impl Tool for EditFile {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "edit_file",
            "Replaces old_string, which must stand in the file exactly once, by new_string.",
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Path from the root of the checkout."},
                    "old_string": {"type": "string", "description": "Text to replace, with its blanks and line ends."},
                    "new_string": {"type": "string", "description": "Text to put there."},
                    "replace_all": {"type": "boolean", "description": "Replace every place. False by default."}
                },
                "required": ["path", "old_string", "new_string"],
                "additionalProperties": false
            }),
        )
    }

    fn order(&self) -> Order {
        Order::Alone
    }

    async fn call(&self, call: Call) -> Outcome {
        match edit(&call).await {
            Ok((path, outcome)) => {
                call.record_changes(vec![change(&path, ChangeKind::Update)], &outcome).await;
                outcome
            }
            Err(refusal) => {
                call.record(&refusal).await;
                refusal
            }
        }
    }
}

async fn edit(call: &Call) -> Result<(String, Outcome), Outcome> {
    let arguments: EditArguments = call.arguments()?;
    let path = checked(&arguments.path)?;
    let file = call.read(&path).await.map_err(Outcome::refused)?;
    let after =
        replaced(&file.contents, &arguments).map_err(|why| Outcome::failed(format!("{path}: {why}")))?;
    call.write(&path, &after, None).await.map_err(Outcome::refused)?;
    let mut outcome = Outcome::done(format!("Changed {path}."));
    outcome.trace.call = format!("edit {path} {} {}", arguments.old_string, arguments.new_string);
    outcome.trace.writes = vec![written(&path, &after)];
    Ok((path, outcome))
}

/// The bytes after the edit, or why there is none.
fn replaced(before: &[u8], arguments: &EditArguments) -> Result<Vec<u8>, String> {
    let (old, new) = (arguments.old_string.as_str(), arguments.new_string.as_str());
    if old.is_empty() || old == new {
        return Err("old_string must not be empty and must differ from new_string.".to_owned());
    }
    // A file with CRLF is read as lines, so a text of several lines comes back with LF.
    let crlf = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
    let forms = [(old.to_owned(), new.to_owned()), (crlf(old), crlf(new))];
    let found = forms.iter().map(|(old, new)| (places(before, old.as_bytes()), old, new));
    let Some((places, old, new)) = found.into_iter().find(|(places, ..)| !places.is_empty()) else {
        return Err(
            "old_string was not found. Read the file again; blanks and line ends must match.".to_owned()
        );
    };
    if places.len() > 1 && !arguments.replace_all {
        return Err(format!(
            "old_string stands in {} places. Add lines around it until it is unique, or set replace_all.",
            places.len()
        ));
    }
    let (mut after, mut next) = (Vec::with_capacity(before.len()), 0);
    for place in places {
        after.extend_from_slice(&before[next..place]);
        after.extend_from_slice(new.as_bytes());
        next = place + old.len();
    }
    after.extend_from_slice(&before[next..]);
    Ok(after)
}

/// Where `wanted` stands, places that overlap an earlier one left out.
fn places(text: &[u8], wanted: &[u8]) -> Vec<usize> {
    let (mut found, mut next) = (Vec::new(), 0);
    while let Some(place) = text[next..].windows(wanted.len()).position(|window| window == wanted) {
        found.push(next + place);
        next += place + wanted.len();
    }
    found
}

/// Writes a whole file.
pub(super) struct WriteFile;

#[derive(Deserialize)]
struct WriteArguments {
    path: String,
    content: String,
}

#[async_trait]
impl Tool for WriteFile {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "write_file",
            "Writes a whole file of the checkout, over one that exists; folders are made.",
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Path from the root of the checkout."},
                    "content": {"type": "string", "description": "The whole text."}
                },
                "required": ["path", "content"],
                "additionalProperties": false
            }),
        )
    }

    fn order(&self) -> Order {
        Order::Alone
    }

    async fn call(&self, call: Call) -> Outcome {
        match write(&call).await {
            Ok((path, kind, outcome)) => {
                call.record_changes(vec![change(&path, kind)], &outcome).await;
                outcome
            }
            Err(refusal) => {
                call.record(&refusal).await;
                refusal
            }
        }
    }
}

async fn write(call: &Call) -> Result<(String, ChangeKind, Outcome), Outcome> {
    let arguments: WriteArguments = call.arguments()?;
    let path = checked(&arguments.path)?;
    let exists = call.read(&path).await.is_ok();
    let contents = arguments.content.as_bytes();
    call.write(&path, contents, None).await.map_err(Outcome::refused)?;
    let (kind, verb) = if exists { (ChangeKind::Update, "Replaced") } else { (ChangeKind::Add, "Wrote") };
    let mut outcome = Outcome::done(format!("{verb} {path} ({} bytes).", contents.len()));
    outcome.trace.call = format!("write {path}");
    outcome.trace.writes = vec![written(&path, contents)];
    Ok((path, kind, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(before: &str, old: &str, new: &str, replace_all: bool) -> String {
        let (old_string, new_string) = (old.to_owned(), new.to_owned());
        let arguments = EditArguments { path: "a".into(), old_string, new_string, replace_all };
        replaced(before.as_bytes(), &arguments)
            .map_or_else(|why| why, |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn an_edit_needs_one_place() {
        assert_eq!(edited("a b a", "b", "c", false), "a c a");
        assert_eq!(edited("a b a", "a", "c", true), "c b c");
        assert!(edited("a b a", "a", "c", false).contains("2 places"));
        assert!(edited("a", "x", "c", false).contains("not found"));
        assert!(edited("a", "", "c", false).contains("empty"));
    }

    #[test]
    fn line_ends_of_the_file_are_kept() {
        assert_eq!(edited("a\r\nb\r\nc\r\n", "a\nb", "x\ny", false), "x\r\ny\r\nc\r\n");
    }
}
