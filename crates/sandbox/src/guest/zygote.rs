//! The process that guests are cloned from (Android's word for one).
//!
//! To execute this program anew for each sandbox costs about as much as all its namespaces: it is mapped, linked, and
//! torn down again. So the worker executes it once, with an empty environment and one thread, and every guest is a clone
//! of it. What does not differ from guest to guest is made here, before the first.
//!
//! It stays outside, for only one outside can write id maps that its own user does not own. Guests are cloned straight
//! under the *worker* (`CLONE_PARENT`), so that their parent-death signal hangs on the worker and the worker can wait
//! for them. It ends when the worker's end of its socket does.

#![expect(unsafe_code, reason = "system calls that no crate wraps; each says why it is sound")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use bytes::BytesMut;
use nix::libc;
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use rustix::pipe::{PipeFlags, pipe_with};
use seccompiler::BpfProgram;

use super::wire::Wire;
use super::{Fault, Step, USER_ID, launch, syscall_filter};
use crate::protocol::{self, Birth, Reply};

/// Every namespace that an unprivileged user can make, but time: nothing inside depends on it.
pub(crate) const NAMESPACES: libc::c_int = AT_BIRTH | libc::CLONE_NEWCGROUP;

/// Those that a guest is born into. The one for control groups shows the group in which it was made as the root, so it
/// is made once the guest is in its own.
pub(super) const AT_BIRTH: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Makes commands the first choice of the kernel's out-of-memory killer, long before the worker: half of the scale
/// (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE: &str = "500";

/// The longest order and the longest answer: a few numbers, a step's name.
const FRAME_BYTES_MAX: usize = 1024;

/// The main of zygote and guests: the exit status.
pub(super) fn run() -> i32 {
    // SAFETY: the host starts this process with the socket as standard input, and nothing else uses descriptor 0.
    let host = unsafe { OwnedFd::from_raw_fd(0) };
    let prepared = prepare();
    while let Some((birth, socket)) = next_birth(host.as_fd()) {
        let Ok(filter) = &prepared else {
            return prepared.map_or_else(|fault| refuse(host.as_fd(), fault), |_| 0);
        };
        match bear(host.as_fd(), birth, Wire::new(socket)) {
            Ok(Half::Zygote) => {}
            Ok(Half::Guest(wire, gate)) => {
                drop(host);
                return launch::run(wire, &gate, filter);
            }
            Err(fault) => {
                refuse(host.as_fd(), fault);
            }
        }
    }
    0
}

/// What all guests have in common.
pub(super) fn prepare() -> Result<BpfProgram, Fault> {
    demand_one_thread()?;
    // Nothing but root may change its groups; for others the kernel keeps them, as `nobody` inside.
    let _ = rustix::thread::set_thread_groups(&[]);
    // By it `ps` shows guests and zygote under one name.
    let _ = rustix::thread::set_name(c"legwork-guest");
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).step("set the out-of-memory score")?;
    syscall_filter::program()
}

/// A clone has none of the other threads, whose locks would be held for ever.
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

/// The next order, and the socket of the guest to be. `None` if the host is gone or speaks another language.
fn next_birth(host: BorrowedFd<'_>) -> Option<(Birth, OwnedFd)> {
    let mut bytes = [0; FRAME_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(host, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.ok()?,
        }
    };
    let is_whole = !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let mut buffer = BytesMut::from(bytes.get(..received.bytes).filter(|_| is_whole)?);
    let birth = protocol::decode(&mut buffer, FRAME_BYTES_MAX).ok()??;
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    })?;
    Some((birth, socket))
}

/// Which of the two processes this is.
enum Half {
    Zygote,
    /// With the socket, and the gate that opens once its ids are mapped.
    Guest(Wire, OwnedFd),
}

/// Clones process 1 into its namespaces and gives it its ids.
fn bear(host: BorrowedFd<'_>, birth: Birth, mut wire: Wire) -> Result<Half, Fault> {
    let (gate, opener) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
    // As a sibling of this process.
    let flags = AT_BIRTH | libc::CLONE_PARENT | libc::SIGCHLD;
    let pid = clone_into(flags).step("clone into new namespaces")?;
    if pid == 0 {
        return Ok(Half::Guest(wire, gate));
    }
    let mapped = write_maps(pid, birth.ids)
        .and_then(|()| rustix::io::write(&opener, &[1]).step("release process 1").map(|_| ()));
    answer(host, &Reply::Cloned(pid));
    if let Err(fault) = mapped {
        // Its gate stays shut, so it ends; and the host waits for what it would say.
        launch::fail(&mut wire, fault);
    }
    Ok(Half::Zygote)
}

/// `fork` into namespaces. 0 in the child.
pub(super) fn clone_into(flags: libc::c_int) -> Result<i32, Errno> {
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child has its own copy of everything. The
    // process has one thread, so no lock can be held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}

pub(super) fn write_maps(pid: i32, (uid, gid): (u32, u32)) -> Result<(), Fault> {
    let proc = Path::new("/proc").join(pid.to_string());
    std::fs::write(proc.join("setgroups"), "deny").step("forbid setgroups")?;
    std::fs::write(proc.join("uid_map"), format!("{USER_ID} {uid} 1")).step(format!("map user id {uid}"))?;
    std::fs::write(proc.join("gid_map"), format!("{USER_ID} {gid} 1")).step(format!("map group id {gid}"))
}

/// Tells the host why there is no guest; an exit status.
fn refuse(host: BorrowedFd<'_>, fault: Fault) -> i32 {
    answer(host, &Reply::Failed(fault.step, fault.errno));
    1
}

/// A host that cannot be told is gone, which the next look for an order finds.
fn answer(host: BorrowedFd<'_>, reply: &Reply) {
    let mut frame = Vec::new();
    if protocol::encode(reply, FRAME_BYTES_MAX, &mut frame).is_ok() {
        let _ = send(host, &frame, SendFlags::NOSIGNAL);
    }
}
