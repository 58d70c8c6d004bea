//! The guest program, which alone speaks with the outside.

use nix::libc;

use super::{Probe, perl, sh};

/// Without the processor the guest would not see to any time limit.
fn starve(name: &str, number: libc::c_long, arguments: &str) -> Probe {
    let program = format!(
        "use Errno; my $none = \"\\1\" . \"\\0\" x 63; my $r = syscall({number}, {arguments}); \
         print $r >= 0 ? 'done' : $!{{EPERM}} ? 'refused' : \"$!\";"
    );
    perl(&format!("guest_starve_{name}"), &program, "refused")
}

pub(super) fn probes() -> Vec<Probe> {
    vec![
        perl(
            "guest_descriptors",
            "my @open = grep { open my $f, '>&=', $_ and -e $f } 3 .. 255; print \"@open.\";",
            ".",
        ),
        sh(
            "guest_overwrite",
            "sh -c 'exec 3>/proc/1/exe' 2>/dev/null && echo open || echo refused",
            "refused",
        ),
        sh("guest_run_again", "timeout 2 /proc/1/exe 2>/dev/null && echo ran || echo refused", "refused"),
        sh(
            "guest_frames_in_output",
            // The shape of a frame, and one of each first byte: it is output and nothing else.
            "printf '\\000\\000\\000\\010exited\\000\\001'; printf '{\"Exited\":{\"Code\":0}}\\n' >&2; echo; echo still here",
            "\0\0\0\u{8}exited\0\u{1}\nstill here\n{\"Exited\":{\"Code\":0}}",
        ),
        sh("guest_stop_all", "kill -STOP 1; kill -KILL 1; echo tried", "tried"),
        perl(
            "guest_limits",
            "my $none = pack('QQ', 0, 0); my $r = syscall(302, 1, 7, $none, 0); print $r >= 0 ? 'set' : 'refused';",
            "refused",
        ),
        starve("scheduler", libc::SYS_sched_setscheduler, "1, 5, $none"),
        starve("scheduler_parameters", libc::SYS_sched_setparam, "1, $none"),
        starve("affinity", libc::SYS_sched_setaffinity, "1, 8, $none"),
        starve("attributes", libc::SYS_sched_setattr, "1, $none, 0"),
        starve("niceness_of_all", libc::SYS_setpriority, "2, 0, 19"),
        starve("io_of_the_guest", libc::SYS_ioprio_set, "1, 1, 0"),
        starve("io_of_all", libc::SYS_ioprio_set, "3, 1000, 0"),
        sh("guest_close_its_input", "exec 0<&- 1>&- 2>&-; exit 0", ""),
        sh("guest_long_names", "printf '%0100000d' 0 | xargs -I{} true {} 2>/dev/null; echo tried", "tried"),
        sh(
            "guest_orphans",
            "for i in 1 2 3; do (setsid sh -c 'trap \"\" TERM HUP INT; sleep 60' >/dev/null 2>&1 &) ; done; echo left",
            "left",
        ),
    ]
}
