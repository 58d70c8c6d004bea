//! The set-up script: run once for a checkout and a recipe, frozen, and shared by all turns and checks.

use legwork_agent::Timeline;
use legwork_domain::{Environment, Item, ItemId, Level, Phase};
use legwork_environment::{Cause, Ending, cause};
use legwork_sandbox::{Exit, Sandbox};
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::checkout::Checkout;
use crate::clean::last_lines;
use crate::command::{self, FailedCommand, Line, Ran};
use crate::end::End;
use crate::layers::{self, Stack};
use crate::root::Root;
use crate::start;
use crate::turn::Worker;

/// Lines of a failed script's output that its sentence quotes.
const QUOTED_LINES: usize = 5;

/// Characters of a failed command that its sentence quotes.
const COMMAND_CHARS_MAX: usize = 200;

/// The names of the layers of a checkout with its set-up.
#[derive(Serialize, Deserialize)]
struct Done {
    layers: Vec<String>,
}

/// What a set-up runs on, beside the checkout.
#[derive(Clone, Copy)]
struct Below<'a> {
    environment: &'a Environment,
    root: &'a Root,
}

/// What a set-up led to.
pub(crate) enum SetUp {
    /// The layers with it.
    Done(Stack),
    /// It failed; nothing of it is used again.
    Failed(Box<Fault>),
}

/// A set-up that failed.
pub(crate) struct Fault {
    /// How, by which command, with which last words, and likely why: sentences for a person.
    pub(crate) words: String,
    /// What mends it, if that can be told.
    pub(crate) mend: Option<String>,
    /// Whose output says more.
    pub(crate) item: ItemId,
    /// The files as it left them, to be looked at; the checkout alone if it took the work tree away.
    pub(crate) left: Stack,
}

/// The layers of a checkout after its set-up. Without a script they are the checkout's own.
///
/// The layers are found again by all that the script's result depends on: the checkout, the script, its variables and the
/// toolchains. A script that fails is run again the next time.
///
/// # Errors
/// The turn's end, if a sandbox cannot be made or the layers cannot be kept.
pub(crate) async fn layers(
    worker: &Worker,
    timeline: &Timeline,
    checkout: &Checkout,
    environment: &Environment,
    root: &Root,
) -> Result<SetUp, End> {
    let stack = Stack::new(checkout.layers());
    let Some(script) = environment.setup.as_deref().filter(|script| !script.trim().is_empty()) else {
        return Ok(SetUp::Done(stack));
    };
    let ground = Below { environment, root };
    let owner = worker.keyring.of(timeline.turn()).owner;
    let key = key(worker, &stack, ground, &[script, &owner]);
    if let Some(ready) = ready(worker, &key) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(SetUp::Done(ready));
    }
    let maker = worker.setups.lock(&key).await.map_err(End::internal)?;
    if let Some(ready) = ready(worker, &key) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(SetUp::Done(ready));
    }
    let done = run(worker, timeline, stack, ground, script).await?;
    if let SetUp::Done(stack) = &done {
        worker.setups.write(&key, &Done { layers: stack.names() }, &maker).map_err(End::internal)?;
    }
    Ok(done)
}

fn ready(worker: &Worker, key: &str) -> Option<Stack> {
    worker.setups.read::<Done>(key).and_then(|done| Stack::from_names(&done.layers))
}

fn key(worker: &Worker, stack: &Stack, below: Below<'_>, [script, owner]: &[&str; 2]) -> String {
    let Below { environment, root } = below;
    let layers = stack.names().join("\n");
    let variables: Vec<String> =
        environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let chosen: Vec<String> =
        environment.toolchains.iter().map(|(name, version)| format!("{name}={version}")).collect();
    let toolchains: Vec<String> =
        root.env(worker).iter().map(|(name, value)| format!("{name}={value}")).collect();
    cache::key(&[
        layers.as_bytes(),
        root.digest().as_bytes(),
        script.as_bytes(),
        variables.join("\0").as_bytes(),
        chosen.join("\0").as_bytes(),
        toolchains.join("\0").as_bytes(),
        environment.workdir.as_deref().unwrap_or_default().as_bytes(),
        serde_json::to_string(&(&environment.setup_network, &environment.secrets))
            .unwrap_or_default()
            .as_bytes(),
        // Placeholders in what a set-up leaves are its owner's.
        if environment.secrets.is_empty() { b"" } else { owner.as_bytes() },
    ])
}

async fn run(
    worker: &Worker,
    timeline: &Timeline,
    mut stack: Stack,
    below: Below<'_>,
    script: &str,
) -> Result<SetUp, End> {
    let Below { environment, root } = below;
    let spec = worker.spec("setup", stack.all(), environment, root);
    let sandbox = worker.open(timeline, spec, environment, Phase::Setup).await?;
    let timeout_ms = environment.resources.command_ms;
    let workdir = start::workdir(environment);
    let line = Line { command: script, phase: Phase::Setup, timeout_ms, workdir: &workdir };
    let ran = command::run(timeline, sandbox.as_ref(), line).await.map_err(|error| End::sandbox(&error))?;
    let failed = ran.exit != Exit::Code(0);
    let words = if failed { Some(words(sandbox.as_ref(), &ran, environment).await) } else { None };
    let frozen = match sandbox.snapshot().await {
        Ok(frozen) => frozen,
        // A machine that died with its script has no files to look at.
        Err(_) if failed => return Ok(fault(words, &ran.item, stack)),
        Err(error) => return Err(End::sandbox(&error)),
    };
    if layers::work_tree_is_gone(&frozen) {
        let gone = "The set-up script removed or replaced the work tree itself (/workspace).".to_owned();
        return Ok(fault(words.or(Some((gone, None))), &ran.item, stack));
    }
    stack.push(&frozen).map_err(End::internal)?;
    Ok(if failed { fault(words, &ran.item, stack) } else { SetUp::Done(stack) })
}

fn fault(words: Option<(String, Option<String>)>, item: &Item, left: Stack) -> SetUp {
    let (words, mend) = words.unwrap_or_default();
    SetUp::Failed(Box::new(Fault { words, mend, item: item.id, left }))
}

/// What happened and why, and what mends it.
async fn words(sandbox: &dyn Sandbox, ran: &Ran, environment: &Environment) -> (String, Option<String>) {
    let (how, ending) = match ran.exit {
        Exit::Code(code) => (format!("ended with exit code {code}"), Ending::Code(code)),
        Exit::Signal(signal) => (format!("was ended by signal {signal}"), Ending::Signal(signal)),
        Exit::TimedOut => {
            (format!("was ended after {} s", environment.resources.command_ms / 1000), Ending::TimedOut)
        }
        // What ends a whole machine is mostly that its memory is over.
        Exit::Lost => ("was lost with its sandbox".to_owned(), Ending::Signal(9)),
    };
    let output = command::output(&ran.item);
    let at = command::failed(sandbox).await.map(|failed| place(&failed)).unwrap_or_default();
    let said = last_lines(output, QUOTED_LINES);
    let said = if said.is_empty() { " and said nothing".to_owned() } else { format!(": {said}") };
    let (likely, mend) = match cause(ending, output) {
        Some(Cause { why, mend, .. }) => (format!(" Likely because {why}."), Some(mend)),
        None => (String::new(), None),
    };
    let policy = environment.setup_network.name();
    let words = format!(
        "The set-up script {how}{at}{said}.{likely} The network policy of the set-up is \"{policy}\"."
    );
    (words, mend)
}

fn place(failed: &FailedCommand) -> String {
    let command: String = failed
        .command
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(COMMAND_CHARS_MAX)
        .collect();
    format!(" at line {}, `{command}`", failed.line)
}
