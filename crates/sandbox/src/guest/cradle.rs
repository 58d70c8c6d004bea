//! The first process of a container, from which the one guest in it is cloned.
//!
//! An engine starts it with nothing but its name, as the user behind the inside's user, without capabilities. It says where it
//! is at the socket that was mounted with the sandbox's directory, clones the guest, which says so too, and waits: for the end of
//! the guest, or of the worker, which holds the other end. Its own end is that of the container, whatever runs in it then.

use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use seccompiler::BpfProgram;

use super::wire::Wire;
use super::zygote::{AT_BIRTH, clone_into, prepare, write_maps};
use super::{Fault, Step, launch};
use crate::protocol::INSIDE;

/// The main of cradle and guest: the exit status.
pub(super) fn run() -> i32 {
    let Ok(lifeline) = announce() else { return 2 };
    let mut wire = Wire::new(lifeline);
    let filter = match prepare() {
        Ok(filter) => filter,
        Err(fault) => return launch::fail(&mut wire, fault),
    };
    match bear() {
        Ok(Half::Cradle(guest)) => {
            wait(&wire, &guest);
            0
        }
        Ok(Half::Guest(gate)) => {
            drop(wire);
            become_guest(&gate, &filter)
        }
        Err(fault) => launch::fail(&mut wire, fault),
    }
}

/// Which of the two processes this is.
enum Half {
    /// With a hold on the guest.
    Cradle(OwnedFd),
    /// With the gate that opens once its ids are mapped.
    Guest(OwnedFd),
}

fn become_guest(gate: &OwnedFd, filter: &BpfProgram) -> i32 {
    match announce() {
        Ok(socket) => launch::run(Wire::new(socket), gate, filter),
        Err(_) => 2,
    }
}

/// Connects to the worker, which learns by it who this is.
fn announce() -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(format!("{INSIDE}/live/socket").as_str())?)?;
    Ok(socket)
}

fn bear() -> Result<Half, Fault> {
    let (gate, opener) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
    let pid = clone_into(AT_BIRTH | libc::SIGCHLD).step("clone into new namespaces")?;
    let Some(guest) = Pid::from_raw(pid) else { return Ok(Half::Guest(gate)) };
    let held = pidfd_open(guest, PidfdFlags::empty()).step("hold the guest")?;
    // What this process is called here: behind it stands the user outside, whatever the engine maps.
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    write_maps(pid, ids)?;
    rustix::io::write(&opener, &[1]).step("release process 1")?;
    Ok(Half::Cradle(held))
}

/// Until the guest or the worker has ended.
fn wait(lifeline: &Wire, guest: &OwnedFd) {
    let socket = lifeline.socket();
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(socket, PollFlags::RDHUP),
            PollFd::from_borrowed_fd(guest.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}
