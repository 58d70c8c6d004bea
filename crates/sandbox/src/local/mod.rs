//! Sandboxes on this machine, made of the kernel's own parts: no daemon, no image, as root or as an ordinary user.
//!
//! One process is cloned for each sandbox (see `guest`); everything else here prepares what it needs before, speaks to
//! it, and removes what it leaves. What a sandbox owns on the host is named after the process that owns it, so that the
//! next start can tell the dead from the living.

mod base;
mod caller;
mod cgroup;
mod launch;
mod link;
mod machine;
mod merge;
mod outlet;
mod process;
mod ready;
mod remains;
mod size;
mod state;
mod tree;
mod unlinked;
mod warden;
mod zygote;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Backend, Error, Layer, Sandbox, Spec};

use base::Base;
pub(crate) use cgroup::Control as ControlGroups;
pub(crate) use state::inner_ids;
pub(crate) use tree::remove as remove_tree;

/// Where the backend keeps its things and what it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Holds layers, writable layers and the traces of live sandboxes. Made if it is missing, for this user alone. It
    /// must be on a file system that can hold an overlay's upper directory (ext4, xfs, btrfs, tmpfs; not another overlay).
    pub state: PathBuf,
    /// The executable whose `main` begins with [`crate::guest::run_if_guest`]; `/proc/self/exe` in production.
    pub guest: PathBuf,
}

/// The backend.
#[derive(Debug)]
pub struct Local {
    host: Arc<launch::Host>,
}

impl Local {
    /// Opens the state directory and the guest's executable, and starts beside the caller what guests are cloned from.
    ///
    /// # Errors
    /// [`Error::Setup`] if one of both cannot be opened.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { state, guest } = options;
        Ok(Self { host: Arc::new(launch::Host::open(&state, &guest)?) })
    }

    /// The user and group on the host that stand behind the inside's user. Files of a base image must be theirs.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        self.host.state.ids
    }
}

#[async_trait]
impl Backend for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn create(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, Error> {
        Ok(Arc::new(machine::create(&self.host, spec).await?))
    }

    async fn reap(&self) -> Result<usize, Error> {
        let host = Arc::clone(&self.host);
        blocking(move || remains::reap(&host)).await
    }

    async fn salvage(&self, name: &str) -> Result<Option<Layer>, Error> {
        let (host, name) = (Arc::clone(&self.host), name.to_owned());
        blocking(move || remains::salvage(&host, &name)).await
    }

    async fn merge(&self, layers: &[Layer]) -> Result<Layer, Error> {
        let (host, layers) = (Arc::clone(&self.host), layers.to_vec());
        let merged = blocking(move || host.state.merge(&layers)).await?;
        // Not beside the caller: one who has gone away would leave a layer that nobody knows.
        self.host.state.keep(&merged)
    }

    async fn discard(&self, layer: Layer) -> Result<(), Error> {
        let host = Arc::clone(&self.host);
        blocking(move || host.state.discard(&layer)).await
    }
}

/// Runs what waits for the disk beside the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Gone),
    }
}

/// Names the step of the host's own that failed.
trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Setup { step: step.into(), source: error.into() })
    }
}
