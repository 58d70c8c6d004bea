//! The system calls that nothing inside may make, the guest included.
//!
//! A deny list: what Docker's default profile leaves out (moby, `profiles/seccomp/default.json`), plus the young and
//! wide interfaces that most kernel exploits of recent years went through (io_uring, userfaultfd, bpf, perf, keyrings,
//! nested namespaces), plus tracing, which would reach the guest's own user. Programs expect "not permitted" from most
//! of them; for `clone3` only "no such call" makes libraries fall back to `clone`, whose flags can be looked at.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule,
};

use super::{Fault, Step};

/// Denied whatever their arguments, on every architecture.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_memfd_secret,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Denied, and found on this architecture alone.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS__sysctl,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_sysfs,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// `clone` flags that make namespaces.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Terminal requests that put characters into another's input (`ioctl_tty(2)`, `ioctl_console(2)`).
const TERMINAL_INJECTIONS: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Execution domains that Docker's profile allows: plain, bug-compatible, 2.6-named, both, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Socket families that work inside: local, IPv4, IPv6, and netlink to ask for addresses and routes.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Installs the filter for this process and all that come from it. It needs `no_new_privs`.
pub(super) fn install(program: &BpfProgram) -> Result<(), Fault> {
    seccompiler::apply_filter(program)
        .map_err(|_| std::io::Error::last_os_error())
        .step("install the system call filter")
}

/// One program: the kernel compiles and asks each by itself.
pub(super) fn program() -> Result<BpfProgram, Fault> {
    let mut program = denied().map_err(|_| unusable()).step("build the system call filter")?;
    program.splice(0..0, absent());
    Ok(program)
}

fn unusable() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}

/// The first steps: calls that are answered as if the kernel had none, on whatever architecture. They are `clone3`, whose
/// number (435) is the same on all, and what lies from bit 30 on: x86-64 kernels may offer every call a second time there
/// (x32), which a list by number would miss.
fn absent() -> [seccompiler::sock_filter; 4] {
    const X32_BIT: u32 = 0x4000_0000;
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or_default();
    let step = |code: u32, jt, jf, k| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    [
        // The number is the first field of what a filter looks at.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, X32_BIT),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, clone3),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, errno),
    ]
}

/// Calls that are answered as not permitted.
fn denied() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<_, _> = DENIED.iter().chain(DENIED_HERE).map(|call| (*call, vec![])).collect();
    let flags = NAMESPACES.map(|flag| argument(0, Length::Qword, Op::MaskedEq(number(flag)), number(flag)));
    rules.insert(libc::SYS_clone, flags.into_iter().map(|flag| all_of([flag])).collect::<Result<_, _>>()?);
    let requests = TERMINAL_INJECTIONS.map(|request| argument(1, Length::Dword, Op::Eq, request));
    rules.insert(
        libc::SYS_ioctl,
        requests.into_iter().map(|request| all_of([request])).collect::<Result<_, _>>()?,
    );
    let domain = all_of(PERSONALITIES.map(|allowed| argument(0, Length::Dword, Op::Ne, allowed)))?;
    rules.insert(libc::SYS_personality, vec![domain]);
    rules.insert(libc::SYS_socket, sockets()?);
    // The guest runs under the commands' user: they must not be able to set its limits.
    rules.insert(libc::SYS_prlimit64, vec![all_of([argument(0, Length::Dword, Op::Eq, 1)])?]);
    compile(rules, u32::try_from(libc::EPERM).unwrap_or_default())
}

/// Refuses other families, netlink but for routes, and raw sockets.
fn sockets() -> Result<Vec<Rule>, seccompiler::BackendError> {
    let is = |family| argument(0, Length::Dword, Op::Eq, number(family));
    let raw = || argument(1, Length::Dword, Op::MaskedEq(0xf), number(libc::SOCK_RAW));
    Ok(vec![
        all_of(FAMILIES.map(|family| argument(0, Length::Dword, Op::Ne, number(family))))?,
        all_of([is(libc::AF_NETLINK), argument(2, Length::Dword, Op::Ne, number(libc::NETLINK_ROUTE))])?,
        all_of([is(libc::AF_INET), raw()])?,
        all_of([is(libc::AF_INET6), raw()])?,
    ])
}

fn number(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

type Checked = Result<Condition, seccompiler::BackendError>;

fn argument(index: u8, length: Length, op: Op, value: u64) -> Checked {
    Condition::new(index, length, op, value)
}

/// A rule that matches when all of its conditions do.
fn all_of<const N: usize>(conditions: [Checked; N]) -> Result<Rule, seccompiler::BackendError> {
    Rule::new(conditions.into_iter().collect::<Result<Vec<_>, _>>()?)
}

fn compile(rules: BTreeMap<i64, Vec<Rule>>, errno: u32) -> Result<BpfProgram, seccompiler::Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_fits_the_kernel() {
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(program().unwrap().len() < 4096);
    }
}
