//! Ending sandboxes: whatever way one ends, all of it goes through here.

use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::Step;
use super::cgroup::Cgroup;
use super::launch::{Host, Launched};
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
    outer: Option<Child>,
    /// Process 1 of the sandbox, once it exists. It is our child.
    init: Option<OwnedFd>,
}

impl Remains {
    pub(super) fn of(launched: Launched) -> Self {
        let Launched { live, cgroup, outer, socket } = launched;
        // The guest that waits for its set-up sees the end of the socket, and ends.
        drop(socket);
        Self { live, cgroup, outer: Some(outer), init: None }
    }

    pub(super) fn new(live: Live, cgroup: Option<Cgroup>, outer: Child) -> Self {
        Self { live, cgroup, outer: Some(outer), init: None }
    }

    /// Learns of process 1.
    pub(super) fn adopt(&mut self, pid: i32) -> Result<OwnedFd, Error> {
        let number = Pid::from_raw(pid).ok_or(Errno::INVAL).step("learn of the guest")?;
        let init = pidfd_open(number, PidfdFlags::empty()).step("learn of the guest")?;
        self.live.note_guest(pid);
        let copy = init.try_clone().step("learn of the guest")?;
        self.init = Some(init);
        Ok(copy)
    }

    /// Collects the outer process, which has done its work.
    pub(super) fn collect_outer(&mut self) {
        if let Some(mut outer) = self.outer.take() {
            let _ = outer.wait();
        }
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Ends all processes. When process 1 can be collected, the kernel has ended all others before.
    fn end(&mut self) -> Result<(), Error> {
        if let Some(mut outer) = self.outer.take() {
            let _ = outer.kill();
            let _ = outer.wait();
        }
        let Some(init) = self.init.take() else { return Ok(()) };
        let _ = pidfd_send_signal(&init, Signal::KILL);
        wait_for_end(&init).step("end the processes of the sandbox")?;
        let _ = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&init)), WaitIdOptions::EXITED);
        Ok(())
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
        if let Some(guest) = live.guest() {
            end_stranger(guest.pid, || guest.is_alive());
        }
        host.control.of(&live.group).remove();
        live.remove();
    }
    host.control.sweep(is_abandoned);
    Ok(abandoned.len())
}

/// Ends a process that is not our child. Its number is looked at again once it is held: it may have been another's.
fn end_stranger(pid: i32, is_same: impl Fn() -> bool) {
    let Some(Ok(held)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { return };
    if is_same() {
        let _ = pidfd_send_signal(&held, Signal::KILL);
        let _ = wait_for_end(&held);
    }
}
