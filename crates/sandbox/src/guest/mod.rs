//! The small program inside: it makes the machine from within, gives up every right, then serves the host as process 1.
//!
//! It is this same executable, so that nothing has to be installed inside: started anew once for each worker (`zygote`),
//! then cloned for each sandbox. It is single-threaded and without an async runtime, so that it stays at a few MiB and a
//! command costs one fork of a small process. It answers
//! the host's requests, collects orphans, and dies with the host. Commands run under the same user, so it is kept from
//! them by other means: it cannot be traced or read (not dumpable, no `ptrace`), process 1 takes no signal from inside,
//! and no descriptor of it outlives an `exec`.

mod command;
mod cradle;
mod doors;
mod files;
mod launch;
mod lockdown;
mod memory;
mod mounts;
mod output;
mod serve;
mod spawn;
mod syscall_filter;
mod wire;
mod zygote;

use std::ffi::OsStr;

pub(crate) use zygote::NAMESPACES;

/// The name by which the executable knows that it was started as a guest. No user would call it so by chance.
pub(crate) const MARK: &str = "legwork-guest:1";

/// The same for the first process of a container, which is started by its path there.
pub(crate) const CRADLE: &str = "/legwork/cradle";

/// The inside's one user and group: the first ordinary id of every Linux distribution, as most images have it.
pub(crate) const USER_ID: u32 = 1000;

/// Its name.
pub(crate) const USER: &str = "agent";

/// Its home.
pub(crate) const HOME: &str = "/home/agent";

/// Runs the zygote, a cradle or a guest and never returns if this process was started as one; else returns at once.
///
/// To be called first in `main`, while the process has one thread: before any async runtime is built, so not below
/// `#[tokio::main]`. A guest with more threads refuses to start.
pub fn run_if_guest() {
    let name = std::env::args_os().next();
    if name.as_deref() == Some(OsStr::new(MARK)) {
        std::process::exit(zygote::run());
    }
    if name.as_deref() == Some(OsStr::new(CRADLE)) {
        std::process::exit(cradle::run());
    }
}

/// A step of making the machine that failed.
#[derive(Debug)]
struct Fault {
    /// What was attempted, and on what.
    step: String,
    /// The system's error number.
    errno: i32,
}

/// Names the step in which a system call failed.
trait Step<T> {
    /// Says what was attempted.
    fn step(self, step: impl Into<String>) -> Result<T, Fault>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Fault> {
        self.map_err(|error| Fault { step: step.into(), errno: error.into().raw_os_error().unwrap_or(0) })
    }
}
