//! From a clone of the zygote to process 1 of a new machine.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use seccompiler::BpfProgram;

use super::mounts::{Sources, clone_devices};
use super::wire::Wire;
use super::{Fault, Step, doors, lockdown, serve};
use crate::protocol::{Reply, Request, Setup};

/// Process 1: its exit status.
///
/// What is the same for all is done before the set-up is read: that comes when somebody needs a sandbox.
pub(super) fn run(mut wire: Wire, gate: &OwnedFd, filter: &BpfProgram) -> i32 {
    let devices = match make_empty() {
        Ok(devices) => devices,
        Err(fault) => return fail(&mut wire, fault),
    };
    let Some(Request::Setup(setup)) = wire.wait() else { return 2 };
    let made = enter_groups(&setup.doors).and_then(|()| Sources::open(&setup, devices)).and_then(|sources| {
        wait_at(gate);
        make_machine(&mut wire, sources, &setup, filter)
    });
    match made {
        Ok(doors) => wire.hand_over(&Reply::Ready, &doors),
        Err(fault) => return fail(&mut wire, fault),
    }
    serve::run(wire, &setup)
}

fn make_empty() -> Result<Vec<OwnedFd>, Fault> {
    lockdown::raise_loopback()?;
    rustix::system::sethostname(b"sandbox").step("set the host name")?;
    clone_devices()
}

/// The ids must be mapped.
fn make_machine(
    wire: &mut Wire,
    sources: Sources,
    setup: &Setup,
    filter: &BpfProgram,
) -> Result<Vec<OwnedFd>, Fault> {
    sources.mount(setup)?;
    lockdown::forbid_namespaces()?;
    super::mounts::mask_proc()?;
    lockdown::close_descriptors(wire)?;
    let doors = if setup.has_doors { doors::open()? } else { Vec::new() };
    lockdown::limit_resources(setup)?;
    lockdown::give_up_rights(filter)?;
    Ok(doors)
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
