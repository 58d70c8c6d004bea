//! From a clone of the zygote to process 1 of a new machine.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use seccompiler::BpfProgram;

use super::mounts::Sources;
use super::wire::Wire;
use super::{Fault, Step, lockdown, serve};
use crate::protocol::{Reply, Request, Setup};

/// Process 1: its exit status.
///
/// What needs nothing of the host's is done before the set-up is read: the host makes it at the same time.
pub(super) fn run(mut wire: Wire, gate: &OwnedFd, filter: &BpfProgram) -> i32 {
    if let Err(fault) = make_empty() {
        return fail(&mut wire, fault);
    }
    let Some(Request::Setup(setup)) = wire.wait() else { return 2 };
    if let Err(fault) = make_machine(&mut wire, gate, &setup, filter) {
        return fail(&mut wire, fault);
    }
    wire.send(&Reply::Ready);
    wire.flush();
    serve::run(wire, &setup)
}

fn make_empty() -> Result<(), Fault> {
    lockdown::raise_loopback()?;
    rustix::system::sethostname(b"sandbox").step("set the host name")
}

fn make_machine(wire: &mut Wire, gate: &OwnedFd, setup: &Setup, filter: &BpfProgram) -> Result<(), Fault> {
    enter_groups(&setup.doors)?;
    let sources = Sources::open(setup)?;
    wait_at(gate);
    sources.mount(setup)?;
    lockdown::forbid_namespaces()?;
    super::mounts::mask_proc()?;
    lockdown::close_descriptors(wire)?;
    lockdown::limit_resources(setup)?;
    lockdown::give_up_rights(filter)
}

/// Enters the control groups, so that all that follows is in them, and shows them as the root of all. A thread that
/// moves itself is the one case in which the kernel does not first wait for every processor to pass a quiet point: that
/// takes up to ten milliseconds.
fn enter_groups(doors: &[String]) -> Result<(), Fault> {
    doors.iter().try_for_each(|door| std::fs::write(door, "0").step(format!("enter {door}")))?;
    unshare(CloneFlags::CLONE_NEWCGROUP).step("make a control group namespace")
}

/// Waits until the ids are mapped.
fn wait_at(gate: &OwnedFd) {
    if rustix::io::read(gate, &mut [0]) != Ok(1) {
        // The zygote has failed to map them and has said why; this process has nothing to add.
        std::process::exit(0);
    }
}

/// Says what failed; an exit status.
pub(super) fn fail(wire: &mut Wire, fault: Fault) -> i32 {
    wire.send(&Reply::Failed(fault.step, fault.errno));
    wire.flush();
    1
}
