//! What a sandbox for commands of the repository or the agent is made of.

use legwork_domain::Environment;
use legwork_sandbox::{Access, Bind, Doors, IfLost, Image, Layer, Limits, PATH, Spec};

/// Where package managers put programs that are a user's own.
const OWN_PROGRAMS: [&str; 3] = ["/home/agent/.local/bin", "/home/agent/.cargo/bin", "/home/agent/go/bin"];

/// What lies below the layers of a sandbox, and is shown beside them.
pub(crate) struct Below {
    pub(crate) image: Image,
    pub(crate) binds: Vec<Bind>,
    /// Below the recipe's variables.
    pub(crate) env: Vec<(String, String)>,
}

/// A sandbox of that name for commands of the repository or the agent.
pub(crate) fn spec(name: String, below: Below, layers: Vec<Layer>, environment: &Environment) -> Spec {
    let resources = environment.resources;
    let Below { image, binds, env } = below;
    let env = with_own_programs(env);
    let chosen = legwork_environment::toolchain_variables(&environment.toolchains);
    let variables: Vec<(String, String)> = environment
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), search_path(name, value, &env)))
        .collect();
    Spec {
        name,
        image,
        layers,
        binds,
        workspace: Access::Write,
        env: env.into_iter().chain(chosen).chain(variables).collect(),
        limits: Limits {
            memory_bytes: resources.memory_mib << 20,
            processes: resources.processes,
            cpu_millis: resources.cpu_millis,
            disk_bytes: resources.disk_mib << 20,
            open_files: resources.open_files,
            ..Limits::default()
        },
        if_lost: IfLost::Removed,
        doors: Doors::Closed,
    }
}

/// Programs that commands install for themselves (`pip install --user`, `cargo install`, `go install`) are found like all
/// others, before them.
fn with_own_programs(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = OWN_PROGRAMS.join(":");
    match env.iter_mut().find(|(name, _)| name == "PATH") {
        Some((_, path)) => *path = format!("{own}:{path}"),
        None => env.push(("PATH".to_owned(), format!("{own}:{PATH}"))),
    }
    env
}

/// `$PATH` in a value of `PATH` is the sandbox's own; in all else a dollar is a dollar.
fn search_path(name: &str, value: &str, known: &[(String, String)]) -> String {
    let own = known.iter().find(|(known, _)| known == "PATH").filter(|_| name == "PATH");
    own.map_or_else(|| value.to_owned(), |(_, own)| value.replace("$PATH", own))
}
