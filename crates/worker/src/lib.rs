//! The worker: leases turns, opens sandboxes, lets the agent work and brings back a patch with its evidence.
//!
//! It decides nothing and keeps nothing that it cannot lose: what is asked comes with the lease, what happens goes to the
//! log, and the directories below `data` are caches of checkouts and set-ups. Repository, model and sandbox are hostile
//! to it; git runs on the host for its own bare mirrors only, and everything with a work tree runs in clean sandboxes.

mod backoff;
mod cache;
mod carried;
mod checkout;
mod checks;
mod clean;
mod command;
mod compartment;
mod decoy;
mod detection;
mod end;
mod ground;
mod host;
mod keyring;
mod layers;
mod lease;
mod machine;
mod made;
mod network;
mod once;
mod open;
mod packages;
mod patch;
mod purse;
mod recipe;
mod recorder;
mod remotes;
mod resume;
mod roll;
mod root;
mod setup;
mod shelf;
mod spec;
mod start;
mod trace;
mod trial;
mod turn;
mod worker;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_client::Client;
use legwork_domain::{TaskId, WorkerId};
use legwork_model::Catalog;
use legwork_sandbox::{Backend, Bind, Toolchains};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use roll::Roll;

pub use compartment::mirror_of;
pub use network::{Network, ToolConfig};
pub use open::{ENVIRONMENT, Opening, open};
pub use recipe::{PATH as RECIPE, check as check_recipe};
pub use remotes::{Reach, Remotes};
pub use shelf::Keep;

/// What a worker is made of.
pub struct Config {
    /// To the server.
    pub client: Client,
    /// Makes the sandboxes.
    pub backend: Arc<dyn Backend>,
    /// Opens the models.
    pub catalog: Arc<Catalog>,
    /// Where mirrors and indexes of checkouts and set-ups are kept.
    pub data: PathBuf,
    /// Turns at the same time, at least 1.
    pub slots: usize,
    /// How long files are kept that nothing uses.
    pub keep: Keep,
    /// Which repositories of this machine it may take.
    pub local: LocalRepositories,
    /// Toolchains of the machine, for sandboxes on its own root.
    pub toolchains: Toolchains,
    /// What else its operator wants shown in every sandbox.
    pub mounts: Vec<Bind>,
    /// Base images other than the machine itself.
    pub images: legwork_image::Store,
    /// What its operator says about the network.
    pub network: Network,
    /// Who it is.
    pub id: WorkerId,
    /// Only turns of this task.
    pub task: Option<TaskId>,
    /// What it has: it gets only turns whose labels are all among these.
    pub labels: Vec<String>,
    /// What it has to reach remote repositories.
    pub remotes: Remotes,
}

/// Which repositories that are named by a path of its own machine a worker takes. Who hands tasks over chooses the path, and
/// sees what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRepositories {
    /// Any: whoever hands tasks over owns the machine.
    Any,
    /// Those in one of these directories or below.
    Below(Vec<PathBuf>),
}

impl LocalRepositories {
    /// Whether this existing place is allowed, wherever links in its name lead.
    fn allow(&self, path: &Path) -> bool {
        let Self::Below(directories) = self else { return true };
        let Ok(path) = path.canonicalize() else { return false };
        let below = |directory: &PathBuf| directory.canonicalize().is_ok_and(|real| path.starts_with(real));
        directories.iter().any(below)
    }
}

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used: mend its place or its rights.
    #[error("cannot use the data directory {}", path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server does not take this worker: wrong address, token or version.
    #[error("the server refuses this worker")]
    Server(#[source] legwork_client::Error),
    /// What dead workers left behind could not be removed.
    #[error("could not clean up after earlier workers")]
    Sandbox(#[source] legwork_sandbox::Error),
}

/// Leases and runs turns until `shutdown`, and then comes to an end within 30 s: no new leases; turns that come to their
/// own end within 10 s do; the others are stopped, their files frozen, and given back, so that another worker goes on from
/// there.
///
/// Dropping the future instead stops at once: every process of the turns ends, their leases lapse, and whoever gets them
/// next goes on from what the log and the sandboxes hold.
///
/// # Errors
/// [`Error`], if it cannot go on. A server that cannot be reached is waited for, a turn that fails is that turn's end.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    // Checkouts of private repositories: for this user alone.
    let private = DirBuilder::new().recursive(true).mode(0o700).create(&config.data);
    let unusable = |source| Error::Data { path: config.data.clone(), source };
    private.map_err(unusable)?;
    let machine = machine::of(&config.data).map_err(unusable)?;
    network::sweep(&config.data);
    let roll = Roll::of(&config.data);
    let _life = roll.enter(config.id).map_err(unusable)?;
    let _tells = AbortOnDropHandle::new(tokio::spawn(roll.tell(config.client.clone())));
    lease::run(Arc::new(worker::Worker::new(config, machine)), shutdown).await
}
