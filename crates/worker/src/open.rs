//! A sandbox on what a task left, for somebody who wants to look.

use std::path::PathBuf;
use std::sync::Arc;

use legwork_agent::Timeline;
use legwork_domain::{Environment, Phase, TurnId};
use legwork_sandbox::{Backend, Error, Image, Sandbox, Toolchains};

use crate::decoy::Decoy;
use crate::layers::Stack;
use crate::network::{Network, NoSandbox, Plan, Salt};
use crate::spec::{Below, spec};

/// The artifact of a tried-out environment that holds it, whole, as JSON.
pub const ENVIRONMENT: &str = "environment.json";

/// Events that wait to be let go.
const LOG_MAX: usize = 16;

/// What a sandbox is opened on.
pub struct Opening<'a> {
    /// Makes it.
    pub backend: &'a dyn Backend,
    /// Of this machine.
    pub toolchains: Toolchains,
    /// What its operator says about the network.
    pub network: &'a Network,
    /// The worker's data directory.
    pub data: PathBuf,
    /// Frozen files that a log names; they must be on this machine, below the same backend.
    pub layers: &'a [String],
    /// That they were made with. Its network policy for the agent holds; of its secrets there are placeholders alone.
    pub environment: &'a Environment,
}

/// Opens it. What is done in it is gone with it; what was kept from leaving is told to the commands that wanted it.
///
/// # Errors
/// [`Error::Invalid`] if a layer is not here, or the policy cannot be used, and those of [`Backend::create`].
pub async fn open(opening: Opening<'_>) -> Result<Arc<dyn Sandbox>, Error> {
    let Opening { backend, toolchains, network, data, layers, environment } = opening;
    let missing =
        || Error::Invalid("the files are not on this machine, or were removed after their time".to_owned());
    let stack = Stack::from_names(layers).ok_or_else(missing)?;
    let name = format!("shell-{:x}-{}", legwork_agent::now().micros(), std::process::id());
    let Toolchains { binds, env } = toolchains;
    let spec = spec(name.clone(), Below { image: Image::Host, binds, env }, stack.all(), environment);
    // Nobody keeps a log of it: what is told is read and let go, so that no teller waits.
    let (log, mut told) = tokio::sync::mpsc::channel(LOG_MAX);
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    let timeline = Timeline::new(TurnId::from_u128(0), 0, log);
    let unusable =
        |why: &dyn std::fmt::Display| Error::Invalid(format!("its decoy could not be made: {why}"));
    let salt = Salt::of(&data).map_err(|error| unusable(&error))?;
    let plan = Plan {
        network,
        decoy: Decoy::new(&salt, &name).map_err(|error| unusable(&error))?,
        environment,
        secrets: &[],
        owner: name,
        timeline: &timeline,
        phase: Phase::Agent,
        data,
    };
    plan.create(backend, spec).await.map_err(|error| match error {
        NoSandbox::Policy(sentence) | NoSandbox::Internal(sentence) => Error::Invalid(sentence),
        NoSandbox::Sandbox(error) => error,
    })
}
