//! What an engine is told of a container.

use legwork_sandbox::host::{Berth, Enclosure, INSIDE, Mount};
use legwork_sandbox::{Access, Limits};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::engine::{Facts, Make};

/// Labels by which containers are found again: whose, and which sandbox.
pub(crate) const STATE: &str = "legwork.state";
pub(crate) const SANDBOX: &str = "legwork.sandbox";

/// The kernel's default period of processor time, in microseconds (`sched-bwc.rst`).
const CPU_PERIOD_US: u64 = 100_000;

/// Processes beside those of commands: the first, the guest, and what the guest may start in need.
const OWN_PROCESSES: u32 = 16;

/// The kernel's own bound on processes: no limit above it says anything.
const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// Makes commands the first choice of the kernel's out-of-memory killer (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE: u32 = 500;

/// The body of `POST /containers/create`.
///
/// The engine's own filters of system calls, paths and mounts are switched off, since they forbid what the guest makes its
/// machine with; it has no capability, and before anything foreign runs it is behind filters of its own that are closer.
pub(crate) fn body(
    facts: &Facts,
    berth: &Berth,
    image: &str,
    mounts: &[Mount],
    runtime: Option<&str>,
) -> Value {
    let (uid, gid) = berth.owner;
    // Root of a rootless engine is the user behind it, who is the worker's.
    let user = if facts.is_rootless { "0:0".to_owned() } else { format!("{uid}:{gid}") };
    let mut host = json!({
        "NetworkMode": "none",
        "IpcMode": "private",
        "UsernsMode": "host",
        "AutoRemove": true,
        "ReadonlyRootfs": true,
        "CapDrop": ["ALL"],
        "SecurityOpt": security(facts.make),
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "OomScoreAdj": OOM_SCORE,
        "LogConfig": { "Type": "none" },
        "Ulimits": ulimits(),
        "Mounts": mounts.iter().map(mount).collect::<Vec<_>>(),
    });
    if facts.is_rootless {
        // It is the user's already.
        host["UsernsMode"] = json!("");
        // Whoever is called 0 maps that id into a namespace below only with this (user_namespaces(7)); the guest has none.
        host["CapAdd"] = json!(["SETFCAP"]);
    }
    if let Some(runtime) = runtime {
        host["Runtime"] = json!(runtime);
    }
    limit(&mut host, facts, &berth.limits);
    json!({
        "Image": image,
        "Entrypoint": [Enclosure::PROGRAM],
        "Cmd": [],
        "Env": [],
        "User": user,
        "WorkingDir": INSIDE,
        "Hostname": "sandbox",
        "Labels": { STATE: berth.state.display().to_string(), SANDBOX: berth.label },
        "HostConfig": host,
    })
}

fn security(make: Make) -> Vec<&'static str> {
    let mut options = vec!["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=disable"];
    // Docker's client makes the two empty lists of paths of it; Podman's engine takes no notice of these.
    if make == Make::Podman {
        options.push("unmask=ALL");
    }
    options
}

/// Those of this process: an engine that asks for more than the machine gives would start nothing.
fn ulimits() -> Vec<Value> {
    let pids = std::fs::read_to_string(PID_MAX).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let limit = |name: &str, resource, most: Option<u64>| {
        let own = getrlimit(resource).maximum;
        let value = own.into_iter().chain(most).min();
        value.map(|value| json!({ "Name": name, "Soft": value, "Hard": value }))
    };
    [limit("nofile", Resource::Nofile, None), limit("nproc", Resource::Nproc, pids)]
        .into_iter()
        .flatten()
        .collect()
}

fn mount(mount: &Mount) -> Value {
    json!({
        "Type": "bind",
        "Source": mount.host,
        "Target": mount.inside,
        "ReadOnly": mount.access == Access::Read,
        "BindOptions": { "Propagation": "rprivate" },
    })
}

/// The limits that the engine can set.
fn limit(host: &mut Value, facts: &Facts, limits: &Limits) {
    if facts.info.memory_limit {
        host["Memory"] = json!(limits.memory_bytes);
        host["MemorySwap"] = json!(limits.memory_bytes);
    }
    if facts.info.pids_limit {
        host["PidsLimit"] = json!(limits.processes.saturating_add(OWN_PROCESSES));
    }
    if facts.info.cpu_cfs_quota && limits.cpu_millis > 0 {
        host["CpuPeriod"] = json!(CPU_PERIOD_US);
        host["CpuQuota"] = json!(u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000);
    }
}
