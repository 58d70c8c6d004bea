//! The thread that starts guests.
//!
//! The kernel sends a parent-death signal when the *thread* that started a process ends, not its process. Async threads
//! come and go, so one thread that lives as long as any sandbox starts them all.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::oneshot;

use super::cgroup::{Cgroup, Control};
use super::state::{Live, State};
use super::{Base, Step};
use crate::guest::MARK;
use crate::{Error, Limits};

/// What all sandboxes of a backend share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) state: State,
    pub(super) base: Base,
    pub(super) control: Control,
    /// Held open: the guest of tomorrow is this program, whatever lies at its path by then.
    guest: File,
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

/// A guest that waits for its set-up.
pub(super) struct Launched {
    pub(super) live: Live,
    pub(super) cgroup: Option<Cgroup>,
    /// The outer of the guest's two processes; it ends by itself.
    pub(super) outer: Child,
    pub(super) socket: OwnedFd,
}

impl Host {
    pub(super) fn open(state: &Path, guest: &Path) -> Result<Self, Error> {
        let state = State::open(state)?;
        let base = Base::open(&state)?;
        let guest = File::open(guest).step(format!("open {}", guest.display()))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let work = move || queue.iter().for_each(|job| job());
        std::thread::Builder::new()
            .name("sandbox-launch".to_owned())
            .spawn(work)
            .step("start the launch thread")?;
        Ok(Self { state, base, control: Control::find(), guest, jobs })
    }

    /// Makes the directory and the control group of a sandbox and starts its guest in them.
    pub(super) async fn launch(
        self: &std::sync::Arc<Self>,
        name: String,
        limits: Limits,
    ) -> Result<Launched, Error> {
        let (answer, launched) = oneshot::channel();
        let host = std::sync::Arc::clone(self);
        let job = move || {
            // A caller that went away in the meantime leaves the result here: it ends with its parts.
            if let Err(Ok(unwanted)) = answer.send(host.start(&name, &limits)) {
                super::remains::Remains::of(unwanted).bury();
            }
        };
        self.jobs.send(Box::new(job)).map_err(|_| Error::Gone)?;
        launched.await.map_err(|_| Error::Gone)?
    }

    fn start(&self, name: &str, limits: &Limits) -> Result<Launched, Error> {
        let live = self.state.claim(name)?;
        let (outer, socket) = match self.spawn() {
            Ok(parts) => parts,
            Err(error) => {
                live.remove();
                return Err(error);
            }
        };
        let mut launched = Launched { live, cgroup: None, outer, socket };
        // The guest is loaded meanwhile.
        match self.furnish(&mut launched, limits) {
            Ok(()) => Ok(launched),
            Err(error) => {
                super::remains::Remains::of(launched).bury();
                Err(error)
            }
        }
    }

    /// Makes what the guest will need. It waits for its set-up, so that all that comes of it is in the control group.
    fn furnish(&self, launched: &mut Launched, limits: &Limits) -> Result<(), Error> {
        launched.live.fill(self.state.ids)?;
        launched.cgroup = self.control.create(&launched.live.group, limits)?;
        match &launched.cgroup {
            Some(cgroup) => cgroup.admit(launched.outer.id()),
            None => Ok(()),
        }
    }

    fn spawn(&self) -> Result<(Child, OwnedFd), Error> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).step("make a socket pair")?;
        rustix::io::ioctl_fionbio(&ours, true).step("make a socket pair")?;
        // Nothing else is set: so the standard library uses `posix_spawn`, which costs the same for a large worker.
        let outer = Command::new(format!("/proc/self/fd/{}", self.guest.as_raw_fd()))
            .arg0(MARK)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .step("start the guest")?;
        Ok((outer, ours))
    }
}
