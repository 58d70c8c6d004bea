//! Who starts guests: the one thing in which the backends of this machine differ.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::io::Errno;

use super::Step;
use crate::protocol::{self, REQUEST_BYTES_MAX, Request, Setup};
use crate::{Error, Limits};

/// Starts guests, and ends what was left of those that nobody holds.
///
/// A guest is this program, started anew and alone in its namespaces, before anything foreign runs. What it needs has been made
/// when [`Launcher::launch`] is called; what it leaves is removed by others once [`Launched::init`] has ended.
#[async_trait]
pub trait Launcher: Send + Sync + fmt::Debug {
    /// A short name for logs and `doctor`.
    fn name(&self) -> &'static str;

    /// Whether something outside limits the memory of a sandbox; else its guest watches over it.
    ///
    /// # Errors
    /// If that cannot be found out.
    async fn limits_memory(&self) -> Result<bool, Error>;

    /// Starts a guest and gives it its order. May be called at any time and at the same time as others; it is never dropped
    /// half-way while its runtime lives. On an error nothing of the guest runs or will run.
    ///
    /// # Errors
    /// Why there is no guest.
    async fn launch(&self, berth: Berth) -> Result<Launched, Error>;

    /// Makes ready for the next launch while nobody waits.
    fn prepare(&self) {}

    /// Ends what there is, outside of its directory, of a sandbox that another process held, or a dead one. What runs in it has
    /// been killed if its first process was known. Nothing there is no error.
    ///
    /// # Errors
    /// If something of it may still run.
    async fn evict(&self, state: &Path, label: &str) -> Result<(), Error>;

    /// Removes what dead processes left that has no directory any more; [`super::is_abandoned`] tells by the label.
    ///
    /// # Errors
    /// If that cannot be looked at.
    async fn sweep(&self, state: &Path) -> Result<(), Error>;
}

/// The place of a sandbox on the host that a guest is to be started for.
#[derive(Clone, Debug)]
pub struct Berth {
    /// The sandbox, the process that holds it and that one's start: unique in the state directory.
    pub label: String,
    /// The state directory.
    pub state: PathBuf,
    /// The sandbox's own directory.
    pub directory: PathBuf,
    /// User and group on the host behind the inside's user.
    pub owner: (u32, u32),
    /// What it may take.
    pub limits: Limits,
    /// What the guest is to make.
    pub order: Order,
}

/// What a guest is told to make.
#[derive(Clone, Debug)]
pub struct Order(pub(crate) Setup);

/// A guest that makes its machine.
pub struct Launched {
    /// The process whose end is the end of all processes of the sandbox.
    pub init: OwnedFd,
    /// The guest, by its number here.
    pub guest: i32,
    /// What the guest listens at.
    pub socket: OwnedFd,
    /// What is to be done once `init` has ended.
    pub after: After,
}

/// What is to be done after the end.
pub type After = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { init, guest, socket, after: _ } = self;
        f.debug_struct("Launched")
            .field("init", init)
            .field("guest", guest)
            .field("socket", socket)
            .finish_non_exhaustive()
    }
}

impl Berth {
    /// Notes which process is the first, for the case that this one dies. To be called as soon as it is known.
    pub fn note_init(&self, pid: i32) {
        super::state::note_guest(&self.directory, pid);
    }
}

impl Order {
    /// Gives the order to a guest. It waits until the guest takes what the socket does not hold. Leaves the socket
    /// without waiting.
    ///
    /// # Errors
    /// A spec that is too long, or a socket that fails.
    pub fn tell(&self, socket: &OwnedFd) -> Result<(), Error> {
        let mut frame = Vec::new();
        protocol::encode(&Request::Setup(Box::new(self.0.clone())), REQUEST_BYTES_MAX, &mut frame)
            .map_err(|error| Error::Invalid(format!("too long a spec: {error}")))?;
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            let flags = rustix::net::SendFlags::NOSIGNAL;
            match rustix::io::retry_on_intr(|| rustix::net::send(socket, rest, flags)) {
                // It has ended. Why, it may have said: whoever waits for it to be ready hears it.
                Err(Errno::PIPE | Errno::CONNRESET) => break,
                sent => rest = &rest[sent.step("speak to the guest")?..],
            }
        }
        rustix::io::ioctl_fionbio(socket, true).step("speak to the guest")
    }
}
