//! `legwork env shell`: a terminal in a sandbox as a task would find it, or as a failed set-up left it.
//!
//! The environment is prepared on the way of every task; what that froze is opened again here, for which its files must be on
//! this machine. What is done inside is thrown away at the end. Programs in it write to the terminal as they do over ssh.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use legwork_domain::{Environment, EventKind, TaskView};
use legwork_sandbox::{Command, Exit as Ended, Output, Process, Sandbox, Stdin, Terminal, WORKSPACE};
use legwork_worker::Opening;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::trial::{self, Until};
use crate::call::Call;
use crate::exit::{Exit, Trouble};
use crate::local;
use crate::run::say;
use crate::task;
use crate::text::{DIM, Line};

/// Bytes of one read of the keyboard; a pasted page.
const KEYS_BYTES_MAX: usize = 4096;

/// Reads of the keyboard that may wait for the sandbox.
const KEYS_MAX: usize = 64;

/// The shell inside: bash where there is one.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";

/// Opens a terminal in the prepared sandbox.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Look into the files of this task instead: its id or its last characters.
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// How it is prepared.
    #[command(flatten)]
    how: trial::TrialArgs,
}

/// Runs the verb.
///
/// # Errors
/// If nothing could be prepared, or its files are on another machine.
pub(super) async fn run(args: &Args, repo: Option<&str>, call: &Call<'_>) -> anyhow::Result<Exit> {
    let view = match &args.task {
        Some(task) => task::named(task, call.client).await?,
        None => trial::prepare(args.how.task(repo, call)?, call, Until::SetUp).await?.0,
    };
    let Left { layers, environment } = Left::of(&view, call).await?;
    if layers.is_empty() || !layers.iter().all(|layer| Path::new(layer).is_dir()) {
        let what = "The files of that environment are not on this machine.";
        return Err(Trouble::failed(
            what,
            "Run it where its worker is, or here without a server: --server none",
        )
        .into());
    }
    let backend = local::backend(call.config)?;
    let network = call.config.worker.egress.network(&call.config.user_home, &crate::config::process)?;
    let opening = Opening {
        backend: &backend,
        toolchains: local::toolchains(call.config),
        network: &network,
        data: call.config.home.clone(),
        layers: &layers,
        environment: &environment,
    };
    let sandbox = legwork_worker::open(opening).await?;
    let exit = attend(sandbox.as_ref()).await;
    sandbox.destroy().await?;
    exit
}

/// What a task left.
#[derive(Default)]
struct Left {
    layers: Vec<String>,
    environment: Environment,
}

impl Left {
    /// From its log: the last frozen files, and the environment that they were made with.
    async fn of(view: &TaskView, call: &Call<'_>) -> anyhow::Result<Self> {
        let mut left = Self::default();
        left.environment.clone_from(&view.task.request.environment);
        let attempt = view.attempts.first().context("The task has no attempt.")?;
        let mut events = std::pin::pin!(call.client.events_so_far(attempt.attempt.id));
        while let Some(event) = events.next().await {
            match event?.kind {
                EventKind::Snapshot { layers, .. } => left.layers = layers,
                EventKind::Artifact { name, blob, .. } if name == legwork_worker::ENVIRONMENT => {
                    let bytes = call.client.blob(&blob).await?;
                    left.environment = serde_json::from_slice(&bytes)
                        .context("What the task says of its environment cannot be read.")?;
                }
                EventKind::Artifact { .. }
                | EventKind::State { .. }
                | EventKind::Base { .. }
                | EventKind::ItemStarted { .. }
                | EventKind::ItemUpdated { .. }
                | EventKind::ItemCompleted { .. }
                | EventKind::Usage { .. }
                | EventKind::Context { .. }
                | EventKind::Patch { .. }
                | EventKind::Verdict { .. }
                | EventKind::Connection { .. } => {}
            }
        }
        Ok(left)
    }
}

/// Runs the shell with this process's terminal, or with its pipes.
async fn attend(sandbox: &dyn Sandbox) -> anyhow::Result<Exit> {
    let terminal = if std::io::stdin().is_terminal() { size() } else { None };
    if terminal.is_some() {
        say(&Line::default()
            .with(DIM, "A sandbox of its own: what you do in it is thrown away. Leave with exit or Ctrl-D."));
    }
    let command = Command {
        argv: ["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec(),
        workdir: WORKSPACE.to_owned(),
        env: std::env::var("TERM")
            .ok()
            .filter(|_| terminal.is_some())
            .map(|term| ("TERM".to_owned(), term))
            .into_iter()
            .collect(),
        terminal,
        stdin: Stdin::Open,
        timeout_ms: None,
        output_bytes_max: u64::MAX,
    };
    let process = sandbox.exec(command).await?;
    let raw = if terminal.is_some() { Some(Raw::new()?) } else { None };
    let ended = pass(process).await;
    drop(raw);
    Ok(match ended? {
        Ended::Code(0) => Exit::Done,
        Ended::Code(_) | Ended::Signal(_) | Ended::TimedOut | Ended::Lost => Exit::Failed,
    })
}

/// Passes keys in and output out until the shell ends.
async fn pass(mut process: Process) -> anyhow::Result<Ended> {
    let mut keys = keys();
    let mut resized = signal(SignalKind::window_change()).context("Signals cannot be listened to.")?;
    let mut reading = true;
    loop {
        tokio::select! {
            output = process.next() => match output {
                Some(Output::Stdout(bytes)) => write(&mut std::io::stdout().lock(), &bytes)?,
                Some(Output::Stderr(bytes)) => write(&mut std::io::stderr().lock(), &bytes)?,
                Some(Output::Omitted(_)) => {}
                Some(Output::Exited(exit)) => return Ok(exit),
                None => return Ok(Ended::Lost),
            },
            typed = keys.recv(), if reading => {
                // A shell that has ended says so itself.
                let _ = match typed {
                    Some(bytes) => process.write(bytes).await,
                    None => {
                        reading = false;
                        process.close_stdin().await
                    }
                };
            }
            _ = resized.recv() => {
                if let Some(size) = size() {
                    let _ = process.resize(size).await;
                }
            }
        }
    }
}

fn write(out: &mut dyn std::io::Write, bytes: &Bytes) -> std::io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// What is typed. The thread is not waited for: a read of a terminal cannot be broken off, and the process ends without it.
fn keys() -> mpsc::Receiver<Bytes> {
    let (send, receive) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; KEYS_BYTES_MAX];
        while let Ok(count) = stdin.read(&mut buffer) {
            if count == 0 || send.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                return;
            }
        }
    });
    receive
}

fn size() -> Option<Terminal> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some(Terminal { rows: size.ws_row.max(1), columns: size.ws_col.max(1) })
}

/// The terminal without its own line editing and signals, so that Ctrl-C is the shell's inside; as it was when dropped.
struct Raw {
    before: Arc<Termios>,
}

impl Raw {
    fn new() -> anyhow::Result<Self> {
        let before =
            tcgetattr(rustix::stdio::stdin()).context("The terminal cannot be asked for its settings.")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
            .context("The terminal cannot be set.")?;
        Ok(Self { before: Arc::new(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
