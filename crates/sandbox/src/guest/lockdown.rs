//! Giving up every right, one by one, before anything is served.

#![expect(unsafe_code, reason = "system calls that no crate wraps; each says why it is sound")]

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope,
};
use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::BpfProgram;

use super::wire::Wire;
use super::{Fault, Step, syscall_filter};
use crate::protocol::{RESERVED_PROCESSES, Setup};

/// Where the socket stands after standard input, output and error.
const SOCKET: RawFd = 3;

/// Below the size of any core file, and the one value with which the kernel starts no program for a crash either
/// (`kernel.core_pattern` with a pipe): that program is the host's, is root, and would read what is hostile. Of zero it
/// takes no notice then (fs/coredump.c).
const CORE_BYTES: u64 = 1;

/// Brings the network's only interface up: tests talk to themselves.
pub(super) fn raise_loopback() -> Result<(), Fault> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .step("make a socket for the loopback interface")?;
    // SAFETY: all-zero bytes are a valid `ifreq`: it holds numbers and characters only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error()).step("bring the loopback interface up")
    }
}

/// Allows no user namespace below this one: it would open the kernel's rarely walked paths again.
pub(super) fn forbid_namespaces() -> Result<(), Fault> {
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").step("forbid user namespaces inside")
}

/// Leaves /dev/null as standard input, output and error, the socket, and nothing else.
pub(super) fn close_descriptors(wire: &mut Wire) -> Result<(), Fault> {
    let high = rustix::io::fcntl_dupfd_cloexec(wire.socket(), SOCKET).step("move the socket")?;
    wire.replace_socket(high);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("close standard input")?;
    rustix::stdio::dup2_stdout(&null).step("close standard output")?;
    rustix::stdio::dup2_stderr(&null).step("close standard error")?;
    // Closed with the others below, or standard input itself.
    let _ = null.into_raw_fd();
    let socket = wire.socket().as_raw_fd();
    close_range(SOCKET, socket - 1)?;
    close_range(socket + 1, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), Fault> {
    if first > last {
        return Ok(());
    }
    // SAFETY: nothing in this process owns a descriptor in the range: set-up dropped its own, and the caller has given
    // up the one that it had.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).step("close descriptors") }
}

/// Limits that hold for every process inside, whatever control groups do.
pub(super) fn limit_resources(setup: &Setup) -> Result<(), Fault> {
    limit(Resource::Core, CORE_BYTES)?;
    limit(Resource::Fsize, setup.file_bytes)?;
    limit(Resource::Nproc, setup.processes.saturating_add(u64::from(RESERVED_PROCESSES)))
}

/// Sets both limits, no higher than the hard one: only the host's root may raise that.
pub(super) fn limit(resource: Resource, value: u64) -> Result<(), Fault> {
    let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(hard)).filter(|value| *value != u64::MAX);
    rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
        .step(format!("limit {resource:?}"))
}

/// The last steps: no capability, no new privilege, no eyes on this process, no rare system call.
pub(super) fn give_up_rights(filter: &BpfProgram) -> Result<(), Fault> {
    for set in [CapSet::Ambient, CapSet::Bounding, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
    {
        caps::clear(None, set).map_err(|_| last_error()).step(format!("drop capabilities: {set:?}"))?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("die with the worker")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("become unreadable")?;
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")?;
    restrict_files()?;
    syscall_filter::install(filter)
}

fn last_error() -> std::io::Error {
    std::io::Error::last_os_error()
}

/// What Landlock adds to the namespaces: no device node anywhere, no change of mounts even with capabilities, no signal
/// and no abstract socket to the outside even if a namespace leaked. Kernels before ABI 2 would forbid renaming between
/// directories with it, so they go without.
fn restrict_files() -> Result<(), Fault> {
    let nodes = AccessFs::MakeChar | AccessFs::MakeBlock;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).step("open the root")?;
    let build = || -> Result<(), landlock::RulesetError> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(nodes | AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .scope(Scope::from_all(ABI::V6))?
            .create()?;
        let root = PathBeneath::new(&root, AccessFs::Refer);
        ruleset.add_rule(root)?.restrict_self().map(|_| ())
    };
    let _ = build();
    Ok(())
}
