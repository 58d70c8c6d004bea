//! What a hostile command tries from inside. Each expects to fail, and the sandbox to go on.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use legwork_sandbox::{Command, Exit, Output, Spec};

use crate::world::{World, command, python, sh, spec};

/// A program that makes system calls by number and says how each ended.
const CALLS: &str = r#"
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    'x86_64': dict(mount=165, umount2=166, pivot_root=155, chroot=161, ptrace=101, setns=308, unshare=272, clone=56,
        clone3=435, bpf=321, perf_event_open=298, userfaultfd=323, keyctl=250, add_key=248, request_key=249,
        io_uring_setup=425, open_by_handle_at=304, process_vm_readv=310, pidfd_getfd=438, kexec_load=246,
        init_module=175, finit_module=313, reboot=169, swapon=167, settimeofday=164, clock_settime=227,
        sethostname=170, open_tree=428, move_mount=429, fsopen=430, mount_setattr=442, acct=163, syslog=103,
        mknodat=259, personality=135, fanotify_init=300, kcmp=312, iopl=172, prlimit64=302, quotactl=179, adjtimex=159,
        open_tree_attr=467, setpriority=141, ioprio_set=251, sched_setparam=142, sched_setscheduler=144,
        sched_setaffinity=203, sched_setattr=314, socketpair=53),
    'aarch64': dict(mount=40, umount2=39, pivot_root=41, chroot=51, ptrace=117, setns=268, unshare=97, clone=220,
        clone3=435, bpf=280, perf_event_open=241, userfaultfd=282, keyctl=219, add_key=217, request_key=218,
        io_uring_setup=425, open_by_handle_at=265, process_vm_readv=270, pidfd_getfd=438, kexec_load=104,
        init_module=105, finit_module=273, reboot=142, swapon=224, settimeofday=170, clock_settime=112,
        sethostname=161, open_tree=428, move_mount=429, fsopen=430, mount_setattr=442, acct=89, syslog=116,
        mknodat=33, personality=92, fanotify_init=262, kcmp=272, prlimit64=261, quotactl=60, adjtimex=171,
        open_tree_attr=467, setpriority=140, ioprio_set=30, sched_setparam=118, sched_setscheduler=119,
        sched_setaffinity=122, sched_setattr=274, socketpair=199),
}[platform.machine()]
def call(name, *arguments):
    if name not in NUMBERS:
        return 'EPERM'
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *given)
    return 'allowed' if result >= 0 else errno.errorcode[ctypes.get_errno()]
"#;

/// Runs the program with `CALLS` before it.
async fn ask(program: &str) -> Option<String> {
    let world = World::new();
    let sandbox = world.sandbox().await;
    python(&sandbox, &format!("{CALLS}\n{program}")).await
}

/// Runs a shell script in a fresh sandbox.
async fn tell(script: &str) -> (String, Exit) {
    let world = World::new();
    let sandbox = world.sandbox().await;
    sh(&sandbox, script).await
}

#[tokio::test]
async fn dangerous_system_calls_are_denied() {
    let program = r#"
names = ['mount', 'umount2', 'pivot_root', 'chroot', 'ptrace', 'setns', 'bpf', 'perf_event_open', 'userfaultfd',
    'keyctl', 'add_key', 'request_key', 'io_uring_setup', 'open_by_handle_at', 'process_vm_readv', 'pidfd_getfd',
    'kexec_load', 'init_module', 'finit_module', 'reboot', 'swapon', 'settimeofday', 'clock_settime', 'sethostname',
    'open_tree', 'move_mount', 'fsopen', 'mount_setattr', 'acct', 'syslog', 'fanotify_init', 'kcmp', 'iopl', 'quotactl',
    'adjtimex', 'open_tree_attr']
print([(name, result) for name in names if (result := call(name, 0, 0, 0, 0, 0)) != 'EPERM'])
"#;
    let Some(said) = ask(program).await else { return };
    assert_eq!(said, "[]");
}

#[tokio::test]
async fn namespaces_cannot_be_nested() {
    let program = r#"
flags = dict(user=0x10000000, mount=0x20000, pid=0x20000000, net=0x40000000, ipc=0x8000000, uts=0x4000000, cgroup=0x2000000)
print({call('unshare', flag) for flag in flags.values()}, {call('clone', flag | 17, 0, 0, 0, 0) for flag in flags.values()}, call('clone3', 0, 0))
"#;
    let Some(said) = ask(program).await else { return };
    assert_eq!(said, "{'EPERM'} {'EPERM'} ENOSYS");
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_second_table_of_system_calls_is_closed() {
    // x32: getpid, ptrace and io_uring_setup under their other numbers.
    let program = r"
results = []
for number in (39, 521, 425):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(0x40000000 + number), 0, 0)
    results.append(errno.errorcode[ctypes.get_errno()])
print(results)
";
    let Some(said) = ask(program).await else { return };
    assert_eq!(said, "['ENOSYS', 'ENOSYS', 'ENOSYS']");
}

#[tokio::test]
async fn sockets_are_local_or_internet_and_never_raw() {
    let program = r"
import socket
def made(*arguments):
    try:
        socket.socket(*arguments).close()
        return True
    except OSError:
        return False
S, D, R = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
print([made(socket.AF_UNIX, S), made(socket.AF_INET, S), made(socket.AF_INET6, D), made(socket.AF_NETLINK, R, 0)])
print([made(socket.AF_PACKET, R), made(socket.AF_INET, R, 1), made(socket.AF_INET6, R, 58), made(socket.AF_NETLINK, R, 9),
    made(socket.AF_VSOCK, S), made(38, 5, 0), made(socket.AF_BLUETOOTH, R, 1), made(40, S), made(44, R)])
# By errno: whether the kernel knows SCTP, DCCP, MPTCP or TIPC is not to matter, for to ask for one loads its module.
def refused(*arguments):
    try:
        socket.socket(*arguments).close()
    except OSError as error:
        return error.errno == errno.EPERM
    return False
for family in (socket.AF_INET, socket.AF_INET6):
    print([refused(family, S, 132), refused(family, 5, 132), refused(family, 6, 33), refused(family, S, 262), refused(family, 10, 0)])
pair = (ctypes.c_int * 2)()
print([call('socketpair', family, 5, 0, pair) for family in (30, 38, 41)], call('socketpair', 1, 1, 0, pair))
";
    let Some(said) = ask(program).await else { return };
    let (said, rare) = said.match_indices('\n').nth(1).map(|(at, _)| said.split_at(at)).unwrap();
    let all = "[True, True, True, True, True]";
    assert_eq!(rare, format!("\n{all}\n{all}\n['EPERM', 'EPERM', 'EPERM'] allowed"));
    let (allowed, denied) = said.split_once('\n').unwrap();
    assert_eq!(allowed, "[True, True, True, True]");
    assert!(!denied.contains("True"), "{denied}");
}

#[tokio::test]
async fn the_hosts_loopback_and_abstract_sockets_are_out_of_reach() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("legwork-test-{port}");
    let _abstract_socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let program = format!(
        r"
import socket
def reach(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(3)
    try:
        s.connect(address)
        return 'reached'
    except OSError as error:
        return type(error).__name__
print(reach(socket.AF_INET, ('127.0.0.1', {port})), reach(socket.AF_UNIX, '\0{name}'),
    reach(socket.AF_INET, ('169.254.169.254', 80)), reach(socket.AF_INET, ('10.0.0.1', 80)), reach(socket.AF_INET6, ('2001:db8::1', 80)))
server = socket.create_server(('127.0.0.1', 0))
print(reach(socket.AF_INET, server.getsockname()), [name for _, name in socket.if_nameindex()])
"
    );
    let Some(said) = ask(&program).await else { return };
    assert_eq!(said, "ConnectionRefusedError ConnectionRefusedError OSError OSError OSError\nreached ['lo']");
}

#[tokio::test]
async fn the_hosts_files_and_secrets_are_not_there() {
    let secret = tempfile::Builder::new().prefix("legwork-secret-").tempfile().unwrap();
    secret.as_file().write_all(b"secret").unwrap();
    let script = format!(
        "ls -A /root /home /var/lib /mnt /srv /sys; cat {} /etc/shadow /root/.ssh/id_rsa /var/run/docker.sock 2>/dev/null; \
         cat /proc/1/environ /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -ciE 'token|secret|cargo|nextest'; \
         find / -xdev -name 'legwork-secret*' 2>/dev/null",
        secret.path().display()
    );
    let (said, _) = tell(&script).await;
    assert_eq!(said, "/home:\nagent\n\n/mnt:\n\n/root:\n\n/srv:\n\n/sys:\n\n/var/lib:\n0\n");
}

#[tokio::test]
async fn proc_tells_nothing_and_steers_nothing() {
    let script = "
        for path in /proc/1/root /proc/1/mem /proc/1/fd /proc/1/environ /proc/1/maps /proc/1/cwd; do
            ls $path/ >/dev/null 2>&1 && echo reached $path; cat $path >/dev/null 2>&1 && echo read $path
        done
        for path in /proc/kcore /proc/keys /proc/timer_list; do [ -s $path ] && echo has $path; head -c 10 $path 2>/dev/null; done
        echo b 2>/dev/null > /proc/sysrq-trigger && echo sysrq
        echo 1 2>/dev/null > /proc/sys/kernel/panic && echo panic
        echo x 2>/dev/null > /proc/sys/kernel/core_pattern && echo core
        echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward && echo forward
        ls -d /proc/1 2>/dev/null
        ls /proc | grep -cE '^[0-9]+$' | { read n; [ $n -lt 10 ] || echo other processes; }
        cat /proc/self/cgroup | grep -v ':/$'
        cat /proc/self/mountinfo | grep -E ' (/tmp|/var|/home|/root)/' | grep -v overlay
        mount -t tmpfs none /mnt 2>/dev/null && echo mounted; mount -o remount,rw /usr 2>/dev/null && echo remounted
        true";
    assert_eq!(tell(script).await, (String::new(), Exit::Code(0)));
}

#[tokio::test]
async fn nothing_grants_rights() {
    let script = "
        grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t\\n' ' '; echo
        for program in su sudo newgrp passwd; do
            p=$(command -v $program) && [ -u $p ] && $p </dev/null >/dev/null 2>&1 && echo $program worked
        done
        cp /usr/bin/id . && chmod 6755 id && ./id -u; id -u; id -G
        mknod dev c 1 1 2>/dev/null && echo device; mknod dev b 8 0 2>/dev/null && echo device
        mknod white c 0 0 2>/dev/null && echo whiteout
        setcap cap_sys_admin+ep id 2>/dev/null && echo capability
        chown 0:0 id 2>/dev/null && echo owner
        true";
    let expected = "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 \
                    CapAmb: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 \n1000\n1000\n1000";
    let (said, exit) = tell(script).await;
    let groups_of_an_ordinary_user = said.trim_end().trim_end_matches(" 65534");
    assert_eq!((groups_of_an_ordinary_user, exit), (expected, Exit::Code(0)));
}

#[tokio::test]
async fn nothing_but_standard_descriptors_is_inherited() {
    let (said, _) = tell("for fd in /proc/self/fd/*; do echo ${fd##*/}; done").await;
    assert_eq!(said, "0\n1\n2\n3\n", "3 is the shell's own, for the directory");
    let (said, _) = tell("ls -l /proc/$$/fd | grep -c socket").await;
    assert_eq!(said, "0\n");
}

#[tokio::test]
async fn the_guest_cannot_be_killed_traced_or_limited() {
    let program = r"
import resource, signal
results = []
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError as error:
        results.append(error.errno)
results.append(call('prlimit64', 1, 7, ctypes.byref((ctypes.c_ulong * 2)(0, 0)), 0))
results.append(call('ptrace', 16, 1, 0, 0))
# Starved of the processor, it would not see to any time limit.
for arguments in (('sched_setscheduler', 1, 5, bytes(4)), ('sched_setparam', 1, bytes(4)), ('sched_setaffinity', 1, 8, b'\1' + bytes(7)),
        ('sched_setattr', 1, bytes(64), 0), ('setpriority', 0, 1, 19), ('setpriority', 2, 0, 19), ('ioprio_set', 1, 1, 0), ('ioprio_set', 3, 1000, 0)):
    results.append(call(*arguments))
try:
    descriptor = os.pidfd_open(1)
    results.append(call('pidfd_getfd', descriptor, 3, 0))
except OSError as error:
    results.append(error.errno)
for path in ('/proc/1/mem', '/proc/1/fd/3', '/proc/1/oom_score_adj'):
    try:
        open(path, 'r+b')
        results.append(path)
    except OSError:
        pass
print(results)
";
    let world = World::new();
    let sandbox = world.sandbox().await;
    let Some(said) = python(&sandbox, &format!("{CALLS}\n{program}")).await else { return };
    let refusals = ["'EPERM'"; 11].join(", ");
    assert_eq!(said, format!("[{refusals}]"));
    sh(&sandbox, "kill -9 -1; kill -9 1; kill -STOP 1").await;
    assert_eq!(sh(&sandbox, "echo alive").await.0, "alive\n");
}

/// A limit of zero would still let a crash start the host's own handler, as root and outside; of one, it does not.
#[tokio::test]
async fn a_crash_starts_nothing_on_the_host() {
    let (said, exit) = tell("grep -E '^Max core' /proc/self/limits | tr -s ' '; kill -SEGV $$").await;
    assert_eq!((said.trim_end(), exit), ("Max core file size 1 1 bytes", Exit::Signal(11)));
}

#[tokio::test]
async fn orphans_without_end_do_not_keep_the_guest_from_its_work() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let storm = "for i in 1 2 3 4; do while :; do (true &) ; done & done; wait";
    let _storm = sandbox.exec(command(&["sh", "-c", storm])).await.unwrap();
    for _ in 0..5 {
        let short = Command { timeout_ms: Some(50), ..command(&["sleep", "1000"]) };
        let mut process = sandbox.exec(short).await.unwrap();
        let mut last = None;
        while let Some(output) = process.next().await {
            last = Some(output);
        }
        assert_eq!(last, Some(Output::Exited(Exit::TimedOut)));
    }
}

#[tokio::test]
async fn characters_cannot_be_put_into_a_terminal() {
    let program = r"
import fcntl, pty, termios
master, slave = pty.openpty()
def put(request):
    try:
        fcntl.ioctl(slave, request, b'x')
        return 'put'
    except OSError as error:
        return errno.errorcode[error.errno]
print(put(0x5412), put(0x541C))
";
    let Some(said) = ask(program).await else { return };
    assert_eq!(said, "EPERM EPERM");
}

#[tokio::test]
async fn floods_end_and_the_sandbox_goes_on() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let bomb = r":() { :|:& }; :; wait";
    sh(&sandbox, &format!("timeout -s KILL 3 bash -c '{bomb}' 2>/dev/null")).await;
    sh(&sandbox, "kill -9 -1").await;
    // The dead count until the last of them is collected.
    while sh(&sandbox, "(true)").await.1 != Exit::Code(0) {}
    let (said, _) = sh(&sandbox, "ulimit -n; echo alive").await;
    assert!(said.ends_with("alive\n"), "{said}");
    // Output without end, in both kinds, to a reader that takes little of it.
    let script = "timeout -s KILL 2 sh -c 'yes & yes >&2'";
    let (said, exit) = sh(&sandbox, script).await;
    assert_eq!((said.len(), exit), (1 << 20, Exit::Code(137)));
    let Some(said) = python(
        &sandbox,
        r"
import os
held = []
try:
    while True: held.append(os.open('/dev/null', 0))
except OSError: pass
print(len(held) > 1000)
",
    )
    .await
    else {
        return;
    };
    assert_eq!(said, "True");
    assert_eq!(sh(&sandbox, "echo alive").await.0, "alive\n");
}

#[tokio::test]
async fn two_sandboxes_share_nothing() {
    let world = World::new();
    let left = world.backend.create(spec("left")).await.unwrap();
    let right = world.backend.create(Spec { ..spec("right") }).await.unwrap();
    let Some(_) = python(
        &left,
        r"
import os, socket, subprocess
s = socket.socket(socket.AF_UNIX); s.bind('\0shared'); s.listen()
subprocess.Popen(['sleep', '1000'])
open('/dev/shm/shared', 'w').write('x'); open('/tmp/shared', 'w').write('x')
",
    )
    .await
    else {
        return;
    };
    sh(&left, "ipcmk -M 4096 >/dev/null 2>&1; touch /workspace/shared $HOME/shared").await;
    let script = "ls /dev/shm /tmp /workspace $HOME | grep shared; ps aux | grep -c '[s]leep 1000'; ipcs -m | grep -c 0x; grep -c shared /proc/net/unix";
    assert_eq!(sh(&right, script).await.0, "0\n0\n0\n");
}
