//! Sandboxes on this machine, whoever starts their guests: as children of the worker (`local`), or as an engine's containers.
//!
//! What is the same for all stands here: the state directory with its layers, the files that lie below them, the link to the
//! guest, the watch over what the kernel does not limit, and the end. A [`Launcher`] brings the guest; it is all that a backend
//! on this machine is made of. What a sandbox owns on the host is named after the process that owns it, so that the next start
//! can tell the dead from the living.

mod base;
mod caller;
mod enclosure;
mod launch;
mod launcher;
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

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Backend, Error, Layer, Sandbox, Spec};

pub use enclosure::{Enclosure, INSIDE, Mount, guest_of};
pub use launcher::{After, Berth, Launched, Launcher, Order};
pub(crate) use machine::{SETUP_WAIT, explain, text};
pub(crate) use remains::end;
pub(crate) use state::inner_ids;
pub use state::is_abandoned;
pub(crate) use tree::remove as remove_tree;

/// The backend over a launcher.
#[derive(Debug)]
pub struct Machines {
    host: Arc<launch::Host>,
}

impl Machines {
    /// Opens the state directory: it holds layers, writable layers and the traces of live sandboxes. It is made if it is
    /// missing, for this user alone, and must be on a file system that can hold an overlay's upper directory (ext4, xfs, btrfs,
    /// tmpfs; not another overlay).
    ///
    /// # Errors
    /// [`Error::Setup`] if it cannot be opened.
    pub fn open(state: &Path, launcher: Arc<dyn Launcher>) -> Result<Self, Error> {
        Ok(Self { host: Arc::new(launch::Host::open(state, launcher)?) })
    }

    /// The user and group on the host that stand behind the inside's user. Files of a base image must be theirs.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        self.host.state.ids
    }
}

#[async_trait]
impl Backend for Machines {
    fn name(&self) -> &'static str {
        self.host.launcher.name()
    }

    async fn create(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, Error> {
        Ok(Arc::new(machine::create(&self.host, spec).await?))
    }

    async fn reap(&self) -> Result<usize, Error> {
        remains::reap(&self.host).await
    }

    async fn salvage(&self, name: &str) -> Result<Option<Layer>, Error> {
        remains::salvage(&self.host, name).await
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
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Gone),
    }
}

/// Names the step of the host's own that failed.
pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Setup { step: step.into(), source: error.into() })
    }
}
