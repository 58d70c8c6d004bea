//! `legwork env test`: the environment tried out in a real sandbox, its output as it comes, a verdict at the end.
//!
//! It is a task of the kind `prepare` and goes the way of every task, so it shows what a task would meet.

use std::collections::BTreeMap;
use std::io::Write as _;

use legwork_client::Client;
use legwork_domain::{
    Check, CommandRun, Ended, Environment, Event, EventKind, Item, ItemBody, ItemId, Kind, Level,
    LocalChanges, NewTask, Phase, Source, State, TaskView,
};

use crate::call::{Call, Form};
use crate::exit::Exit;
use crate::local::Worker;
use crate::repository;
use crate::run::{read, say};
use crate::signals::Signals;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, Paint, WARN};

/// What a task needs for a title.
const PROMPT: &str = "Try the environment out";

/// Sets the environment up in a sandbox and runs its tests once.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TrialArgs {
    /// Branch, tag or commit to start from. Default: what HEAD names.
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// Put the uncommitted changes of a local repository on top of the base.
    #[arg(long)]
    include_changes: bool,
    /// A shell script to set it up with, instead of what the repository says or looks like.
    #[arg(long, value_name = "COMMAND")]
    setup: Option<String>,
    /// A command to run, instead of what the repository says or looks like. May be given several times.
    #[arg(long = "check", value_name = "COMMAND", action = clap::ArgAction::Append)]
    checks: Vec<String>,
}

/// How far a trial is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To its end.
    End,
    /// Until its files are frozen; the tests need not run.
    SetUp,
}

impl TrialArgs {
    /// The task that tries it.
    ///
    /// # Errors
    /// If there is no such repository.
    pub(super) fn task(&self, repo: Option<&str>, call: &Call<'_>) -> anyhow::Result<NewTask> {
        let located = repository::locate(repo)?;
        let source = Source {
            repository: located.name,
            base: self.base.clone(),
            local_changes: if self.include_changes { LocalChanges::Include } else { LocalChanges::Leave },
        };
        let checks = self.checks.iter().map(|command| Check::new(command, command)).collect();
        Ok(NewTask {
            kind: Kind::Prepare,
            environment: Environment {
                setup: self.setup.clone(),
                checks,
                resources: call.config.resources,
                ..Environment::default()
            },
            ..NewTask::new(PROMPT.to_owned(), source, String::new())
        })
    }
}

/// Runs the verb.
///
/// # Errors
/// What kept it from being tried.
pub(super) async fn run(args: &TrialArgs, repo: Option<&str>, call: &Call<'_>) -> anyhow::Result<Exit> {
    let (_, ended) = prepare(args.task(repo, call)?, call, Until::End).await?;
    Ok(ended.as_ref().map_or(Exit::Interrupted, Exit::of))
}

/// Has the task done, here or by the workers of a server, and shows it.
pub(super) async fn prepare(
    new: NewTask,
    call: &Call<'_>,
    until: Until,
) -> anyhow::Result<(TaskView, Option<Ended>)> {
    let mut signals = Signals::new()?;
    if call.host.is_some() {
        crate::ready::check(call.config).await?;
    }
    let key = uuid::Uuid::now_v7().to_string();
    let view = call.client.create_task(&new, &key).await?;
    let mut worker = match call.host {
        Some(host) => Some(host.work_alone(call.config, view.task.id)?),
        None => None,
    };
    let mut show = Show { form: call.form, until, open: BTreeMap::new(), ended: None };
    let ended = watch(call.client, &view, &mut show, (&mut signals, worker.as_mut())).await;
    if let Some(worker) = worker {
        worker.stop().await;
    }
    Ok((view, ended?))
}

/// Shows the events to the end. The first signal cancels; `None`: nobody waited for the end.
async fn watch(
    client: &Client,
    view: &TaskView,
    show: &mut Show,
    (signals, mut worker): (&mut Signals, Option<&mut Worker>),
) -> anyhow::Result<Option<Ended>> {
    let mut events = read(client, view);
    let mut cancelled = false;
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return Ok(show.ended.take()) };
                let event = event?;
                show.event(&event)?;
                if show.until == Until::SetUp && matches!(event.kind, EventKind::Snapshot { .. }) && !cancelled {
                    // What it is for is there. One that has ended meanwhile needs no cancel.
                    cancelled = true;
                    let _ = client.cancel(view.task.id).await;
                }
            }
            () = signals.next() => {
                if std::mem::replace(&mut cancelled, true) {
                    return Ok(None);
                }
                say(&Line::default().with(WARN, "Cancelling. Ctrl-C again leaves at once."));
                client.cancel(view.task.id).await?;
            }
            error = failure(worker.as_deref_mut()) => return Err(error),
        }
    }
}

async fn failure(worker: Option<&mut Worker>) -> anyhow::Error {
    match worker {
        Some(worker) => worker.failure().await,
        None => std::future::pending().await,
    }
}

/// What is shown, and what was cut off in the middle of a line.
struct Show {
    form: Form,
    until: Until,
    /// The last line of each command's output, as far as it has come.
    open: BTreeMap<ItemId, String>,
    ended: Option<Ended>,
}

/// The longest line that is kept until its end comes.
const LINE_BYTES_MAX: usize = 16 * 1024;

impl Show {
    fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        if let EventKind::State { state: State::Finished(ended), .. } = &event.kind {
            self.ended = Some((**ended).clone());
        }
        if self.form == Form::Json {
            return Ok(crate::json::line(&mut std::io::stdout().lock(), event)?);
        }
        let lines = match &event.kind {
            EventKind::State { state, .. } => self.state_lines(state),
            EventKind::ItemStarted { item } => self.started(item),
            EventKind::ItemUpdated { item, delta } => self.more(*item, delta),
            EventKind::ItemCompleted { item } => self.completed(item),
            EventKind::Base { commit, .. } => {
                vec![
                    Line::default()
                        .with(DIM, "checkout ")
                        .with(PLAIN, &commit.chars().take(12).collect::<String>()),
                ]
            }
            EventKind::Usage { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Patch { .. }
            | EventKind::Verdict { .. }
            | EventKind::Artifact { .. }
            | EventKind::Connection { .. } => Vec::new(),
        };
        print(&lines)
    }

    fn state_lines(&self, state: &State) -> Vec<Line> {
        let State::Finished(ended) = state else { return Vec::new() };
        let exit = Exit::of(ended);
        if self.until == Until::SetUp && matches!(exit, Exit::Interrupted | Exit::Done) {
            return Vec::new();
        }
        let style = if exit == Exit::Done { GOOD } else { BAD };
        vec![Line::default(), Line::default().with(style, &ended.sentence)]
    }

    fn started(&mut self, item: &Item) -> Vec<Line> {
        let ItemBody::Command(run) = &item.body else { return Vec::new() };
        self.open.insert(item.id, String::new());
        let head = Line::default().with(BOLD, name(run.phase));
        let script = run.command.lines().map(|line| Line::default().with(DIM, "  $ ").with(ACCENT, line));
        std::iter::once(head).chain(script).collect()
    }

    fn more(&mut self, item: ItemId, delta: &str) -> Vec<Line> {
        let Some(open) = self.open.get_mut(&item) else { return Vec::new() };
        open.push_str(delta);
        let end = match open.rfind('\n') {
            Some(end) => end + 1,
            None if open.len() > LINE_BYTES_MAX => open.len(),
            None => return Vec::new(),
        };
        let rest = open.split_off(end);
        std::mem::replace(open, rest).lines().map(Line::of).collect()
    }

    fn completed(&mut self, item: &Item) -> Vec<Line> {
        match &item.body {
            ItemBody::Notice { level, text } => vec![notice(*level, text)],
            ItemBody::Command(run) => {
                let rest = self.open.remove(&item.id).unwrap_or_default();
                rest.lines().map(Line::of).chain([ending(run)]).collect()
            }
            ItemBody::Message { .. }
            | ItemBody::Reasoning { .. }
            | ItemBody::FileChange { .. }
            | ItemBody::ToolCall { .. }
            | ItemBody::Plan { .. }
            | ItemBody::Instructions { .. }
            | ItemBody::Question { .. }
            | ItemBody::Approval { .. } => Vec::new(),
        }
    }
}

const fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => "set-up",
        Phase::Start => "services",
        Phase::Agent => "command",
        Phase::CheckBase | Phase::CheckPatched => "tests",
    }
}

fn notice(level: Level, text: &str) -> Line {
    let style = match level {
        Level::Info => DIM,
        Level::Warning => WARN,
        Level::Error => BAD,
    };
    Line::default().with(style, text)
}

fn ending(run: &CommandRun) -> Line {
    let seconds =
        run.duration_ms.map(|ms| format!(" after {}.{} s", ms / 1000, ms % 1000 / 100)).unwrap_or_default();
    match run.exit_code {
        Some(0) => Line::default().with(GOOD, "ok").with(DIM, &seconds),
        Some(code) => Line::default().with(BAD, &format!("exit code {code}")).with(DIM, &seconds),
        None => Line::default().with(BAD, "did not end by itself").with(DIM, &seconds),
    }
}

fn print(lines: &[Line]) -> anyhow::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let stdout = std::io::stdout();
    let paint = Paint::of(&stdout);
    let mut out = stdout.lock();
    for line in lines {
        writeln!(out, "{}", line.render(paint))?;
    }
    Ok(out.flush()?)
}
