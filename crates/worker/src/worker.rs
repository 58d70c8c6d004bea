//! What all turns of a worker share, and the sandboxes that they open with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use legwork_agent::{Timeline, now};
use legwork_domain::{Environment, Failure, MachineId, Phase};
use legwork_sandbox::{Layer, Sandbox, Spec};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::cache::Cache;
use crate::end::End;
use crate::keyring::{Handed, Keyring};
use crate::network::{NoSandbox, Plan};
use crate::root::Root;
use crate::shelf::Shelf;
use crate::spec::{Below, spec};

/// What all turns of a worker share.
pub(crate) struct Worker {
    pub(crate) config: Config,
    /// Where its files are.
    pub(crate) machine: MachineId,
    pub(crate) checkouts: Cache,
    pub(crate) setups: Cache,
    pub(crate) detections: Cache,
    pub(crate) shelf: Shelf,
    pub(crate) keyring: Keyring,
    /// The worker is to stop: turns end soon or are given back.
    pub(crate) draining: CancellationToken,
    named: AtomicU64,
}

impl Worker {
    pub(crate) fn new(config: Config, machine: MachineId) -> Self {
        let checkouts = Cache::new(config.data.join("checkouts"));
        let setups = Cache::new(config.data.join("setups"));
        let detections = Cache::new(config.data.join("detections"));
        let shelf = Shelf::new(config.data.clone(), config.keep);
        Self {
            config,
            machine,
            checkouts,
            setups,
            detections,
            shelf,
            keyring: Keyring::default(),
            draining: CancellationToken::new(),
            named: AtomicU64::new(0),
        }
    }

    /// A name for a sandbox, used once in this process.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{:x}-{}", now().micros(), self.named.fetch_add(1, Ordering::Relaxed))
    }

    /// A sandbox for commands of the repository or the agent.
    pub(crate) fn spec(
        &self,
        what: &str,
        layers: Vec<Layer>,
        environment: &Environment,
        root: &Root,
    ) -> Spec {
        let below = Below { image: root.files(), binds: root.binds(self), env: root.env(self) };
        spec(self.name(what), below, layers, environment)
    }

    /// Makes a sandbox that can reach what the phase's policy allows, and tells the log what leaves it.
    pub(crate) async fn open(
        &self,
        timeline: &Timeline,
        spec: Spec,
        environment: &Environment,
        phase: Phase,
    ) -> Result<Arc<dyn Sandbox>, End> {
        let Some(Handed { secrets, decoy, owner, .. }) = self.keyring.of(timeline.turn()) else {
            return Err(End::internal("A sandbox was wanted for a turn that is over"));
        };
        let plan = Plan {
            network: &self.config.network,
            environment,
            decoy,
            secrets: &secrets,
            owner,
            timeline,
            phase,
            data: self.config.data.clone(),
        };
        plan.create(self.config.backend.as_ref(), spec).await.map_err(|error| match error {
            NoSandbox::Policy(sentence) => {
                End::failed(Failure::Setup, format!("{sentence} Nothing was run; mend the policy."))
            }
            NoSandbox::Sandbox(error) => End::sandbox(&error),
            NoSandbox::Internal(sentence) => End::internal(sentence),
        })
    }
}
