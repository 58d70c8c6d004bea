//! Calls of the kernel that nothing inside may make, by number.

use nix::libc;

use super::{Language, Probe, perl, probe};

/// Refused whatever their arguments.
const REFUSED: &[(&str, libc::c_long)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("adjtimex", libc::SYS_adjtimex),
    ("bpf", libc::SYS_bpf),
    ("chroot", libc::SYS_chroot),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("finit_module", libc::SYS_finit_module),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("init_module", libc::SYS_init_module),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("mbind", libc::SYS_mbind),
    ("migrate_pages", libc::SYS_migrate_pages),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("move_pages", libc::SYS_move_pages),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    // The same on every architecture; not in libc yet.
    ("open_tree_attr", 467),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("quotactl", libc::SYS_quotactl),
    ("quotactl_fd", libc::SYS_quotactl_fd),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("setdomainname", libc::SYS_setdomainname),
    ("sethostname", libc::SYS_sethostname),
    ("setns", libc::SYS_setns),
    ("settimeofday", libc::SYS_settimeofday),
    ("swapoff", libc::SYS_swapoff),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("vhangup", libc::SYS_vhangup),
];

/// Namespaces, by the flag of `clone` and `unshare` that makes one.
const NAMESPACES: &[(&str, libc::c_int)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

/// Makes a 32 bit program whose only call is `exit(42)`, by `int 0x80`, and runs it.
const EXIT_BY_THE_32_BIT_TABLE: &str = r#"
    my $code = "\xb8\x01\x00\x00\x00\xbb\x2a\x00\x00\x00\xcd\x80\xf4";
    my $at = 0x08048000;
    my $ident = "\x7fELF\x01\x01\x01" . "\0" x 9;
    my $header = pack('vvVVVVVvvvvvv', 2, 3, 1, $at + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0);
    my $segment = pack('VVVVVVVV', 1, 0, $at, $at, 84 + length $code, 84 + length $code, 5, 4096);
    open my $f, '>', 'exit32' or die; print $f $ident . $header . $segment . $code; close $f;
    chmod 0755, 'exit32';
    print system('./exit32') >> 8 == 42 ? 'reached' : 'refused';
"#;

/// A call by its number, and by which name the kernel refused it.
fn call(name: &str, number: libc::c_long, arguments: &str, says: &str) -> Probe {
    let program = format!(
        "use Errno; my $r = syscall({number}{arguments}); \
         print $r >= 0 ? 'allowed' : (grep {{ $!{{$_}} }} qw(EPERM ENOSYS))[0] // \"other: $!\";"
    );
    probe(&format!("calls_{name}"), Language::Perl, program, says)
}

pub(super) fn probes() -> Vec<Probe> {
    let refused = REFUSED.iter().map(|&(name, number)| call(name, number, ", 0, 0, 0, 0, 0", "EPERM"));
    let unshared = NAMESPACES.iter().map(|&(name, flag)| {
        call(&format!("unshare_{name}"), libc::SYS_unshare, &format!(", {flag}"), "EPERM")
    });
    // The time namespace's flag is one of the exit signal's bits there, and only `clone3` and `unshare` know it.
    let cloned = NAMESPACES.iter().filter(|(name, _)| *name != "time").map(|&(name, flag)| {
        let arguments = format!(", {}, 0, 0, 0, 0", flag | libc::SIGCHLD);
        call(&format!("clone_{name}"), libc::SYS_clone, &arguments, "EPERM")
    });
    let mut probes: Vec<_> = refused.chain(unshared).chain(cloned).collect();
    // Its flags lie in memory, where no filter sees them; so it is said not to exist, and `clone` is used.
    probes.push(call("clone3", libc::SYS_clone3, ", 0, 0", "ENOSYS"));
    if cfg!(target_arch = "x86_64") {
        for (name, number) in [("getpid", 39), ("ptrace", 521), ("io_uring_setup", 425)] {
            let x32 = 0x4000_0000 + number;
            probes.push(call(&format!("x32_{name}"), x32, ", 0, 0", "ENOSYS"));
        }
    }
    if cfg!(target_arch = "x86_64") {
        probes.push(perl("calls_of_the_32_bit_table", EXIT_BY_THE_32_BIT_TABLE, "refused"));
    }
    let strange = format!(", {}", 0x0008_0000 | 0x0040_0000);
    probes.push(call("personality_without_randomization", libc::SYS_personality, &strange, "EPERM"));
    probes
}
