//! The way out of a turn's sandboxes: a proxy behind the doors of each, with the policy of its phase.
//!
//! A sandbox that may reach nothing has a proxy too: so what a program wanted, and which program, is told, and it is told at
//! once instead of after a time-out.

mod guarded;
mod lines;
mod policy;
mod receipts;
mod routes;
mod secrets;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_agent::Timeline;
use legwork_domain::{Environment, HandedSecret, NetworkPolicy, Phase};
use legwork_egress::{Door, Opened, Program, Proxy, Resolver, Roots, Settings, Upstream, Visit};
use legwork_sandbox::{Backend, Caller, CommandId, Connection, Doors, Error, Outlet, Query, Sandbox, Spec};
use tokio::task::JoinSet;

use crate::decoy::Decoy;

use guarded::{Guarded, Held};
use receipts::Receipts;
pub(crate) use secrets::Salt;
pub(crate) use tools::sweep;

/// Where the decoy lies. Nothing that works on a repository reads it: who does has searched the home directory.
const DECOY: &str = "/home/agent/.config/deploy/credentials";

/// What a worker's operator says about the network.
pub struct Network {
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolver>,
    /// What of the operator's own network may be reached, where a policy allows the name.
    pub opened: Opened,
    /// The operator's own proxy.
    pub upstream: Option<Upstream>,
    /// Whom to trust outside.
    pub roots: Roots,
    /// The hosts of package managers, as the policy `package_managers` has them: patterns as in a policy.
    pub package_managers: Vec<String>,
    /// What package managers inside are told of registries.
    pub tools: ToolConfig,
    /// Hosts that no sandbox reaches, whatever a policy says.
    pub deny: Vec<String>,
}

/// The operator's configuration of package managers, as sandboxes get it: it names registries and opens none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolConfig {
    /// Variables, below those of a recipe.
    pub variables: Vec<(String, String)>,
    /// Files by their path below the home directory. One that is there already stays.
    pub files: Vec<(String, String)>,
}

impl Default for Network {
    /// The machine's resolver and roots, nothing of its own network, and no package managers.
    fn default() -> Self {
        Self {
            resolver: Arc::new(legwork_egress::System),
            opened: Opened::default(),
            upstream: None,
            roots: Roots::system(),
            package_managers: Vec::new(),
            tools: ToolConfig::default(),
            deny: Vec::new(),
        }
    }
}

/// Why a sandbox with a way out could not be had.
pub(crate) enum NoSandbox {
    /// The policy cannot be used: a sentence.
    Policy(String),
    /// The sandbox could not be made.
    Sandbox(Error),
    /// Something of ours.
    Internal(String),
}

/// What a sandbox with a way out is made of.
pub(crate) struct Plan<'a> {
    pub(crate) network: &'a Network,
    pub(crate) environment: &'a Environment,
    pub(crate) decoy: Arc<Decoy>,
    /// Values of the recipe's secrets.
    pub(crate) secrets: &'a [HandedSecret],
    /// Whose secrets they are: the task's, or the stored recipe's.
    pub(crate) owner: String,
    pub(crate) timeline: &'a Timeline,
    pub(crate) phase: Phase,
    /// Where files for sandboxes are kept while they live.
    pub(crate) data: PathBuf,
}

impl Plan<'_> {
    const fn policy(&self) -> &NetworkPolicy {
        match self.phase {
            Phase::Setup => &self.environment.setup_network,
            // Services start in the sandbox of who needs them.
            Phase::Start | Phase::Agent | Phase::CheckBase | Phase::CheckPatched => &self.environment.network,
        }
    }

    /// Makes a sandbox whose way out is a proxy. The proxy ends with it.
    pub(crate) async fn create(
        self,
        backend: &dyn Backend,
        mut spec: Spec,
    ) -> Result<Arc<dyn Sandbox>, NoSandbox> {
        let internal = |error: &dyn std::fmt::Display| {
            NoSandbox::Internal(format!("The sandbox's proxy could not be made: {error}"))
        };
        let policy = policy::of(self.policy(), self.network).map_err(NoSandbox::Policy)?;
        let salt = Salt::of(&self.data).map_err(|error| internal(&error))?;
        let hidden = secrets::of(&self.environment.secrets, self.secrets, self.phase, &salt, &self.owner)
            .map_err(NoSandbox::Policy)?;
        let logins = secrets::git_logins(&self.environment.secrets, &hidden, &spec.env);
        let settings = Settings {
            policy,
            secrets: hidden.secrets,
            tripwire: Arc::clone(self.decoy.tripwire()),
            resolver: Arc::clone(&self.network.resolver),
            opened: self.network.opened.clone(),
            upstream: self.network.upstream.clone(),
            roots: self.network.roots.clone(),
            direct: legwork_sandbox::DIRECT,
        };
        let proxy = Proxy::new(settings).map_err(|error| internal(&error))?;
        let laid = tools::lay(&proxy, &self.data, &spec.name).map_err(|error| internal(&error))?;
        spec.doors = Doors::Open;
        spec.binds.extend(laid.binds(&spec.image));
        spec.env.extend(hidden.variables.into_iter().chain(logins));
        spec.env = tools::environment(spec.env, &self.network.tools);
        let sandbox = backend.create(spec).await.map_err(NoSandbox::Sandbox)?;
        lay_decoy(sandbox.as_ref(), self.decoy.text()).await.map_err(NoSandbox::Sandbox)?;
        tools::lay_files(sandbox.as_ref(), &self.network.tools).await.map_err(NoSandbox::Sandbox)?;
        let receipts = Receipts::start(&proxy, self.timeline.clone(), self.phase, self.policy().name());
        let Some(outlet) = sandbox.outlet() else { return Ok(sandbox) };
        let work = tokio::spawn(attend(outlet, Arc::clone(&proxy)));
        Ok(Arc::new(Guarded::new(sandbox, self.decoy, receipts, Held { laid, work })))
    }
}

async fn lay_decoy(sandbox: &dyn Sandbox, decoy: &str) -> Result<(), Error> {
    let text = format!("# deploy credentials\ntoken = {decoy}\n");
    sandbox.write(Path::new(DECOY), text.as_bytes(), Some(0o600)).await
}

/// Serves what comes out, until the sandbox has ended.
async fn attend(outlet: Outlet, proxy: Arc<Proxy>) {
    let Outlet { mut connections, mut queries } = outlet;
    let mut work = JoinSet::new();
    loop {
        // What there is no room for waits in the sandbox's own kernel queues.
        let next = async { (proxy.room().await, connections.recv().await) };
        tokio::select! {
            (room, connection) = next => match connection {
                Some(Connection { door, stream, caller }) => {
                    let visit = Visit { door: door_of(door), stream: Box::new(stream), program: program(caller) };
                    let proxy = Arc::clone(&proxy);
                    work.spawn(async move { proxy.serve(visit, room).await });
                }
                None => return,
            },
            query = queries.recv() => match query {
                Some(Query { message, answer, caller }) => {
                    if let Some(said) = proxy.answer(&message, program(caller)) {
                        // Who has gone away hears nothing.
                        let _ = answer.send(said);
                    }
                }
                None => return,
            },
            Some(_) = work.join_next() => {}
        }
    }
}

const fn door_of(door: legwork_sandbox::Door) -> Door {
    match door {
        legwork_sandbox::Door::Proxy => Door::Proxy,
        legwork_sandbox::Door::Names => Door::Names,
        legwork_sandbox::Door::Https => Door::Https,
        legwork_sandbox::Door::Http => Door::Http,
    }
}

fn program(caller: Option<Caller>) -> Option<Program> {
    caller.map(|Caller { process, command_line, command }| Program {
        process,
        command_line,
        command: command.map(|CommandId(id)| id),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_there_is_no_room_for_is_not_taken() {
        const FLOOD: usize = 2000;
        let settings = Settings {
            policy: legwork_egress::Policy::default(),
            secrets: Vec::new(),
            tripwire: legwork_egress::Tripwire::new("nobody-has-this-decoy").unwrap(),
            resolver: Arc::new(legwork_egress::System),
            opened: Opened::default(),
            upstream: None,
            roots: Roots::of(Vec::new()),
            direct: legwork_sandbox::DIRECT,
        };
        let (offers, connections) = mpsc::channel(16);
        let (_questions, queries) = mpsc::channel(1);
        let proxy = Proxy::new(settings).unwrap();
        let work = tokio::spawn(attend(Outlet { connections, queries }, proxy));
        let mut inside = Vec::new();
        let offer = async {
            for _ in 0..FLOOD {
                let (near, far) = tokio::io::duplex(1);
                let stream = Box::new(far);
                offers
                    .send(Connection { door: legwork_sandbox::Door::Proxy, stream, caller: None })
                    .await
                    .unwrap();
                inside.push(near);
            }
        };
        // Nothing is said at any of them, so each is kept for a while.
        let all_are_taken = tokio::time::timeout(Duration::from_secs(1), offer).await.is_ok();
        assert!(!all_are_taken && (1..FLOOD / 3).contains(&inside.len()), "{} are taken", inside.len());
        work.abort();
    }
}
