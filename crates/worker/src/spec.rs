//! What a sandbox for commands of the repository or the agent is made of.

use legwork_domain::Environment;
use legwork_sandbox::{Access, Bind, Doors, IfLost, Image, Layer, Limits, Spec};

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

/// `$PATH` in a value of `PATH` is the sandbox's own; in all else a dollar is a dollar.
fn search_path(name: &str, value: &str, known: &[(String, String)]) -> String {
    let own = known.iter().find(|(known, _)| known == "PATH").filter(|_| name == "PATH");
    own.map_or_else(|| value.to_owned(), |(_, own)| value.replace("$PATH", own))
}
