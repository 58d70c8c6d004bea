//! The thread that starts guests.
//!
//! The kernel sends a parent-death signal when the *thread* that started a process ends, not its process. Async threads
//! come and go, so one thread that lives as long as any sandbox starts them all: it holds the zygote, and guests count as
//! its own children.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, mpsc};

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::cgroup::{Cgroup, Control};
use super::machine::text;
use super::remains::{Remains, end};
use super::state::{Live, State};
use super::zygote::Zygote;
use super::{Base, Step};
use crate::protocol::{self, Birth, REQUEST_BYTES_MAX, Request, Setup};
use crate::{Error, Limits};

/// What all sandboxes of a backend share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) state: State,
    pub(super) base: Base,
    pub(super) control: Control,
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(&mut Zygote) + Send>;

/// A sandbox to start.
pub(super) struct Order {
    pub(super) name: String,
    pub(super) limits: Limits,
    /// All but what lies in the sandbox's own directory.
    pub(super) setup: Setup,
}

/// A guest that makes its machine.
pub(super) struct Launched {
    pub(super) remains: Remains,
    /// Process 1, by its number here.
    pub(super) pid: i32,
    pub(super) socket: OwnedFd,
}

impl Host {
    pub(super) fn open(state: &Path, guest: &Path) -> Result<Self, Error> {
        let state = State::open(state)?;
        let base = Base::open(&state)?;
        let guest = File::open(guest).step(format!("open {}", guest.display()))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let birth = Birth { ids: state.ids };
        let work = move || {
            let mut zygote = Zygote::start(guest, birth);
            queue.iter().for_each(|job| job(&mut zygote));
        };
        std::thread::Builder::new()
            .name("sandbox-launch".to_owned())
            .spawn(work)
            .step("start the launch thread")?;
        Ok(Self { state, base, control: Control::find(), jobs })
    }

    /// Makes the directory and the control group of a sandbox and starts its guest in them.
    pub(super) async fn launch(self: &Arc<Self>, order: Order) -> Result<Launched, Error> {
        let (answer, launched) = oneshot::channel();
        let host = Arc::clone(self);
        let job = move |zygote: &mut Zygote| {
            // A caller that went away in the meantime leaves the result here: it ends with its parts.
            if let Err(Ok(unwanted)) = answer.send(host.start(zygote, order)) {
                let Launched { remains, socket, .. } = unwanted;
                drop(socket);
                remains.bury();
            }
        };
        self.jobs.send(Box::new(job)).map_err(|_| Error::Gone)?;
        launched.await.map_err(|_| Error::Gone)?
    }

    /// Has the next sandbox's guest cloned, while nobody waits for it. A backend that ends has no next sandbox.
    pub(super) fn prepare(&self) {
        let _ = self.jobs.send(Box::new(Zygote::order_ahead));
    }

    /// The zygote clones, if it has not yet, while we make what the guest will need.
    fn start(&self, zygote: &mut Zygote, order: Order) -> Result<Launched, Error> {
        let socket = zygote.order()?;
        let furnished = self.furnish(order, &socket);
        let born = zygote.born();
        match (furnished, born) {
            (Ok((live, cgroup)), Ok((pid, init))) => {
                live.note_guest(pid);
                Ok(Launched { remains: Remains::new(live, cgroup, Some(init)), pid, socket })
            }
            (Ok((live, cgroup)), Err(error)) => {
                Remains::new(live, cgroup, None).bury();
                Err(error)
            }
            (Err(error), born) => {
                drop(socket);
                if let Ok((_, init)) = born {
                    end(&init)?;
                }
                Err(error)
            }
        }
    }

    /// Makes the sandbox's directory and group and tells the guest of them. On an error neither is left.
    fn furnish(&self, order: Order, socket: &OwnedFd) -> Result<(Live, Option<Cgroup>), Error> {
        let live = self.state.claim(&order.name)?;
        let made = live.fill(self.state.ids).and_then(|()| self.control.create(&live.group, &order.limits));
        let cgroup = made.inspect_err(|_| live.remove())?;
        match self.tell(order.setup, &live, cgroup.as_ref(), socket) {
            Ok(()) => Ok((live, cgroup)),
            Err(error) => {
                Remains::new(live, cgroup, None).bury();
                Err(error)
            }
        }
    }

    /// Sends the set-up. It waits until the guest takes what the socket does not hold.
    fn tell(
        &self,
        setup: Setup,
        live: &Live,
        cgroup: Option<&Cgroup>,
        socket: &OwnedFd,
    ) -> Result<(), Error> {
        let doors = cgroup.map(Cgroup::doors).unwrap_or_default();
        let setup = Setup {
            doors: doors.iter().map(|door| text(door)).collect::<Result<_, _>>()?,
            upper: text(&live.upper())?,
            work: text(&live.path.join("work"))?,
            root: text(&self.state.path("mount/root"))?,
            ..setup
        };
        let mut frame = Vec::new();
        protocol::encode(&Request::Setup(Box::new(setup)), REQUEST_BYTES_MAX, &mut frame)
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
