//! Services that a recipe starts in each sandbox before anything else runs there.

use legwork_agent::Timeline;
use legwork_domain::{Environment, Level, Phase};
use legwork_sandbox::{Error, Exit, Sandbox, WORKSPACE};

use crate::command::{self, Line};

/// How long a start script may take: databases that make their files first take some ten seconds.
const START_MS: u64 = 2 * 60 * 1000;

/// Where set-up, checks and services run.
pub(crate) fn workdir(environment: &Environment) -> String {
    environment.workdir.as_ref().map_or_else(|| WORKSPACE.to_owned(), |at| format!("{WORKSPACE}/{at}"))
}

/// Runs the start script to its end; what it put into the background goes on. One that fails is told and the work goes on: what
/// needs the service says so itself.
///
/// # Errors
/// If the command could not be run at all.
pub(crate) async fn run(
    timeline: &Timeline,
    sandbox: &dyn Sandbox,
    environment: &Environment,
) -> Result<(), Error> {
    let Some(script) = environment.start.as_deref().filter(|script| !script.trim().is_empty()) else {
        return Ok(());
    };
    let workdir = workdir(environment);
    let line = Line { command: script, phase: Phase::Start, timeout_ms: START_MS, workdir: &workdir };
    let ran = command::run(timeline, sandbox, line).await?;
    if ran.exit != Exit::Code(0) {
        let text = format!(
            "The start script of the environment failed (its output is {}); the services that it starts may be missing.",
            ran.item.id
        );
        timeline.notice(Level::Warning, text).await;
    }
    Ok(())
}
