//! Ending sandboxes: whatever way one ends, all of it goes through here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::launch::Host;
use super::launcher::After;
use super::state::{Live, Owner, State};
use super::{Step, blocking};
use crate::{Error, Layer};

/// How long the kernel is given to end all processes of a namespace: far more than it takes, but a process may sit in
/// an uninterruptible wait for a disk.
const END_WAIT: Duration = Duration::from_secs(10);

/// What a sandbox owns on the host.
pub(super) struct Remains {
    live: Live,
    /// What its launcher does after the end.
    after: Option<After>,
    /// The process whose end is that of all; `None` if it never was or is collected.
    init: Option<OwnedFd>,
}

impl Remains {
    pub(super) fn new(live: Live, after: Option<After>, init: Option<OwnedFd>) -> Self {
        Self { live, after, init }
    }

    /// Another hold on process 1.
    pub(super) fn init(&self) -> Result<OwnedFd, Error> {
        let init = self.init.as_ref().ok_or(Error::Gone)?;
        init.try_clone().step("hold the guest")
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Ends all processes. When process 1 can be collected, the kernel has ended all others before.
    fn end(&mut self) -> Result<(), Error> {
        self.init.take().map_or(Ok(()), |init| end(&init))
    }

    /// Ends the sandbox and removes all of it.
    pub(super) fn bury(self) {
        if let Some(files) = self.close() {
            files.remove();
        }
    }

    /// Ends the sandbox and frees its name. What is left are files that nobody can reach any more: to remove them takes
    /// as long as there are many.
    pub(super) fn close(mut self) -> Option<Live> {
        if let Err(error) = self.end() {
            // Its directory stays, so that `reap` finds it.
            tracing::warn!(sandbox = %self.live.label, %error, "a sandbox did not end");
            return None;
        }
        if let Some(after) = self.after.take() {
            after();
        }
        Some(self.live.set_aside())
    }

    /// Ends the sandbox and keeps its writable layer.
    pub(super) fn freeze(mut self, state: &State) -> (Result<Layer, Error>, Option<Live>) {
        let frozen = self.end().and_then(|()| state.freeze(&self.live));
        (frozen, self.close())
    }
}

/// Ends the first process, and with it all others of its sandbox. One that is our child is collected.
pub(crate) fn end(init: &OwnedFd) -> Result<(), Error> {
    let _ = pidfd_send_signal(init, Signal::KILL);
    wait_for_end(init).step("end the processes of the sandbox")?;
    let _ = waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED);
    Ok(())
}

fn wait_for_end(init: &OwnedFd) -> Result<(), Errno> {
    let patience = Timespec::try_from(END_WAIT).map_err(|_| Errno::INVAL)?;
    match poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&patience)) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what dead workers left. What cannot be removed is tried again at the next call.
pub(super) async fn reap(host: &Arc<Host>) -> Result<usize, Error> {
    let abandoned = host.state.abandoned()?;
    let count = abandoned.len();
    for live in abandoned {
        let label = live.label.clone();
        let kept = match evict(host, &live).await {
            Ok(()) => clear(host, live).await,
            // Its files are removed at the next call, when nothing can write to them.
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(sandbox = %label, %error, "a lost sandbox could not be cleared away");
        }
    }
    host.launcher.sweep(host.state.root()).await?;
    Ok(count)
}

/// Freezes what is to be kept of a sandbox that has ended, and removes the rest.
async fn clear(host: &Arc<Host>, live: Live) -> Result<(), Error> {
    let host = Arc::clone(host);
    let work = move || {
        if live.is_kept() {
            host.state.freeze(&live)?;
        }
        live.remove();
        Ok(())
    };
    blocking(work).await
}

/// Takes over what the sandbox of this name has left or was frozen into.
pub(super) async fn salvage(host: &Arc<Host>, name: &str) -> Result<Option<Layer>, Error> {
    let Some(live) = host.state.find(name)? else { return host.state.frozen(name) };
    evict(host, &live).await?;
    let (host, name) = (Arc::clone(host), name.to_owned());
    let work = move || match host.state.freeze(&live) {
        Ok(layer) => {
            live.set_aside().remove();
            Ok(Some(layer))
        }
        // Its own worker may have been quicker.
        Err(error) => host.state.frozen(&name)?.map(Some).ok_or(error),
    };
    blocking(work).await
}

/// Ends a sandbox that is not ours, with all that it has outside of its directory.
async fn evict(host: &Arc<Host>, live: &Live) -> Result<(), Error> {
    let guest = live.guest();
    blocking(move || end_stranger(guest)).await?;
    host.launcher.evict(host.state.root(), &live.label).await
}

fn end_stranger(guest: Option<Owner>) -> Result<(), Error> {
    if let Some(guest) = guest
        && let Some(Ok(held)) = Pid::from_raw(guest.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
        // Its number may have become another's before it was held.
        && guest.is_alive()
    {
        let _ = pidfd_send_signal(&held, Signal::KILL);
        wait_for_end(&held).step("end the processes of a lost sandbox")?;
    }
    Ok(())
}
