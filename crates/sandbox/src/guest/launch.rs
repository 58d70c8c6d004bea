//! From a plain process of the host to process 1 of a new machine.
//!
//! Two processes share the work, for only one outside can write id maps that its own user does not own, and a pid
//! namespace begins with a child. The first clones the second straight under the *worker* (`CLONE_PARENT`), writes its
//! maps, and is gone: the parent-death signal of process 1 then hangs on the worker itself, and one process remains.

#![expect(unsafe_code, reason = "system calls that no crate wraps; each says why it is sound")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::wire::Wire;
use super::{Fault, Step, USER_ID, lockdown, mounts, serve};
use crate::protocol::{Reply, Request, Setup};

/// Every namespace that an unprivileged user can make, but time: nothing inside depends on it.
pub(crate) const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Makes commands the first choice of the kernel's out-of-memory killer, long before the worker: half of the scale
/// (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE: &str = "500";

/// The guest's main: its exit status.
pub(super) fn run() -> i32 {
    // SAFETY: the host starts the guest with the socket as standard input, and nothing else here uses descriptor 0.
    let mut wire = Wire::new(unsafe { OwnedFd::from_raw_fd(0) });
    let Some(Request::Setup(setup)) = wire.wait() else { return 2 };
    if let Err(fault) = demand_one_thread() {
        return fail(&mut wire, fault);
    }
    match split(&mut wire, &setup) {
        Ok(Half::Outer) => 0,
        Ok(Half::Inner) => run_inner(wire, &setup),
        Err(fault) => fail(&mut wire, fault),
    }
}

/// All that follows copies this process without its other threads, whose locks would be held for ever.
fn demand_one_thread() -> Result<(), Fault> {
    let threads = std::fs::read_dir("/proc/self/task").step("count the guest's threads")?.count();
    if threads == 1 {
        return Ok(());
    }
    Err(Fault {
        step: format!("start the guest before {threads} threads: call run_if_guest first in main"),
        errno: libc::EINVAL,
    })
}

/// Which of the two processes this is.
enum Half {
    Outer,
    Inner,
}

/// Clones process 1 into its namespaces and gives it its ids.
fn split(wire: &mut Wire, setup: &Setup) -> Result<Half, Fault> {
    enter_groups(&setup.doors)?;
    // Nothing but root may change its groups; for others the kernel keeps them, as `nobody` inside.
    let _ = rustix::thread::set_thread_groups(&[]);
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("set the out-of-memory score")?;
    let (gate, opener) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
    let pid = clone_into_namespaces().step("clone into new namespaces")?;
    if pid == 0 {
        drop(opener);
        return wait_at(&gate).map(|()| Half::Inner);
    }
    wire.send(&Reply::Cloned(pid));
    wire.flush();
    write_maps(pid, setup.ids)?;
    rustix::io::write(&opener, &[1]).step("release process 1")?;
    Ok(Half::Outer)
}

/// Enters the control groups, so that all that follows is in them. A thread that moves itself is the one case in which
/// the kernel does not first wait for every processor to pass a quiet point: that takes up to ten milliseconds.
fn enter_groups(doors: &[String]) -> Result<(), Fault> {
    doors.iter().try_for_each(|door| std::fs::write(door, "0").step(format!("enter {door}")))
}

/// `fork` into every namespace, as a sibling. 0 in the child.
fn clone_into_namespaces() -> Result<i32, Errno> {
    let flags = NAMESPACES | libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child has its own copy of everything. The
    // process has one thread, so no lock can be held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}

/// Waits until the ids are mapped.
fn wait_at(gate: &OwnedFd) -> Result<(), Fault> {
    match rustix::io::read(gate, &mut [0]) {
        Ok(1) => Ok(()),
        // The outer half has failed and has said why; this one has nothing to add.
        _ => std::process::exit(0),
    }
}

fn write_maps(pid: i32, (uid, gid): (u32, u32)) -> Result<(), Fault> {
    let proc = Path::new("/proc").join(pid.to_string());
    std::fs::write(proc.join("setgroups"), "deny").step("forbid setgroups")?;
    std::fs::write(proc.join("uid_map"), format!("{USER_ID} {uid} 1")).step(format!("map user id {uid}"))?;
    std::fs::write(proc.join("gid_map"), format!("{USER_ID} {gid} 1")).step(format!("map group id {gid}"))
}

/// Process 1.
fn run_inner(mut wire: Wire, setup: &Setup) -> i32 {
    if let Err(fault) = make_machine(&mut wire, setup) {
        return fail(&mut wire, fault);
    }
    wire.send(&Reply::Ready);
    serve::run(wire, setup)
}

fn make_machine(wire: &mut Wire, setup: &Setup) -> Result<(), Fault> {
    lockdown::raise_loopback()?;
    rustix::system::sethostname(b"sandbox").step("set the host name")?;
    mounts::make(setup)?;
    lockdown::forbid_namespaces()?;
    mounts::mask_proc()?;
    lockdown::close_descriptors(wire)?;
    lockdown::limit_resources(setup)?;
    lockdown::give_up_rights()
}

/// Says what failed and ends.
fn fail(wire: &mut Wire, fault: Fault) -> i32 {
    wire.send(&Reply::Failed(fault.step, fault.errno));
    wire.flush();
    1
}
