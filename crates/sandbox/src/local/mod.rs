//! Sandboxes made of the kernel's own parts: no daemon, no image, as root or as an ordinary user.
//!
//! One process is cloned for each sandbox (see `guest`), as a child of the worker, and put into a control group of its own.

mod cgroup;
mod fairness;
mod launch;
mod zygote;

use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::host::Machines;

pub(crate) use cgroup::Control as ControlGroups;

/// Where the backend keeps its things and what it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Holds layers, writable layers and the traces of live sandboxes; as for [`Machines::open`].
    pub state: PathBuf,
    /// The executable whose `main` begins with [`crate::guest::run_if_guest`]; `/proc/self/exe` in production.
    pub guest: PathBuf,
}

/// Opens the state directory and the guest's executable, and starts beside the caller what guests are cloned from.
///
/// # Errors
/// [`Error::Setup`] if one of both cannot be opened.
pub fn open(options: Options) -> Result<Machines, Error> {
    let Options { state, guest } = options;
    Machines::open(&state, Arc::new(launch::Clones::of(&guest)?))
}
