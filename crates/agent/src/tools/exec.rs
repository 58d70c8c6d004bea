//! `exec_command` and `write_stdin`: commands that may outlive the call that started them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_domain::{CommandRun, ItemBody, ItemStatus, Phase};
use legwork_model::Part;
use legwork_sandbox::{Command, Error, Exit, Process, Stdin, Terminal, WORKSPACE};
use serde::Deserialize;
use serde_json::json;

use super::ask::approval;
use super::output::Capture;
use super::processes::{CAPTURE_BYTES_MAX, End, Feed, Live};
use super::{Approval, Call, Outcome, Tool, spec};
use crate::breaker::{Trace, digest};
use crate::history::TOKEN_BYTES;

/// Set for every command: no colours, no pagers, one encoding.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("NO_COLOR", "1"),
    ("TERM", "dumb"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GH_PAGER", "cat"),
];
/// How long a call waits for its command, ms: default and bounds.
const EXEC_YIELD_MS: u64 = 10_000;
const YIELD_MS_MIN: u64 = 250;
const YIELD_MS_MAX: u64 = 30_000;
/// How long a call without input waits for more output, ms.
const POLL_MS_MIN: u64 = 5_000;
const POLL_MS_MAX: u64 = 300_000;
/// Output of one call, tokens: default, and the most that a model may ask for (a fifth of a common window).
const OUTPUT_TOKENS: u64 = 10_000;
const OUTPUT_TOKENS_MAX: u64 = 25_000;
/// A terminal may show far more than is kept, since only the newest part is read.
const TERMINAL_BYTES_MAX: u64 = 64 << 20;
const TERMINAL: Terminal = Terminal { rows: 24, columns: 120 };
/// Ctrl-C, which reaches a command without a terminal as a signal.
const INTERRUPT: &str = "\u{3}";
const SIGINT: i32 = 2;

/// Runs a command.
pub(super) struct ExecCommand;

#[derive(Deserialize)]
struct ExecArguments {
    cmd: String,
    workdir: Option<String>,
    #[serde(default)]
    tty: bool,
    yield_time_ms: Option<f64>,
    max_output_tokens: Option<f64>,
    shell: Option<String>,
    #[serde(default)]
    login: bool,
}

#[async_trait]
impl Tool for ExecCommand {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "exec_command",
            "Runs a shell command and returns its output, or a session ID if it is still running when the yield time is over.",
            json!({
                "type": "object",
                "properties": {
                    "cmd": {"type": "string", "description": "Shell command to run."},
                    "workdir": {"type": "string", "description": "Working directory; the root of the checkout by default."},
                    "tty": {"type": "boolean", "description": "Whether to give it a terminal; needed to write to its standard input. False by default."},
                    "yield_time_ms": {"type": "number", "description": "How long to wait for it, in milliseconds: 250 to 30000, 10000 by default."},
                    "max_output_tokens": {"type": "number", "description": "The most output to return; the middle of a longer one is cut out. 10000 by default."},
                    "shell": {"type": "string", "description": "Shell to use; bash by default."},
                    "login": {"type": "boolean", "description": "Whether the shell is a login shell. False by default."}
                },
                "required": ["cmd"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        let arguments: ExecArguments = match call.arguments() {
            Ok(arguments) => arguments,
            Err(outcome) => {
                call.record(&outcome).await;
                return outcome;
            }
        };
        if call.approval == Approval::Open
            && let Some(body) = approval(&arguments.cmd, &call.scene.approve)
        {
            return Outcome::asks(body);
        }
        let started = Instant::now();
        let live = match start(&call, &arguments).await {
            Ok(live) => live,
            Err(outcome) => return outcome,
        };
        let wait = clamp(arguments.yield_time_ms, EXEC_YIELD_MS, YIELD_MS_MIN..=YIELD_MS_MAX);
        let end = live.wait(Duration::from_millis(wait), &call.cancel).await;
        let seen = Seen { live: &live, end, started, tokens: arguments.max_output_tokens };
        seen.outcome(&call, arguments.cmd)
    }
}

/// Starts the command with its item.
async fn start(call: &Call, arguments: &ExecArguments) -> Result<Arc<Live>, Outcome> {
    let workdir = absolute(arguments.workdir.as_deref());
    let timeline = &call.scene.timeline;
    let run = CommandRun {
        command: arguments.cmd.clone(),
        workdir: workdir.clone(),
        phase: Phase::Agent,
        output: String::new(),
        output_bytes: 0,
        exit_code: None,
        duration_ms: None,
    };
    let mut item = timeline.start(ItemBody::Command(run)).await;
    match spawn(call, arguments, workdir).await {
        Ok(process) => Ok(call.scene.processes.add(process, item, arguments.tty, timeline.clone())),
        Err(error) => {
            let mut outcome = Outcome::refused(error);
            outcome.trace.call = arguments.cmd.clone();
            if let ItemBody::Command(run) = &mut item.body {
                run.output = outcome.text();
            }
            timeline.complete(item, ItemStatus::Failed).await;
            Err(outcome)
        }
    }
}

/// Runs the line with the shell that was asked for, or with bash, or with sh where there is no bash.
async fn spawn(call: &Call, arguments: &ExecArguments, workdir: String) -> Result<Process, Error> {
    let command = |shell: &str| Command {
        argv: vec![
            shell.to_owned(),
            if arguments.login { "-lc" } else { "-c" }.to_owned(),
            arguments.cmd.clone(),
        ],
        workdir: workdir.clone(),
        env: ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        terminal: arguments.tty.then_some(TERMINAL),
        stdin: if arguments.tty { Stdin::Open } else { Stdin::Empty },
        timeout_ms: None,
        output_bytes_max: if arguments.tty { TERMINAL_BYTES_MAX } else { CAPTURE_BYTES_MAX as u64 },
    };
    let sandbox = &call.scene.sandbox;
    let shell = arguments.shell.as_deref();
    let started = match sandbox.exec(command(shell.unwrap_or("bash"))).await {
        Err(Error::Start { .. }) if shell.is_none() => sandbox.exec(command("sh")).await,
        other => other,
    };
    // The directory is as likely the reason as the program.
    started.map_err(|error| match error {
        Error::Start { program, why } => Error::Start { program, why: format!("{why} (in {workdir})") },
        Error::Unavailable { .. }
        | Error::Setup { .. }
        | Error::Invalid(_)
        | Error::Path { .. }
        | Error::Gone
        | Error::Protocol(_) => error,
    })
}

fn absolute(workdir: Option<&str>) -> String {
    match workdir.map(str::trim) {
        None | Some("" | ".") => WORKSPACE.to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("{WORKSPACE}/{path}"),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then clamped")]
fn clamp(wish: Option<f64>, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
    wish.map_or(default, |wish| wish as u64).clamp(*bounds.start(), *bounds.end())
}

/// Writes to a command that runs.
pub(super) struct WriteStdin;

#[derive(Deserialize)]
struct WriteArguments {
    session_id: u64,
    #[serde(default)]
    chars: String,
    yield_time_ms: Option<f64>,
    max_output_tokens: Option<f64>,
}

#[async_trait]
impl Tool for WriteStdin {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "write_stdin",
            "Writes to a running command and returns its newest output. Without chars it only waits for more output.",
            json!({
                "type": "object",
                "properties": {
                    "session_id": {"type": "number", "description": "The session ID that exec_command returned."},
                    "chars": {"type": "string", "description": "What to write; empty to wait. \\u0003 interrupts the command."},
                    "yield_time_ms": {"type": "number", "description": "How long to wait for output, in milliseconds: 250 to 30000 after writing, 5000 to 300000 otherwise."},
                    "max_output_tokens": {"type": "number", "description": "The most output to return. 10000 by default."}
                },
                "required": ["session_id"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        let outcome = match call.arguments::<WriteArguments>() {
            Ok(arguments) => write(&call, arguments).await.unwrap_or_else(|refusal| refusal),
            Err(outcome) => outcome,
        };
        call.record(&outcome).await;
        outcome
    }
}

async fn write(call: &Call, arguments: WriteArguments) -> Result<Outcome, Outcome> {
    let session = arguments.session_id;
    let live = call.scene.processes.find(session).ok_or_else(|| {
        Outcome::failed(format!(
            "There is no running command with session ID {session}; it has ended and its output was returned."
        ))
    })?;
    let started = Instant::now();
    let wait = if arguments.chars.is_empty() {
        clamp(arguments.yield_time_ms, POLL_MS_MIN, POLL_MS_MIN..=POLL_MS_MAX)
    } else {
        feed(&live, &arguments.chars).await?;
        clamp(arguments.yield_time_ms, YIELD_MS_MIN, YIELD_MS_MIN..=YIELD_MS_MAX)
    };
    let end = live.wait(Duration::from_millis(wait), &call.cancel).await;
    let seen = Seen { live: &live, end, started, tokens: arguments.max_output_tokens };
    Ok(seen.outcome(call, format!("{session} {}", arguments.chars)))
}

async fn feed(live: &Live, chars: &str) -> Result<(), Outcome> {
    let feed = match (live.tty, chars) {
        (true, chars) => Feed::Bytes(Bytes::copy_from_slice(chars.as_bytes())),
        (false, INTERRUPT) => Feed::Signal(SIGINT),
        (false, _) => {
            return Err(Outcome::failed(
                "The standard input of this command is closed. Run it again with \"tty\": true to write to it.",
            ));
        }
    };
    // One that has just ended takes nothing; its end is what the model reads then.
    live.feed(feed).await;
    Ok(())
}

/// What a call saw of its command.
struct Seen<'a> {
    live: &'a Live,
    end: Option<End>,
    started: Instant,
    tokens: Option<f64>,
}

impl Seen<'_> {
    fn outcome(&self, call: &Call, command: String) -> Outcome {
        if self.end.is_some() {
            call.scene.processes.forget(self.live.session);
        }
        let output = self.live.take_unread();
        let tokens = clamp(self.tokens, OUTPUT_TOKENS, 1..=OUTPUT_TOKENS_MAX);
        let text = output.text(usize::try_from(tokens * TOKEN_BYTES).unwrap_or(usize::MAX));
        let trace = Trace {
            call: command,
            result: format!("{} {text}", self.state()),
            failed: !matches!(self.end, None | Some(End::Exit(Exit::Code(0)))),
            pending: self.end.is_none(),
            writes: Vec::new(),
        };
        let lost = matches!(self.end, Some(End::Exit(Exit::Lost))).then(|| Box::new(Error::Gone));
        Outcome { parts: vec![Part::Text(self.report(&output, &text))], trace, lost, ..Outcome::default() }
    }

    fn report(&self, output: &Capture, text: &str) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let chunk =
            digest(&(self.live.session, self.live.item.to_string(), output.total(), text)) & 0xFF_FFFF;
        let mut report = String::with_capacity(text.len() + 200);
        // Writing to a string cannot fail.
        let _ = write!(
            report,
            "Chunk ID: {chunk:06x}\nWall time: {seconds:.4} seconds\n{}\nOriginal token count: {}\nEvidence: {}\nOutput:\n{text}",
            self.state(),
            output.total().div_ceil(TOKEN_BYTES),
            self.live.item,
        );
        report
    }

    fn state(&self) -> String {
        match self.end {
            None => format!("Process running with session ID {}", self.live.session),
            Some(End::Exit(Exit::Code(code))) => format!("Process exited with code {code}"),
            Some(End::Exit(Exit::Signal(signal))) => {
                format!("Process exited with code {} (signal {signal})", 128 + signal)
            }
            Some(End::Exit(Exit::TimedOut)) => "Process was ended after its time".to_owned(),
            Some(End::Exit(Exit::Lost)) => {
                "Process was lost with its sandbox; what it did is unknown".to_owned()
            }
            Some(End::Stopped) => "Process was cancelled".to_owned(),
        }
    }
}
