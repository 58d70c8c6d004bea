//! What the kernel shows and what can be set there.

use super::{Probe, refused, sh};

/// Files that steer the machine, each written to.
const SWITCHES: &[(&str, &str)] = &[
    ("sysrq", "/proc/sysrq-trigger"),
    ("core_pattern", "/proc/sys/kernel/core_pattern"),
    ("modprobe", "/proc/sys/kernel/modprobe"),
    ("panic", "/proc/sys/kernel/panic"),
    ("hostname", "/proc/sys/kernel/hostname"),
    ("randomize", "/proc/sys/kernel/randomize_va_space"),
    ("forward", "/proc/sys/net/ipv4/ip_forward"),
    ("binfmt", "/proc/sys/fs/binfmt_misc/register"),
    ("overcommit", "/proc/sys/vm/overcommit_memory"),
    ("drop_caches", "/proc/sys/vm/drop_caches"),
    ("irq", "/proc/irq/default_smp_affinity"),
    ("mtrr", "/proc/mtrr"),
    ("uevent_helper", "/sys/kernel/uevent_helper"),
    ("power", "/sys/power/state"),
    ("cgroup_release", "/sys/fs/cgroup/release_agent"),
    ("cgroup_procs", "/sys/fs/cgroup/cgroup.procs"),
    ("debugfs", "/sys/kernel/debug/tracing/trace_on"),
    ("own_oom_score", "/proc/1/oom_score_adj"),
    ("own_uid_map", "/proc/self/uid_map"),
    ("own_gid_map", "/proc/self/gid_map"),
    ("own_setgroups", "/proc/self/setgroups"),
    ("own_loginuid", "/proc/self/loginuid"),
];

/// Files that tell of the machine or of others, none of which says anything.
const TELLTALES: &[&str] = &[
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/vmallocinfo",
    "/proc/slabinfo",
    "/proc/kpagecount",
];

pub(super) fn probes() -> Vec<Probe> {
    let switches = SWITCHES
        .iter()
        .map(|(name, path)| refused(&format!("kernel_switch_{name}"), &format!("sh -c 'echo 1 > {path}'")));
    let telltales = TELLTALES.iter().map(|path| {
        let name = path.trim_start_matches("/proc/").replace('-', "_");
        let script = format!("timeout 2 head -c 64 {path} 2>/dev/null | wc -c");
        sh(&format!("kernel_tells_{name}"), &script, "0")
    });
    let others = [
        sh(
            "kernel_addresses",
            "awk '{print $1}' /proc/kallsyms 2>/dev/null | sort -u | head -2 | tr -d '0\\n'; echo .",
            ".",
        ),
        sh("kernel_own_cgroup", "cut -d: -f3 /proc/self/cgroup | sort -u | tr -d '\\n'", "/"),
        sh("kernel_sys_is_empty", "ls -A /sys | wc -l", "0"),
        sh("kernel_dmesg", "dmesg >/dev/null 2>&1 && echo read || echo refused", "refused"),
        sh(
            "kernel_scsi_and_acpi",
            "ls -A /proc/scsi /proc/acpi 2>/dev/null | grep -v ':$' | tr -d '\\n'; echo .",
            ".",
        ),
    ];
    switches.chain(telltales).chain(others).collect()
}
