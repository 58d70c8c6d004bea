//! The set-up script: run once for a checkout and a recipe, frozen, and shared by all turns and checks.

use legwork_agent::Timeline;
use legwork_domain::{Environment, ItemId, Level, Phase};
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
use crate::worker::Worker;
use crate::{packages, resume, start};

/// Lines of a failed script's output that its sentence quotes.
const QUOTED_LINES: usize = 5;

/// Characters of a failed command that its sentence quotes.
const COMMAND_CHARS_MAX: usize = 200;

/// The names of the layers of a checkout with its set-up.
#[derive(Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) layers: Vec<String>,
    /// How often it was brought up to date since it was made from nothing.
    #[serde(default)]
    pub(crate) times: u32,
}

/// A command of a set-up.
pub(crate) struct Step {
    /// Begins the sentence on how it failed.
    pub(crate) what: &'static str,
    pub(crate) script: String,
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

/// The layers of a checkout after its set-up. Without a script and packages they are the checkout's own.
///
/// The layers are found again by all that the result depends on: the checkout, the script, its variables and the
/// toolchains. A script that fails is run again the next time. Where the recipe says how, the set-up of an earlier commit is
/// brought up to date instead of one being made from nothing.
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
    packages::look(worker, timeline, environment, root).await?;
    let stack = Stack::new(checkout.layers());
    let steps = steps(environment, root);
    if steps.is_empty() {
        return Ok(SetUp::Done(stack));
    }
    let ground = Below { environment, root };
    let owner = worker.keyring.of(timeline.turn()).map(|handed| handed.owner).unwrap_or_default();
    let scripts = steps.iter().map(|step| step.script.as_str()).collect::<Vec<_>>().join("\0");
    let names = stack.names().join("\n");
    let exact = key(worker, ground, &[&names, &scripts, &owner]);
    if let Some(ready) = ready(worker, &exact) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(SetUp::Done(ready));
    }
    let maker = worker.setups.lock(&exact).await.map_err(End::internal)?;
    if let Some(ready) = ready(worker, &exact) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(SetUp::Done(ready));
    }
    let maintenance = environment.maintenance.as_deref().filter(|script| !script.trim().is_empty());
    let of_commit = maintenance.map(|maintenance| {
        let scripts = format!("{scripts}\0{maintenance}");
        let below = (worker, ground, owner.as_str());
        (maintenance, move |commit: &str| key(below.0, below.1, &[commit, &scripts, below.2]))
    });
    let mut times = 0;
    let mut done = None;
    if let Some((maintenance, key)) = &of_commit {
        done = resumed(worker, timeline, ground, (checkout, maintenance), key).await?;
        times = done.as_ref().map_or(0, |(_, times)| *times);
    }
    let done = match done {
        Some((stack, _)) => SetUp::Done(stack),
        None => run(worker, timeline, stack, ground, &steps).await?,
    };
    if let SetUp::Done(stack) = &done {
        let made = Done { layers: stack.names(), times };
        worker.setups.write(&exact, &made, &maker).map_err(End::internal)?;
        if let Some((_, key)) = &of_commit {
            let key = key(&checkout.commit);
            let maker = worker.setups.lock(&key).await.map_err(End::internal)?;
            worker.setups.write(&key, &made, &maker).map_err(End::internal)?;
        }
    }
    Ok(done)
}

/// What a set-up from nothing does, one after the other.
fn steps(environment: &Environment, root: &Root) -> Vec<Step> {
    let packages = packages::script(environment, root)
        .map(|script| Step { what: "The installation of system packages", script });
    let script = environment.setup.clone().filter(|script| !script.trim().is_empty());
    packages.into_iter().chain(script.map(|script| Step { what: "The set-up script", script })).collect()
}

/// The set-up of an earlier commit, brought up to date, and how often it now was. One that cannot be is told, and none.
async fn resumed(
    worker: &Worker,
    timeline: &Timeline,
    ground: Below<'_>,
    (checkout, maintenance): (&Checkout, &str),
    key: impl Fn(&str) -> String,
) -> Result<Option<(Stack, u32)>, End> {
    let Some(earlier) = resume::find(worker, checkout, key).await? else { return Ok(None) };
    let commit: String = earlier.commit.chars().take(12).collect();
    let text = format!("The set-up of an earlier commit ({commit}) is used again and brought up to date.");
    timeline.notice(Level::Info, text).await;
    let steps = resume::steps(&checkout.commit, maintenance);
    match run(worker, timeline, earlier.stack, ground, &steps).await? {
        SetUp::Done(stack) => Ok(Some((stack, earlier.times + 1))),
        SetUp::Failed(fault) => {
            let text = format!("{} The set-up is made from nothing instead.", fault.words);
            timeline.notice(Level::Warning, text).await;
            Ok(None)
        }
    }
}

fn ready(worker: &Worker, key: &str) -> Option<Stack> {
    worker.setups.read::<Done>(key).and_then(|done| Stack::from_names(&done.layers))
}

/// Names a set-up by what it stands on (layers, or a commit), its scripts, whose it is, and all else that its result depends on.
fn key(worker: &Worker, below: Below<'_>, [on, script, owner]: &[&str; 3]) -> String {
    let Below { environment, root } = below;
    let variables: Vec<String> =
        environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let chosen: Vec<String> =
        environment.toolchains.iter().map(|(name, version)| format!("{name}={version}")).collect();
    let toolchains: Vec<String> =
        root.env(worker).iter().map(|(name, value)| format!("{name}={value}")).collect();
    cache::key(&[
        on.as_bytes(),
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
    steps: &[Step],
) -> Result<SetUp, End> {
    let Below { environment, root } = below;
    let spec = worker.spec("setup", stack.all(), environment, root);
    let sandbox = worker.open(timeline, spec, environment, Phase::Setup).await?;
    let timeout_ms = environment.resources.command_ms;
    let workdir = start::workdir(environment);
    let (mut failed, mut last) = (None, ItemId::new(0));
    for step in steps {
        let line = Line { command: &step.script, phase: Phase::Setup, timeout_ms, workdir: &workdir };
        let ran =
            command::run(timeline, sandbox.as_ref(), line).await.map_err(|error| End::sandbox(&error))?;
        last = ran.item.id;
        if ran.exit != Exit::Code(0) {
            let words = words(step.what, sandbox.as_ref(), &ran, environment).await;
            failed = Some((words, last));
            break;
        }
    }
    let frozen = match (sandbox.snapshot().await, &failed) {
        (Ok(frozen), _) => frozen,
        // A machine that died with its script has no files to look at.
        (Err(_), Some((words, item))) => return Ok(fault(words.clone(), *item, stack)),
        (Err(error), None) => return Err(End::sandbox(&error)),
    };
    if layers::work_tree_is_gone(&frozen) {
        let gone = "The set-up script removed or replaced the work tree itself (/workspace).".to_owned();
        let (words, item) = failed.unwrap_or(((gone, None), last));
        return Ok(fault(words, item, stack));
    }
    stack.push(&frozen).map_err(End::internal)?;
    Ok(match failed {
        Some((words, item)) => fault(words, item, stack),
        None => SetUp::Done(stack),
    })
}

fn fault((words, mend): (String, Option<String>), item: ItemId, left: Stack) -> SetUp {
    SetUp::Failed(Box::new(Fault { words, mend, item, left }))
}

/// What happened and why, and what mends it.
async fn words(
    what: &str,
    sandbox: &dyn Sandbox,
    ran: &Ran,
    environment: &Environment,
) -> (String, Option<String>) {
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
    let words = format!("{what} {how}{at}{said}.{likely} The network policy of the set-up is \"{policy}\".");
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
