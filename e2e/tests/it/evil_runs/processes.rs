//! Processes, floods and escapes.

use super::{Case, Inside, Says, exec, tool};

/// What a terminal would obey: a name and what is printed.
const ESCAPES: &[(&str, &str)] = &[
    ("title", "\\033]0;owned\\007"),
    ("clipboard", "\\033]52;c;cHduZWQ=\\007"),
    ("clear", "\\033[2J\\033[H"),
    ("link", "\\033]8;;http://evil.example\\033\\\\\\\\click\\033]8;;\\033\\\\\\\\"),
    ("device", "\\033P+q544e\\033\\\\\\\\"),
    ("answer_back", "\\033[6n\\033[c"),
    ("one_byte", "\\302\\2330;owned\\302\\234"),
    ("right_to_left", "\\342\\200\\256gpj.exe"),
    ("bell", "\\007\\007\\007"),
    ("carriage", "all good\\rowned"),
];

/// Attempts at processes that are not the task's: a name, a command, what it says.
const OTHERS: &[(&str, &str, &str)] = &[
    ("signal_the_test", "kill -9 @PID@ 2>/dev/null; echo tried", "tried"),
    ("signal_the_first", "exec 2>/dev/null; kill -KILL 1; kill -TERM 1; kill -STOP 1; echo tried", "tried"),
    ("become_root", "sudo -n id 2>/dev/null || su -c id 2>/dev/null < /dev/null || echo refused", "refused"),
    (
        "set_user_id",
        "cp /bin/sh rootsh && chmod 4755 rootsh; ./rootsh -p -c 'id -u' | grep -cx 0; rm -f rootsh",
        "0",
    ),
    ("new_namespaces", "unshare -Ur true 2>/dev/null && echo made || echo refused", "refused"),
    ("enter_namespaces", "nsenter -t 1 -m true 2>/dev/null && echo entered || echo refused", "refused"),
    ("mount", "mount -t tmpfs none /mnt 2>/dev/null && echo mounted || echo refused", "refused"),
    ("change_root", "chroot / true 2>/dev/null && echo changed || echo refused", "refused"),
    ("devices", "mknod disk b 8 0 2>/dev/null && echo made || echo refused", "refused"),
    ("capabilities", "grep -c 'CapEff:.*[1-9a-f]' /proc/self/status", "0"),
    ("trace_the_first", "head -c 1 /proc/1/mem 2>/dev/null | wc -c", "0"),
    ("priorities", "nice -n -10 sh -c nice 2>/dev/null", "0"),
    ("clock", "date -s 2001-01-01 >/dev/null 2>&1 && echo set || echo refused", "refused"),
    ("host_name", "hostname owned 2>/dev/null && echo set || echo refused", "refused"),
    ("modules", "modprobe dummy 2>/dev/null && echo loaded || echo refused", "refused"),
];

/// Floods and what stays behind.
const FLOODS: &[(&str, &str)] = &[
    ("output", "head -c 5000000 /dev/zero | tr '\\0' x"),
    ("one_line", "head -c 2000000 /dev/zero"),
    ("errors", "head -c 2000000 /dev/urandom >&2"),
    ("left_behind", "setsid sleep 1000 >/dev/null 2>&1 &"),
    (
        "left_behind_twice",
        "(nohup sh -c 'while :; do sleep 1; touch @OUT@/legwork-pwned; done' >/dev/null 2>&1 &)",
    ),
    ("deaf", "(trap '' TERM INT HUP; exec sleep 1000) >/dev/null 2>&1 &"),
    ("stopped", "sleep 1000 >/dev/null 2>&1 & kill -STOP $!"),
    ("many_files", "mkdir many && cd many && seq 2000 | xargs touch && cd .. && rm -rf many"),
    ("deep_folders", "d=.; for i in $(seq 150); do d=$d/dddddddd; done; mkdir -p $d && rm -rf dddddddd"),
    ("a_long_name", "touch $(printf '%0255d' 0 | tr 0 n) && rm -f nnnn*"),
    ("memory", "timeout 5 sh -c 'head -c 100000000 /dev/zero | tail -c 90000000 | wc -c'"),
];

pub(super) fn cases() -> Vec<Case> {
    let escapes = ESCAPES
        .iter()
        .map(|(name, text)| exec(&format!("escape_{name}"), format!("printf '{text}\\n'"), Inside));
    let others = OTHERS
        .iter()
        .map(|(name, command, says)| exec(&format!("process_{name}"), *command, Says((*says).to_owned())));
    let floods = FLOODS.iter().map(|(name, command)| exec(&format!("flood_{name}"), *command, Inside));
    let endless = "{\"cmd\": \"while :; do sleep 0.2; done\", \"yield_time_ms\": 250}";
    let last = [
        exec("many_processes", "for i in $(seq 200); do sleep 1000 >/dev/null 2>&1 & done", Inside),
        Case { verdict: Inside, ..tool("command_without_end", "exec_command", endless, "") },
    ];
    escapes.chain(others).chain(floods).chain(last).collect()
}
