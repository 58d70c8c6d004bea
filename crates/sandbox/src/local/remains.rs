//! Ending sandboxes: whatever way one ends, all of it goes through here.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::Step;
use super::cgroup::Cgroup;
use super::launch::Host;
use super::state::{Live, State, is_abandoned};
use crate::{Error, Layer};

/// How long the kernel is given to end all processes of a namespace: far more than it takes, but a process may sit in
/// an uninterruptible wait for a disk.
const END_WAIT: Duration = Duration::from_secs(10);

/// What a sandbox owns on the host.
#[derive(Debug)]
pub(super) struct Remains {
    live: Live,
    cgroup: Option<Cgroup>,
    /// Process 1 of the sandbox, which is our child; `None` if it never was or is collected.
    init: Option<OwnedFd>,
}

impl Remains {
    pub(super) fn new(live: Live, cgroup: Option<Cgroup>, init: Option<OwnedFd>) -> Self {
        Self { live, cgroup, init }
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
        self.cgroup.iter().for_each(Cgroup::remove);
        Some(self.live.set_aside())
    }

    /// Ends the sandbox and keeps its writable layer.
    pub(super) fn freeze(mut self, state: &State) -> (Result<Layer, Error>, Option<Live>) {
        let frozen = self.end().and_then(|()| state.freeze(&self.live));
        (frozen, self.close())
    }
}

/// Ends process 1, which is our child, and with it all others of its sandbox.
pub(super) fn end(init: &OwnedFd) -> Result<(), Error> {
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
pub(super) fn reap(host: &Host) -> Result<usize, Error> {
    let abandoned = host.state.abandoned()?;
    for live in &abandoned {
        let ended = end_stranger(host, live);
        let kept =
            if live.is_kept() { ended.and_then(|()| host.state.freeze(live)).map(drop) } else { Ok(()) };
        match kept {
            Ok(()) => live.remove(),
            Err(error) => {
                tracing::warn!(sandbox = %live.label, %error, "a lost sandbox's files could not be kept");
            }
        }
    }
    host.control.sweep(is_abandoned);
    Ok(abandoned.len())
}

/// Takes over what the sandbox of this name has left or was frozen into.
pub(super) fn salvage(host: &Host, name: &str) -> Result<Option<Layer>, Error> {
    let Some(live) = host.state.find(name)? else { return host.state.frozen(name) };
    end_stranger(host, &live)?;
    match host.state.freeze(&live) {
        Ok(layer) => {
            live.set_aside().remove();
            Ok(Some(layer))
        }
        // Its own worker may have been quicker.
        Err(error) => host.state.frozen(name)?.map(Some).ok_or(error),
    }
}

/// Ends a sandbox that is not ours and removes its control group.
fn end_stranger(host: &Host, live: &Live) -> Result<(), Error> {
    if let Some(guest) = live.guest()
        && let Some(Ok(held)) = Pid::from_raw(guest.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
        // Its number may have become another's before it was held.
        && guest.is_alive()
    {
        let _ = pidfd_send_signal(&held, Signal::KILL);
        wait_for_end(&held).step("end the processes of a lost sandbox")?;
    }
    host.control.of(&live.group).remove();
    Ok(())
}
