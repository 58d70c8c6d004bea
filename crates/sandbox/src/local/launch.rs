//! The thread that starts guests.
//!
//! The kernel sends a parent-death signal when the *thread* that started a process ends, not its process. Async threads
//! come and go, so one thread that lives as long as any sandbox starts them all: it holds the zygote, and guests count as
//! its own children.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::cgroup::{Cgroup, Control};
use super::fairness::Fairness;
use super::zygote::Zygote;
use crate::Error;
use crate::host::{Berth, Launched, Launcher, Step, blocking, end, inner_ids, is_abandoned, text};
use crate::protocol::Birth;

/// Clones of one zygote, each in a control group of its own.
#[derive(Debug)]
pub(super) struct Clones {
    control: Control,
    fairness: Arc<Fairness>,
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(&mut Zygote) + Send>;

impl Clones {
    pub(super) fn of(guest: &Path) -> Result<Self, Error> {
        let guest = File::open(guest).step(format!("open {}", guest.display()))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let birth = Birth { ids: inner_ids() };
        let work = move || {
            let mut zygote = Zygote::start(guest, birth);
            queue.iter().for_each(|job| job(&mut zygote));
        };
        std::thread::Builder::new()
            .name("sandbox-launch".to_owned())
            .spawn(work)
            .step("start the launch thread")?;
        Ok(Self { control: Control::find(), fairness: Fairness::new(), jobs })
    }
}

#[async_trait]
impl Launcher for Clones {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn limits_memory(&self) -> Result<bool, Error> {
        Ok(self.control.limits("memory"))
    }

    async fn launch(&self, berth: Berth) -> Result<Launched, Error> {
        let (answer, launched) = oneshot::channel();
        let (control, fairness) = (self.control.clone(), Arc::clone(&self.fairness));
        let job = move |zygote: &mut Zygote| {
            // Only a runtime that ends leaves the result here.
            if let Err(Ok(unwanted)) = answer.send(start(&control, &fairness, zygote, &berth)) {
                let _ = end(&unwanted.init);
                (unwanted.after)();
            }
        };
        self.jobs.send(Box::new(job)).map_err(|_| Error::Gone)?;
        launched.await.map_err(|_| Error::Gone)?
    }

    /// Has the next sandbox's guest cloned. A backend that ends has no next sandbox.
    fn prepare(&self) {
        let _ = self.jobs.send(Box::new(Zygote::order_ahead));
    }

    async fn evict(&self, state: &Path, label: &str) -> Result<(), Error> {
        let group = self.control.of(&group_of(state, label));
        let remove = move || {
            group.remove();
            Ok(())
        };
        blocking(remove).await
    }

    async fn sweep(&self, _: &Path) -> Result<(), Error> {
        self.control.sweep(is_abandoned);
        Ok(())
    }
}

/// The zygote clones, if it has not yet, while we make what the guest will need.
fn start(
    control: &Control,
    fairness: &Arc<Fairness>,
    zygote: &mut Zygote,
    berth: &Berth,
) -> Result<Launched, Error> {
    let socket = zygote.order()?;
    let furnished = furnish(control, berth, &socket);
    match (furnished, zygote.born()) {
        (Ok(cgroup), Ok((guest, init))) => {
            berth.note_init(guest);
            let member = cgroup.as_ref().and_then(Cgroup::meter).map(|meter| fairness.join(meter));
            let after = move || {
                drop(member);
                remove(cgroup.as_ref());
            };
            Ok(Launched { init, guest, socket, after: Box::new(after) })
        }
        (Ok(cgroup), Err(error)) => {
            remove(cgroup.as_ref());
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

/// Makes the sandbox's group and tells the guest what to make. On an error there is no group.
fn furnish(control: &Control, berth: &Berth, socket: &OwnedFd) -> Result<Option<Cgroup>, Error> {
    let cgroup = control.create(&group_of(&berth.state, &berth.label), &berth.limits)?;
    let doors = cgroup.as_ref().map(Cgroup::doors).unwrap_or_default();
    let told = doors.iter().map(|door| text(door)).collect::<Result<_, _>>().and_then(|doors| {
        let mut order = berth.order.clone();
        order.0.doors = doors;
        order.tell(socket)
    });
    told.inspect_err(|_| remove(cgroup.as_ref()))?;
    Ok(cgroup)
}

fn remove(cgroup: Option<&Cgroup>) {
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
}

/// The name of a sandbox's group. Another backend of this process may have a sandbox of the same name, in another state directory.
fn group_of(state: &Path, label: &str) -> String {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    format!("{:08x}-{label}", hasher.finish() & 0xffff_ffff)
}
