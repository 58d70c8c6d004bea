//! A command whose run is an item of the log: set-up scripts and checks.

use std::time::Instant;

use legwork_agent::Timeline;
use legwork_domain::{CommandRun, Item, ItemBody, ItemStatus, Phase};
use legwork_sandbox::{Command, Error, Exit, Output, Sandbox, Stdin};

/// Output of one command that the log keeps, head and tail: some thousand lines.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;

/// Runs a line of shell in bash where there is one, as the agent's commands are, else in `sh`.
const SHELL: &str =
    "if command -v bash >/dev/null 2>&1; then exec bash -c \"$2$1\"; else exec sh -c \"$1\"; fi";

/// What bash does first in a set-up: it notes each command that fails, so that the one that ended the script can be named.
/// On the first line of the script, so that line numbers are its own. It forgets an earlier script's, and notes at the end too, for a script that calls `exit`.
const TRACE: &str = "{ : > /tmp/.legwork-failed; } 2>/dev/null; legwork_failed() { printf '%s\\n%s\\n%s\\n' \"$1\" \"$2\" \"$3\" > /tmp/.legwork-failed; } 2>/dev/null; set -E; trap 'legwork_failed \"$?\" \"$LINENO\" \"$BASH_COMMAND\"' ERR; ";

/// Where it notes them.
const TRACED: &str = "/tmp/.legwork-failed";

/// The longest note that is read: a command line that a person still reads.
const TRACED_BYTES_MAX: u64 = 8 * 1024;

/// The last command of a script that failed, as the script itself tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedCommand {
    /// As it stands in the script, on one line.
    pub(crate) command: String,
    /// Its line there, from 1.
    pub(crate) line: u32,
    /// What it ended with.
    pub(crate) code: u32,
}

impl FailedCommand {
    /// Whether there was no such program, or none that can be run (POSIX shell, 2.8.2).
    pub(crate) const fn was_missing(&self) -> bool {
        matches!(self.code, 126 | 127)
    }
}

/// Reads the note. What it says is hostile and for people only.
pub(crate) async fn failed(sandbox: &dyn Sandbox) -> Option<FailedCommand> {
    let file = sandbox.read(TRACED.as_ref(), TRACED_BYTES_MAX).await.ok()?;
    let text = String::from_utf8_lossy(&file.contents).into_owned();
    let mut lines = text.lines();
    let (code, line) = (lines.next()?.parse().ok()?, lines.next()?.parse::<u32>().ok()?);
    let command = lines.collect::<Vec<_>>().join(" ");
    Some(FailedCommand { command: command.trim().to_owned(), line: line.max(1), code })
        .filter(|failed| !failed.command.is_empty())
}

/// A command line to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) command: &'a str,
    pub(crate) phase: Phase,
    pub(crate) timeout_ms: u64,
    /// Absolute, inside.
    pub(crate) workdir: &'a str,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// As it stands in the log.
    pub(crate) item: Item,
    /// How it ended.
    pub(crate) exit: Exit,
}

/// Runs a command and records it as it goes.
///
/// If the future is dropped, the command is killed and the item stays open; whoever cancels ends the turn, and the log
/// closes what a turn leaves open.
pub(crate) async fn run(timeline: &Timeline, sandbox: &dyn Sandbox, line: Line<'_>) -> Result<Ran, Error> {
    let run = CommandRun {
        command: line.command.to_owned(),
        workdir: line.workdir.to_owned(),
        phase: line.phase,
        output: String::new(),
        output_bytes: 0,
        exit_code: None,
        duration_ms: None,
    };
    let item = timeline.start(ItemBody::Command(run.clone())).await;
    let started = Instant::now();
    let prelude = if line.phase == Phase::Setup { TRACE } else { "" };
    let command = Command {
        argv: ["/bin/sh", "-c", SHELL, "sh", line.command, prelude].map(str::to_owned).to_vec(),
        workdir: line.workdir.to_owned(),
        env: Vec::new(),
        terminal: None,
        stdin: Stdin::Empty,
        timeout_ms: Some(line.timeout_ms),
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let mut process = match sandbox.exec(command).await {
        Ok(process) => process,
        Err(error) => {
            timeline.complete(item, ItemStatus::Failed).await;
            return Err(error);
        }
    };
    let mut seen = Seen { run, text: Utf8::default() };
    let mut exit = Exit::Lost;
    while let Some(output) = process.next().await {
        match seen.take(output) {
            Heard::Text(text) if !text.is_empty() => timeline.update(item.id, text).await,
            Heard::Text(_) => {}
            Heard::End(end) => exit = end,
        }
    }
    let mut run = seen.run;
    run.duration_ms = u64::try_from(started.elapsed().as_millis()).ok();
    let status = ending(&mut run, exit, line.timeout_ms);
    let item = timeline.complete(Item { body: ItemBody::Command(run), ..item }, status).await;
    Ok(Ran { item, exit })
}

fn ending(run: &mut CommandRun, exit: Exit, timeout_ms: u64) -> ItemStatus {
    match exit {
        Exit::Code(code) => {
            run.exit_code = Some(code);
            ItemStatus::Completed
        }
        Exit::Signal(signal) => {
            run.output.push_str(&format!("\n[ended by signal {signal}]\n"));
            ItemStatus::Failed
        }
        Exit::TimedOut => {
            run.output.push_str(&format!("\n[killed after {} s]\n", timeout_ms / 1000));
            ItemStatus::Failed
        }
        Exit::Lost => ItemStatus::Interrupted,
    }
}

/// What a command wrote, as far as the log keeps it.
pub(crate) fn output(item: &Item) -> &str {
    match &item.body {
        ItemBody::Command(run) => &run.output,
        ItemBody::Message { .. }
        | ItemBody::Reasoning { .. }
        | ItemBody::FileChange { .. }
        | ItemBody::ToolCall { .. }
        | ItemBody::Plan { .. }
        | ItemBody::Instructions { .. }
        | ItemBody::Question { .. }
        | ItemBody::Approval { .. }
        | ItemBody::Notice { .. } => "",
    }
}

struct Seen {
    run: CommandRun,
    text: Utf8,
}

enum Heard {
    Text(String),
    End(Exit),
}

impl Seen {
    fn take(&mut self, output: Output) -> Heard {
        let text = match output {
            Output::Stdout(bytes) | Output::Stderr(bytes) => {
                self.run.output_bytes += bytes.len() as u64;
                self.text.push(&bytes)
            }
            Output::Omitted(bytes) => {
                self.run.output_bytes += bytes;
                format!("\n[… {bytes} bytes left out …]\n")
            }
            Output::Exited(exit) => return Heard::End(exit),
        };
        self.run.output.push_str(&text);
        Heard::Text(text)
    }
}

/// Bytes to text where a character may be cut between two pieces.
#[derive(Debug, Default)]
struct Utf8 {
    /// The first bytes of a character whose others are to come: at most three.
    open: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.open.extend_from_slice(bytes);
        let end = match std::str::from_utf8(&self.open) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => whole_end(&self.open),
        };
        let rest = self.open.split_off(end);
        let text = String::from_utf8_lossy(&self.open).into_owned();
        self.open = rest;
        text
    }
}

/// Where the last character that is cut off begins, in bytes that are not all text.
fn whole_end(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    (start..bytes.len())
        .find(|at| {
            std::str::from_utf8(&bytes[*at..])
                .is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0)
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_in_two_stays_whole() {
        let mut text = Utf8::default();
        let bytes = "aü€b".as_bytes();
        let joined: String = bytes.chunks(1).map(|chunk| text.push(chunk)).collect();
        assert_eq!(joined, "aü€b");
        assert_eq!(text.push(b"\xffx\xe2\x82"), "\u{fffd}x");
        assert_eq!(text.push(b"\xac"), "€");
    }
}
