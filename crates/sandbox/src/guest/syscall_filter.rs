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
    SeccompFilter, SeccompRule as Rule, sock_filter,
};

use super::{Fault, Step};

/// `open_tree_attr` of Linux 6.15, the same on every architecture.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Denied whatever their arguments, on every architecture.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
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
    OPEN_TREE_ATTR,
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

/// The answer to them.
const NOT_PERMITTED: u32 = libc::EPERM.cast_unsigned();

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

/// An old name for packet sockets, which turns any family into theirs (linux/net.h).
const SOCK_PACKET: libc::c_int = 10;

/// Kinds of internet sockets that are not streams or datagrams: raw, and those of protocols that nobody needs here.
const KINDS_DENIED: [libc::c_int; 5] =
    [libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP, SOCK_PACKET];

/// Protocols of internet sockets: by default, TCP, UDP, and echo requests. Merely to ask for SCTP, DCCP or MPTCP loads
/// or walks rarely used kernel code.
const PROTOCOLS: [libc::c_int; 5] =
    [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// Installs the filter for this process and all that come from it. It needs `no_new_privs`.
pub(super) fn install(program: &BpfProgram) -> Result<(), Fault> {
    seccompiler::apply_filter(program)
        .map_err(|_| std::io::Error::last_os_error())
        .step("install the system call filter")
}

/// One program: the kernel compiles and asks each by itself.
pub(super) fn program() -> Result<BpfProgram, Fault> {
    let parts = || {
        let mut program = absent().to_vec();
        program.extend(denied()?);
        program.extend(looked_at().ok()?);
        Some(program)
    };
    parts().ok_or_else(unusable).step("build the system call filter")
}

fn unusable() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}

/// The first steps: calls that are answered as if the kernel had none, on whatever architecture. They are `clone3`, whose
/// number (435) is the same on all, and what lies from bit 30 on: x86-64 kernels may offer every call a second time there
/// (x32), which a list by number would miss.
fn absent() -> [sock_filter; 4] {
    const X32_BIT: u32 = 0x4000_0000;
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or_default();
    [
        // The number is the first field of what a filter looks at.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, X32_BIT),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, clone3),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, errno),
    ]
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// The next steps: calls that are answered as not permitted. When a filter is installed, the kernel runs it for every
/// call that there is, to learn which it always allows; so the number is searched for and not compared with each in turn.
/// `None` if the list grows beyond what a jump can pass over.
fn denied() -> Option<BpfProgram> {
    let calls = DENIED.iter().chain(DENIED_HERE).map(|call| u32::try_from(*call).ok());
    let mut calls = calls.collect::<Option<Vec<_>>>()?;
    calls.sort_unstable();
    let mut halvings = Vec::new();
    search(&calls, &mut halvings);
    let length = halvings.len();
    let mut program = halvings
        .into_iter()
        .enumerate()
        .map(|(place, halving)| {
            let to_end = u8::try_from(length - place - 1).ok()?;
            Some(match halving {
                Halving::AtLeast(call, skip) => {
                    step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, u8::try_from(skip).ok()?, 0, call)
                }
                Halving::Is(call) => {
                    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_end, to_end.checked_add(1)?, call)
                }
            })
        })
        .collect::<Option<BpfProgram>>()?;
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | NOT_PERMITTED));
    Some(program)
}

/// One comparison of the search.
enum Halving {
    /// From this number on, go on so many steps further down.
    AtLeast(u32, usize),
    /// Denied if it is this one, else not.
    Is(u32),
}

fn search(calls: &[u32], halvings: &mut Vec<Halving>) {
    match calls {
        [] => {}
        [call] => halvings.push(Halving::Is(*call)),
        _ => {
            let (low, high) = calls.split_at(calls.len() / 2);
            let mut below = Vec::new();
            search(low, &mut below);
            halvings.push(Halving::AtLeast(high[0], below.len()));
            halvings.append(&mut below);
            search(high, halvings);
        }
    }
}

/// The last steps: calls that are denied by their arguments, and those of another architecture, which end the process.
fn looked_at() -> Result<BpfProgram, seccompiler::Error> {
    let mut rules = BTreeMap::new();
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
    let pair = argument(0, Length::Dword, Op::Ne, number(libc::AF_UNIX));
    rules.insert(libc::SYS_socketpair, vec![all_of([pair])?]);
    rules.append(&mut guests_own()?);
    compile(rules, NOT_PERMITTED)
}

/// Refuses what would slow or limit the guest: it runs under the commands' user, and must be able to end them.
fn guests_own() -> Result<BTreeMap<i64, Vec<Rule>>, seccompiler::Error> {
    const GUEST: u64 = 1;
    // The kinds of target of linux/resource.h and linux/ioprio.h.
    let (process, user) = (number(libc::PRIO_PROCESS.cast_signed()), number(libc::PRIO_USER.cast_signed()));
    let (io_process, io_user) = (1, 3);
    let is = |index, value| argument(index, Length::Dword, Op::Eq, value);
    let first = [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ];
    let mut rules = BTreeMap::new();
    for call in first {
        rules.insert(call, vec![all_of([is(0, GUEST)])?]);
    }
    for (call, process, user) in
        [(libc::SYS_setpriority, process, user), (libc::SYS_ioprio_set, io_process, io_user)]
    {
        rules.insert(call, vec![all_of([is(0, process), is(1, GUEST)])?, all_of([is(0, user)])?]);
    }
    Ok(rules)
}

/// Refuses other families, netlink but for routes, and of internet sockets all but the usual.
fn sockets() -> Result<Vec<Rule>, seccompiler::BackendError> {
    let is = |family| argument(0, Length::Dword, Op::Eq, number(family));
    let mut rules = vec![
        all_of(FAMILIES.map(|family| argument(0, Length::Dword, Op::Ne, number(family))))?,
        all_of([is(libc::AF_NETLINK), argument(2, Length::Dword, Op::Ne, number(libc::NETLINK_ROUTE))])?,
    ];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in KINDS_DENIED {
            let is_kind = argument(1, Length::Dword, Op::MaskedEq(0xf), number(kind));
            rules.push(all_of([is(family), is_kind])?);
        }
        let [a, b, c, d, e] = PROTOCOLS.map(|protocol| argument(2, Length::Dword, Op::Ne, number(protocol)));
        rules.push(all_of([is(family), a, b, c, d, e])?);
    }
    Ok(rules)
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

    /// What the kernel would do with a call that has no arguments: the subset of its machine that the program uses.
    fn answer(program: &[sock_filter], architecture: u32, call: u32) -> u32 {
        let (mut place, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[place];
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            place += 1;
            match u32::from(code) {
                0x20 => accumulator = [call, architecture].get(k as usize / 4).copied().unwrap_or(0),
                0x05 => place += k as usize,
                0x15 => place += jump(accumulator == k),
                0x25 => place += jump(accumulator > k),
                0x35 => place += jump(accumulator >= k),
                0x54 => accumulator &= k,
                0x06 => return k,
                other => panic!("an instruction that is not known here: {other:#x}"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_listed_call_is_denied_and_no_other() {
        // AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386 of linux/audit.h.
        let (here, other) = (0xc000_003e, 0x4000_0003);
        let program = program().unwrap();
        let denied = libc::SECCOMP_RET_ERRNO | NOT_PERMITTED;
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        let by_arguments =
            [libc::SYS_personality, libc::SYS_socket, libc::SYS_socketpair, libc::SYS_setpriority];
        for call in 0..1000 {
            let number = libc::c_long::from(call);
            let found = answer(&program, here, call);
            if number == libc::SYS_clone3 {
                assert_eq!(found, absent);
            } else if DENIED.contains(&number) || DENIED_HERE.contains(&number) {
                assert_eq!(found, denied, "{call}");
            } else if !by_arguments.contains(&number) {
                assert_eq!(found, libc::SECCOMP_RET_ALLOW, "{call}");
            }
            assert_ne!(answer(&program, other, call), libc::SECCOMP_RET_ALLOW, "{call}");
        }
        assert_eq!(answer(&program, here, 0x4000_0000), absent);
    }

    #[test]
    fn the_program_fits_the_kernel() {
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(program().unwrap().len() < 4096);
    }
}
