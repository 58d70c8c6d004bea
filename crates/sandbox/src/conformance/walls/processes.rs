//! Processes outside, and those of the sandbox that are not the agent's.

use super::{Probe, perl, refused, sh};

pub(super) fn probes() -> Vec<Probe> {
    let of_the_first = ["root", "cwd", "fd", "ns", "task/1/root"].map(|what| {
        let name = format!("processes_first_{}", what.replace('/', "_"));
        refused(&name, &format!("ls /proc/1/{what}/"))
    });
    let read_of_the_first = ["mem", "environ", "maps", "auxv", "exe", "stack", "syscall", "pagemap"]
        .map(|what| refused(&format!("processes_first_{what}"), &format!("head -c 1 /proc/1/{what}")));
    let others = [
        sh(
            "processes_are_few",
            "ls /proc | grep -cE '^[0-9]+$' | { read n; [ $n -lt 10 ] && echo few || echo $n; }",
            "few",
        ),
        sh(
            "processes_environments",
            "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -ciE 'token|secret|password|cargo|nextest'; true",
            "0",
        ),
        perl(
            "processes_signal_outside",
            "my @hit = grep { $_ != $$ && $_ != getppid && kill 0, $_ } 2 .. 70000; print scalar(@hit), ' others';",
            "0 others",
        ),
        // The kernel takes them, and gives none to the first process of a namespace that did not ask for it.
        perl("processes_signal_the_first", "for my $n (1 .. 64) { kill $n, 1 } print 'tried';", "tried"),
        perl("processes_slow_the_first", "print setpriority(0, 1, 19) ? 'done' : 'refused';", "refused"),
        sh(
            "processes_trace_a_neighbour",
            "sleep 5 & head -c 1 /proc/$!/mem >/dev/null 2>&1 && echo read || echo refused; kill $!",
            "refused",
        ),
        sh(
            "processes_leave_no_core",
            "exec 2>/dev/null; ulimit -c unlimited; sh -c 'kill -SEGV $$'; ls | wc -l",
            "0",
        ),
    ];
    of_the_first.into_iter().chain(read_of_the_first).chain(others).collect()
}
