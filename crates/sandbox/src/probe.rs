//! What of the isolation and of the limits this machine offers, found by trying and not by guessing.
//!
//! Distributions forbid user namespaces in four different ways, containers mask /proc, file systems refuse overlays: so
//! each is attempted in a throw-away process, and the answer carries the command that mends it.

#![expect(
    unsafe_code,
    reason = "clones a process that only makes system calls; each block says why it is sound"
)]

use std::ffi::{CStr, CString};
use std::path::Path;

use caps::{CapSet, Capability};
use nix::libc;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::guest::{NAMESPACES, USER_ID};
use crate::host::{inner_ids, remove_tree};
use crate::local::ControlGroups;

/// `mount_setattr` came with it; overlays in user namespaces one release before (kernelnewbies.org/Linux_5.12).
const KERNEL_MIN: (u32, u32) = (5, 12);

/// The first Landlock that can tell renaming apart (kernel 5.19), and the first with scopes (6.12).
const LANDLOCK_USABLE: i64 = 2;
const LANDLOCK_SCOPES: i64 = 6;

/// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h: asks for the version instead of making a ruleset.
const LANDLOCK_VERSION_FLAG: libc::c_uint = 1;

/// The name of the probe of what this process may do beyond any user.
pub const PRIVILEGES: &str = "privileges";

/// One layer of isolation or one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it is: `user namespaces`, `memory limit`, ...
    pub name: &'static str,
    /// How far it can be had.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What an operator can do to have more.
    pub mend: Option<String>,
}

/// How far something can be had here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Wholly.
    Available,
    /// By weaker means; sandboxes are made.
    Limited,
    /// Not at all. If it is isolation, no sandbox is made.
    Missing,
}

/// Tries everything that sandboxes with this state directory need. Takes a few milliseconds, changes nothing.
#[must_use]
pub fn probe(state: &Path) -> Vec<Probe> {
    let groups = ControlGroups::find();
    let privileges = privileges();
    // Without them the next ones fail too, and their mends would lead astray.
    let isolation = match privileges.status {
        Status::Missing => Vec::new(),
        Status::Available | Status::Limited => vec![namespaces(), overlay(state), fresh_proc(), user()],
    };
    let rest = [
        seccomp(),
        landlock(),
        memory(&groups),
        processes(&groups),
        processor(&groups),
        found(
            "disk limit",
            Status::Limited,
            "the writable layer is measured; a flood ends the sandbox within a second",
        ),
    ];
    [kernel(), privileges].into_iter().chain(isolation).chain(rest).collect()
}

fn found(name: &'static str, status: Status, detail: impl Into<String>) -> Probe {
    Probe { name, status, detail: detail.into(), mend: None }
}

fn broken(name: &'static str, status: Status, detail: impl Into<String>, mend: &str) -> Probe {
    Probe { name, status, detail: detail.into(), mend: Some(mend.to_owned()) }
}

fn kernel() -> Probe {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let detail = format!("Linux {release}");
    if version >= KERNEL_MIN {
        return found("kernel", Status::Available, detail);
    }
    broken("kernel", Status::Missing, detail, "Use Linux 5.12 or later")
}

/// What root needs of its capabilities: to give commands ids that are nobody's, and to keep the files that these leave.
const ROOT_NEEDS: [Capability; 5] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// What this process may do beyond any user, and whether it is enough. An ordinary user needs none.
fn privileges() -> Probe {
    // A kernel that does not say what they are says no to what needs them.
    let has = caps::read(None, CapSet::Effective).unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        let detail = match has.len() {
            0 => "an ordinary user without capabilities, which is enough".to_owned(),
            count => format!("an ordinary user with {count} capabilities; none is needed"),
        };
        return found(PRIVILEGES, Status::Available, detail);
    }
    let lacks: Vec<_> = ROOT_NEEDS.iter().filter(|one| !has.contains(one)).map(ToString::to_string).collect();
    if lacks.is_empty() {
        let beyond = has.len() - ROOT_NEEDS.len();
        let detail = match beyond {
            0 => "root with the five capabilities that it needs".to_owned(),
            _ => format!("root with {beyond} capabilities more than it needs; an ordinary user is enough"),
        };
        return found(PRIVILEGES, Status::Available, detail);
    }
    let detail = format!("root without {}", lacks.join(", "));
    broken(
        PRIVILEGES,
        Status::Missing,
        detail,
        "Run it as an ordinary user, who needs no capability, or as root with these",
    )
}

fn namespaces() -> Probe {
    match attempt(&|| Ok(())) {
        Ok(()) => found("namespaces", Status::Available, "user, mount, pid, net, ipc, uts, cgroup"),
        Err(error) => broken(
            "namespaces",
            Status::Missing,
            format!("not allowed: {}", std::io::Error::from(error)),
            "sudo sysctl -w user.max_user_namespaces=28633 kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0 (names that do not exist here can be left out)",
        ),
    }
}

fn overlay(state: &Path) -> Probe {
    const NAME: &str = "overlay file system";
    const MEND: &str = "Put the state directory (LEGWORK_HOME) on ext4, xfs, btrfs or tmpfs";
    match try_overlay(state) {
        Ok(()) => found(NAME, Status::Available, format!("works in {}", state.display())),
        Err(error) => broken(NAME, Status::Missing, format!("not in {}: {error}", state.display()), MEND),
    }
}

/// Mounts an overlay of three directories of the state directory, in a namespace that ends with the attempt.
fn try_overlay(state: &Path) -> Result<(), std::io::Error> {
    let place = state.join(format!("probe-{:016x}", fastrand::u64(..)));
    let made =
        ["lower", "upper", "work"].iter().try_for_each(|part| std::fs::create_dir_all(place.join(part)));
    let result = made.and_then(|()| {
        let at = place.display();
        let options = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work,userxattr,volatile");
        let options = CString::new(options)?;
        let target = CString::new(place.join("lower").into_os_string().into_encoded_bytes())?;
        let overlay =
            || mount(c"overlay", target.as_c_str(), c"overlay", MountFlags::NOSUID, options.as_c_str());
        Ok(attempt(&overlay)?)
    });
    let _ = remove_tree(&place);
    result
}

fn fresh_proc() -> Probe {
    let proc = || mount(c"proc", c"/proc", c"proc", MountFlags::NOSUID, None::<&CStr>);
    match attempt(&proc) {
        Ok(()) => found("fresh /proc", Status::Available, "can be mounted"),
        Err(error) => broken(
            "fresh /proc",
            Status::Missing,
            format!("cannot be mounted: {}", std::io::Error::from(error)),
            "In a container, start it with /proc unmasked (docker run --security-opt systempaths=unconfined)",
        ),
    }
}

fn user() -> Probe {
    let (uid, _) = inner_ids();
    match (rustix::process::geteuid().is_root(), uid) {
        (true, 0) => broken(
            "user of commands",
            Status::Limited,
            "this namespace's root: no other id is mapped",
            "Run as an ordinary user, or map a range of ids into the container",
        ),
        (true, uid) => found("user of commands", Status::Available, format!("id {uid}, which is nobody's")),
        (false, uid) => {
            found("user of commands", Status::Available, format!("id {uid}, without its groups' rights"))
        }
    }
}

fn seccomp() -> Probe {
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return found("system call filter", Status::Available, "seccomp");
    }
    broken("system call filter", Status::Missing, "no seccomp", "Use a kernel with CONFIG_SECCOMP_FILTER")
}

fn landlock() -> Probe {
    // SAFETY: with this flag the call takes no pointer and makes nothing.
    let version = unsafe {
        let none = std::ptr::null::<libc::c_void>();
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, LANDLOCK_VERSION_FLAG)
    };
    let detail = format!("version {version}");
    match version {
        LANDLOCK_SCOPES.. => found("landlock", Status::Available, detail),
        LANDLOCK_USABLE.. => found("landlock", Status::Limited, detail + ", without scopes"),
        _ => broken(
            "landlock",
            Status::Limited,
            "none; the other layers hold without it",
            "Boot with lsm=landlock,...",
        ),
    }
}

/// What gives an ordinary user control groups.
const DELEGATE: &str =
    "Run it as a service with Delegate=yes, e.g. systemd-run --user --scope -p Delegate=yes legwork ...";

fn kind(groups: &ControlGroups) -> &'static str {
    match groups {
        ControlGroups::V2(_) => "control groups, version 2",
        ControlGroups::V1(_) => "control groups, version 1",
        ControlGroups::Absent => "no control groups",
    }
}

fn memory(groups: &ControlGroups) -> Probe {
    if groups.limits("memory") {
        return found("memory limit", Status::Available, kind(groups));
    }
    let detail = "no control group: the guest looks four times a second and kills the largest process";
    broken("memory limit", Status::Limited, detail, DELEGATE)
}

fn processes(groups: &ControlGroups) -> Probe {
    let detail =
        if groups.limits("pids") { kind(groups) } else { "the user namespace's own count (RLIMIT_NPROC)" };
    found("process limit", Status::Available, detail)
}

fn processor(groups: &ControlGroups) -> Probe {
    if groups.limits("cpu") {
        return found("processor limit", Status::Available, kind(groups));
    }
    broken(
        "processor limit",
        Status::Missing,
        "no control group: a sandbox may take all processors",
        DELEGATE,
    )
}

/// Runs one system call in new namespaces, in a process of its own.
///
/// `work` must only make system calls: this process may have threads, whose locks the copy holds for ever.
fn attempt(work: &dyn Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    let flags = NAMESPACES | libc::SIGCHLD;
    let map = |own: u32| CString::new(format!("{USER_ID} {own} 1")).map_err(|_| Errno::INVAL);
    let maps = [map(rustix::process::geteuid().as_raw())?, map(rustix::process::getegid().as_raw())?];
    // SAFETY: without CLONE_VM and with no stack given this is a fork. The child only makes system calls, on memory that
    // was ready before, and ends without running anything of the parent's.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        let result = map_self(&maps).and_then(|()| work());
        let code = result.err().map_or(0, Errno::raw_os_error);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) }
    }
    let Some(pid) = i32::try_from(pid).ok().and_then(|pid| Pid::from_raw(pid.max(0))) else {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::PERM));
    };
    let status = waitpid(Some(pid), WaitOptions::empty())?.and_then(|(_, status)| status.exit_status());
    match status {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(errno)),
        None => Err(Errno::CHILD),
    }
}

/// Takes the ids that the maps give, so that files can be made.
fn map_self([uid, gid]: &[CString; 2]) -> Result<(), Errno> {
    write(c"/proc/self/setgroups", c"deny")?;
    write(c"/proc/self/uid_map", uid)?;
    write(c"/proc/self/gid_map", gid)
}

fn write(path: &CStr, text: &CStr) -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    rustix::io::write(&file, text.to_bytes()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_tells_its_error() {
        if attempt(&|| Ok(())).is_err() {
            eprintln!("SKIPPED: no user namespaces here");
            return;
        }
        assert_eq!(attempt(&|| Err(Errno::XDEV)), Err(Errno::XDEV));
    }

    #[test]
    fn a_state_directory_that_cannot_hold_an_overlay_is_named() {
        let Probe { status, mend, .. } = overlay(Path::new("/proc"));
        assert_eq!(status, Status::Missing);
        assert!(mend.is_some());
    }
}
