//! The set-up script: run once for a checkout and a recipe, frozen, and shared by all turns and checks.

use legwork_agent::Timeline;
use legwork_domain::{Environment, Failure, ItemStatus, Level, Phase};
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::checkout::Checkout;
use crate::clean::last_lines;
use crate::command::{self, Line};
use crate::end::End;
use crate::layers::{self, Stack};
use crate::root::Root;
use crate::turn::Worker;

/// Lines of a failed script's output that its sentence quotes.
const QUOTED_LINES: usize = 5;

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

/// The layers of a checkout after its set-up. Without a script they are the checkout's own.
///
/// The layers are found again by all that the script's result depends on: the checkout, the script, its variables and the
/// toolchains. A script that fails is run again the next time.
///
/// # Errors
/// The turn's end, with the script's last words.
pub(crate) async fn layers(
    worker: &Worker,
    timeline: &Timeline,
    checkout: &Checkout,
    environment: &Environment,
    root: &Root,
) -> Result<Stack, End> {
    let stack = Stack::new(checkout.layers());
    let Some(script) = environment.setup.as_deref().filter(|script| !script.trim().is_empty()) else {
        return Ok(stack);
    };
    let ground = Below { environment, root };
    let key = key(worker, &stack, ground, script);
    if let Some(ready) = ready(worker, &key) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(ready);
    }
    let maker = worker.setups.lock(&key).await.map_err(End::internal)?;
    if let Some(ready) = ready(worker, &key) {
        timeline.notice(Level::Info, "The set-up of an earlier run is used again.").await;
        return Ok(ready);
    }
    let stack = run(worker, timeline, stack, ground, script).await?;
    worker.setups.write(&key, &Done { layers: stack.names() }, &maker).map_err(End::internal)?;
    Ok(stack)
}

fn ready(worker: &Worker, key: &str) -> Option<Stack> {
    worker.setups.read::<Done>(key).and_then(|done| Stack::from_names(&done.layers))
}

fn key(worker: &Worker, stack: &Stack, below: Below<'_>, script: &str) -> String {
    let Below { environment, root } = below;
    let layers = stack.names().join("\n");
    let variables: Vec<String> =
        environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let toolchains: Vec<String> =
        root.env(worker).iter().map(|(name, value)| format!("{name}={value}")).collect();
    cache::key(&[
        layers.as_bytes(),
        root.digest().as_bytes(),
        script.as_bytes(),
        variables.join("\0").as_bytes(),
        toolchains.join("\0").as_bytes(),
    ])
}

async fn run(
    worker: &Worker,
    timeline: &Timeline,
    mut stack: Stack,
    below: Below<'_>,
    script: &str,
) -> Result<Stack, End> {
    let Below { environment, root } = below;
    let spec = worker.spec("setup", stack.all(), environment, root);
    let sandbox = worker.config.backend.create(spec).await.map_err(|error| End::sandbox(&error))?;
    let timeout_ms = environment.resources.command_ms;
    let line = Line { command: script, phase: Phase::Setup, timeout_ms };
    let item = command::run(timeline, sandbox.as_ref(), line).await.map_err(|error| End::sandbox(&error))?;
    if command::exit_code(&item) != Some(0) {
        let how = match command::exit_code(&item) {
            Some(code) => format!("ended with exit code {code}"),
            None if item.status == ItemStatus::Interrupted => "was lost with its sandbox".to_owned(),
            None => "did not end by itself".to_owned(),
        };
        let words = last_lines(command::output(&item), QUOTED_LINES);
        let said = if words.is_empty() { " and said nothing".to_owned() } else { format!(": {words}") };
        let sentence = format!(
            "The set-up script {how}{said}. The agent was not started; mend the script (its whole output is {}). There is no network in the sandbox.",
            item.id
        );
        return Err(End::failed(Failure::Setup, sentence));
    }
    let frozen = sandbox.snapshot().await.map_err(|error| End::sandbox(&error))?;
    if layers::work_tree_is_gone(&frozen) {
        let sentence = "The set-up script removed or replaced the work tree itself (/workspace). The agent was not started; mend the script.";
        return Err(End::failed(Failure::Setup, sentence));
    }
    stack.push(&frozen).map_err(End::internal)?;
    Ok(stack)
}
