//! Sandboxes in containers of an engine on this machine that speaks Docker's API: Docker or Podman.
//!
//! The engine gives the container: its namespaces, its control group with the limits, no network, and whatever runtime its
//! operator has set up. In it runs our own guest as the first process, without a capability and as nobody's user; it makes the
//! machine and gives up every right as it does without an engine, before anything foreign runs. So walls, layers and files are
//! the same, and most of the code is the room `sandbox`'s; this room knows an engine's words and nothing of guests.

mod container;
mod engine;
mod image;
mod launcher;
mod probe;

use std::path::PathBuf;
use std::sync::Arc;

use legwork_sandbox::Error;
use legwork_sandbox::host::{Machines, guest_of};

pub use probe::probe;

/// Where engines of this machine usually listen.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Where the backend keeps its things, what it starts, and by whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// As for [`Machines::open`]. The engine must find it by the same path.
    pub state: PathBuf,
    /// The executable whose `main` begins with [`legwork_sandbox::guest::run_if_guest`]; `/proc/self/exe` in production.
    pub guest: PathBuf,
    /// Which engine, and how.
    pub engine: Settings,
}

/// Which engine, and how it starts containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub socket: PathBuf,
    /// The name of the OCI runtime that is to be used; the engine's own choice if `None`.
    pub runtime: Option<String>,
}

/// Opens the state directory. The engine is not asked before the first sandbox.
///
/// # Errors
/// [`Error::Setup`] if the state directory or the guest's executable cannot be had.
pub fn open(options: Options) -> Result<Machines, Error> {
    let Options { state, guest, engine } = options;
    let containers = Arc::new(launcher::Containers::new(engine));
    let machines = Machines::open(&state, Arc::clone(&containers) as _)?;
    containers.start_with(guest_of(&guest, &state)?);
    Ok(machines)
}
