//! The set-up script: run once for a checkout and a recipe, frozen, and shared by all turns and checks.

use legwork_agent::{Timeline, now};
use legwork_domain::{Environment, ItemId, Level, Phase, Timestamp};
use legwork_environment::{Cause, Ending, cause};
use legwork_sandbox::{Exit, Sandbox};
use serde::{Deserialize, Serialize};

use crate::cache::{self, Maker};
use crate::checkout::Checkout;
use crate::clean::last_lines;
use crate::command::{self, FailedCommand, Line, Ran};
use crate::end::End;
use crate::keyring::Handed;
use crate::layers::{self, Stack};
use crate::network::Salt;
use crate::resume::Earlier;
use crate::root::Root;
use crate::worker::Worker;
use crate::{packages, resume, start};

/// Lines of a failed script's output that its sentence quotes.
const QUOTED_LINES: usize = 5;

/// Characters of a failed command that its sentence quotes.
const COMMAND_CHARS_MAX: usize = 200;

/// How long the set-up of a branch is used as it is. Half a day: what was pushed and published in the morning is there after lunch.
const FRESH_MS: u64 = 12 * 60 * 60 * 1000;

/// The names of the layers of a checkout with its set-up.
#[derive(Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) layers: Vec<String>,
    /// How often it was brought up to date since it was made from nothing.
    pub(crate) times: u32,
    /// When it was made or brought up to date.
    at: Timestamp,
}

/// A command of a set-up.
pub(crate) struct Step {
    /// Begins the sentence on how it failed.
    pub(crate) what: &'static str,
    pub(crate) script: String,
}

/// A set-up that a turn wants.
struct Wanted<'a> {
    worker: &'a Worker,
    timeline: &'a Timeline,
    checkout: &'a Checkout,
    environment: &'a Environment,
    root: &'a Root,
    handed: Handed,
    /// For the versions of secrets.
    salt: Salt,
    /// What it does when it is made from nothing.
    steps: Vec<Step>,
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
/// The layers are found again by all that the result depends on ([`Wanted::key`]). A script that fails is run again the next time. Where
/// the recipe says how, the set-up of an earlier commit is brought up to date instead of one being made from nothing, and so is
/// one of a branch that is older than [`FRESH_MS`].
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
    let stack = checkout.stack();
    let steps = steps(environment, root);
    if steps.is_empty() {
        return Ok(SetUp::Done(stack));
    }
    let Some(handed) = worker.keyring.of(timeline.turn()) else {
        return Err(End::internal("A set-up was wanted for a turn that is over"));
    };
    let salt = Salt::of(&worker.config.data).map_err(End::internal)?;
    let wanted = Wanted { worker, timeline, checkout, environment, root, handed, salt, steps };
    let exact = wanted.key(&[&stack.names().join("\n"), &wanted.scripts()]);
    if let Found::Fresh(ready) = wanted.ready(&exact) {
        return Ok(wanted.used(ready).await);
    }
    let maker = worker.setups.lock(&wanted.handed.compartment.own(&exact)).await.map_err(End::internal)?;
    // Another attempt may have made it while this one waited.
    let old = match wanted.ready(&exact) {
        Found::Fresh(ready) => return Ok(wanted.used(ready).await),
        Found::Old(old) => Some(old),
        Found::None => None,
    };
    let (done, times) = match wanted.resumed(old).await? {
        Some((stack, times)) => (SetUp::Done(stack), times),
        None => (wanted.run(stack, &wanted.steps).await?, 0),
    };
    if let SetUp::Done(stack) = &done {
        wanted.keep((&exact, &maker), &Done { layers: stack.names(), times, at: now() }).await?;
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

/// What there is of a set-up.
enum Found {
    Fresh(Stack),
    /// It is there, and too old for what follows a branch.
    Old(Earlier),
    None,
}

impl Wanted<'_> {
    fn scripts(&self) -> String {
        self.steps.iter().map(|step| step.script.as_str()).collect::<Vec<_>>().join("\0")
    }

    /// What brings one up to date.
    fn maintenance(&self) -> Option<&str> {
        self.environment.maintenance.as_deref().filter(|script| !script.trim().is_empty())
    }

    /// Names what there is of a commit.
    fn key_of(&self, commit: &str, maintenance: &str) -> String {
        self.key(&[commit, &format!("{}\0{maintenance}", self.scripts())])
    }

    /// Names a set-up by what it stands on (layers, or a commit), its scripts, and all else that its result depends on: the
    /// repository, whose names and refs programs see; what lies beside it, at which commits; the root; variables, toolchains and resources; the network; what the
    /// operator shows; each secret in the version that it has now; and how often the repository's caches were reset.
    fn key(&self, [on, script]: &[&str; 2]) -> String {
        let Self { worker, environment, root, handed, .. } = self;
        let pairs = |pairs: Vec<(String, String)>| -> String {
            pairs.into_iter().map(|(name, value)| format!("{name}={value}\0")).collect()
        };
        let shown = root.binds(worker).into_iter();
        let shown = shown.map(|bind| (bind.host.display().to_string(), bind.inside.display().to_string()));
        // Texts and numbers under fixed names: it cannot fail.
        let rest = (&environment.setup_network, &environment.secrets, environment.resources);
        let rest = serde_json::to_string(&rest).unwrap_or_default();
        cache::key(&[
            on.as_bytes(),
            root.digest().as_bytes(),
            script.as_bytes(),
            pairs(environment.variables.clone().into_iter().collect()).as_bytes(),
            pairs(environment.toolchains.clone().into_iter().collect()).as_bytes(),
            pairs(root.env(worker)).as_bytes(),
            pairs(shown.collect()).as_bytes(),
            environment.workdir.as_deref().unwrap_or_default().as_bytes(),
            rest.as_bytes(),
            // Placeholders in what a set-up leaves are its owner's.
            if environment.secrets.is_empty() { b"" } else { handed.owner.as_bytes() },
            self.versions().join("\0").as_bytes(),
            self.checkout.source.as_bytes(),
            self.checkout.laid().as_bytes(),
            &handed.compartment.generation(),
        ])
    }

    /// What tells each secret's value from another one, and nothing else of it.
    fn versions(&self) -> Vec<String> {
        let version = |name: &str| {
            let secret = self.handed.secrets.iter().find(|handed| handed.name == name);
            secret.map_or_else(|| "none".to_owned(), |secret| self.salt.version(name, &secret.value.0))
        };
        self.environment.secrets.iter().map(|one| version(&one.name)).collect()
    }

    /// The set-up of that name. A commit stays what it is; who starts from a branch wants what its set-up would install today.
    /// An attempt that has begun stays on what it began on.
    fn ready(&self, exact: &str) -> Found {
        let Handed { compartment, begins, .. } = &self.handed;
        let mut old = Found::None;
        for name in compartment.names(exact) {
            let Some(done) = self.worker.setups.read::<Done>(&name) else { continue };
            let Some(stack) = Stack::from_names(&done.layers) else { continue };
            if !begins || self.checkout.branch.is_none() || now().ms_since(done.at) < FRESH_MS {
                return Found::Fresh(stack);
            }
            if matches!(old, Found::None) {
                let commit = self.checkout.commit.clone();
                old = Found::Old(Earlier { stack, commit, times: done.times });
            }
        }
        old
    }

    async fn used(&self, ready: Stack) -> SetUp {
        self.timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        SetUp::Done(ready)
    }

    /// An earlier set-up (`old`, or of an earlier commit), brought up to date, and how often it now was. Where there is none, or it
    /// cannot be, none.
    async fn resumed(&self, old: Option<Earlier>) -> Result<Option<(Stack, u32)>, End> {
        let Some(maintenance) = self.maintenance() else { return Ok(None) };
        let compartment = &self.handed.compartment;
        let names = |commit: &str| compartment.names(&self.key_of(commit, maintenance));
        let earlier = match old {
            Some(old) => Some(old).filter(Earlier::may_be_resumed),
            None => resume::find(self.worker, self.checkout, names).await?,
        };
        let Some(Earlier { stack, commit, times }) = earlier else { return Ok(None) };
        let text = if commit == self.checkout.commit {
            "The set-up of an earlier run is more than 12 hours old; it is brought up to date.".to_owned()
        } else {
            let commit: String = commit.chars().take(12).collect();
            format!("The set-up of an earlier commit ({commit}) is used again and brought up to date.")
        };
        self.timeline.notice(Level::Info, text).await;
        match self.run(stack, &resume::steps(&self.checkout.commit, maintenance)).await? {
            SetUp::Done(stack) => Ok(Some((stack, times + 1))),
            SetUp::Failed(fault) => {
                let text = format!("{} The set-up is made from nothing instead.", fault.words);
                self.timeline.notice(Level::Warning, text).await;
                Ok(None)
            }
        }
    }

    /// Lets later turns find it.
    async fn keep(&self, (exact, maker): (&str, &Maker), done: &Done) -> Result<(), End> {
        let (setups, compartment) = (&self.worker.setups, &self.handed.compartment);
        setups.write(&compartment.own(exact), done, maker).map_err(End::internal)?;
        let Some(maintenance) = self.maintenance() else { return Ok(()) };
        let key = compartment.own(&self.key_of(&self.checkout.commit, maintenance));
        let maker = setups.lock(&key).await.map_err(End::internal)?;
        setups.write(&key, done, &maker).map_err(End::internal)
    }

    async fn run(&self, mut stack: Stack, steps: &[Step]) -> Result<SetUp, End> {
        let Self { worker, timeline, environment, root, .. } = self;
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
            let survived = command::failed(sandbox.as_ref()).await.filter(FailedCommand::was_missing);
            if let Some(text) = survived.map(|missing| went_on(step.what, &missing)) {
                timeline.notice(Level::Warning, text).await;
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
}

fn fault((words, mend): (String, Option<String>), item: ItemId, left: Stack) -> SetUp {
    SetUp::Failed(Box::new(Fault { words, mend, item, left }))
}

/// A shell goes on after a program that is not there, and what is missing shows much later.
fn went_on(what: &str, missing: &FailedCommand) -> String {
    let (at, code) = (place(missing), missing.code);
    format!(
        "{what} ended well, but went on{at}, which could not be run (exit code {code}). With `set -e` at its top it ends there."
    )
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
