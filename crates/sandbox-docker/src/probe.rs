//! What of the engine's part of a sandbox this machine offers.

use legwork_sandbox::{Error, Probe, Status};

use crate::Settings;
use crate::engine::{Engine, Facts};

/// The name of the probe of the engine itself.
const ENGINE: &str = "container engine";

/// Asks the engine what it is, and whether it can do what is needed. Starts nothing.
pub async fn probe(settings: Settings) -> Vec<Probe> {
    let at = settings.socket.display().to_string();
    let engine = Engine::new(settings);
    match engine.facts().await {
        Ok(facts) => found(facts, &at, engine.settings.runtime.as_deref()),
        Err(error) => vec![missing(&error)],
    }
}

fn missing(error: &Error) -> Probe {
    let (detail, mend) = if let Error::Unavailable { what, mend } = error {
        (format!("not available: {what}"), Some(mend.clone()))
    } else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        (format!("{error}{cause}"), None)
    };
    Probe { name: ENGINE, status: Status::Missing, detail, mend }
}

fn found(facts: &Facts, at: &str, runtime: Option<&str>) -> Vec<Probe> {
    let rootless = if facts.is_rootless { ", rootless" } else { "" };
    let (major, minor) = facts.api;
    let detail = format!("{} {}, API {major}.{minor}{rootless}, at {at}", facts.make.name(), facts.version);
    let engine = Probe { name: ENGINE, status: Status::Available, detail, mend: None };
    let runtime = runtime.unwrap_or(&facts.info.default_runtime).to_owned();
    let runtime = Probe { name: "container runtime", status: Status::Available, detail: runtime, mend: None };
    let limit = |name, is_there: bool, without: (Status, &str)| {
        let (status, detail) = if is_there { (Status::Available, "set by the engine") } else { without };
        let mend =
            (!is_there).then(|| "Give the engine control groups; rootless ones need Delegate=yes".to_owned());
        Probe { name, status, detail: detail.to_owned(), mend }
    };
    let watched = (Status::Limited, "the guest looks four times a second and kills the largest process");
    let counted = (Status::Available, "the user namespace's own count (RLIMIT_NPROC)");
    let unlimited = (Status::Missing, "a sandbox may take all processors");
    let info = &facts.info;
    let processes = Probe { mend: None, ..limit("process limit", info.pids_limit, counted) };
    vec![
        engine,
        runtime,
        limit("memory limit", info.memory_limit, watched),
        processes,
        limit("processor limit", info.cpu_cfs_quota, unlimited),
    ]
}
