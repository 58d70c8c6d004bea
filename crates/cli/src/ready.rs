//! Whether a safe sandbox can be made here, found out before a task exists.
//!
//! A command that cannot isolate must refuse, not fail half-way with a task that nobody can run. Trying costs some ten
//! milliseconds, so a machine that passed leaves a mark with all that the answer hung on: the boot, the user, the
//! namespaces, the kernel's switches. While they are the same, one comparison is enough. A mark that misleads does no
//! harm: a sandbox that cannot be made ends the turn, and nothing ever runs without one.

use std::fmt::Write as _;

use legwork_sandbox::{PRIVILEGES, Probe, Status};

use crate::config::{BackendFile, Config};
use crate::exit::Trouble;
use crate::{doctor, local};

/// The mark's name in the data directory.
const MARK: &str = "isolation-tried";

/// What decides on this machine whether namespaces can be had.
const SWITCHES: [&str; 5] = [
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/self/attr/current",
];
/// What the command itself is in.
const PLACES: [&str; 2] = ["/proc/self/ns/user", "/proc/self/ns/mnt"];

/// Refuses, with what `legwork doctor` would say, if no safe sandbox can be made here.
///
/// # Errors
/// The refusal, or a data directory that cannot be made.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    config.make_home()?;
    let mark = config.home.join(MARK);
    let facts = facts(config);
    if std::fs::read_to_string(&mark).is_ok_and(|known| known == facts) {
        return Ok(());
    }
    let probes = local::probes(config).await;
    if probes.iter().any(is_missing) {
        // A probe can be wrong; the sandbox that is really made is not.
        let tried = doctor::tried(config).await;
        // It can be made without some of them, and its files not be kept.
        let kept = probes.iter().find(|probe| probe.name == PRIVILEGES && is_missing(probe));
        let kept = kept.map_or(Ok(()), |probe| Err(anyhow::Error::msg(probe.detail.clone())));
        tried.and(kept).map_err(|error| refusal(&error, &probes))?;
    }
    // Without it the next command only tries again.
    let _ = std::fs::write(&mark, facts);
    Ok(())
}

fn facts(config: &Config) -> String {
    let mut facts = format!("user {}\n", rustix::process::geteuid().as_raw());
    if let BackendFile::Docker = config.worker.backend {
        let engine = config.worker.docker.settings(&crate::config::process);
        // An engine that was started anew has made its socket anew.
        let inode = rustix::fs::stat(&engine.socket).map_or(0, |found| found.st_ino);
        let _ = writeln!(facts, "{engine:?} {inode}");
    }
    for path in SWITCHES {
        let value = std::fs::read_to_string(path).unwrap_or_default();
        let _ = writeln!(facts, "{path} {}", value.trim_end_matches(['\n', '\0']));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let _ =
        writeln!(facts, "{}", status.lines().find(|line| line.starts_with("CapEff:")).unwrap_or_default());
    for path in PLACES {
        let place = std::fs::read_link(path).unwrap_or_default();
        let _ = writeln!(facts, "{path} {}", place.display());
    }
    facts
}

fn is_missing(probe: &Probe) -> bool {
    probe.status == Status::Missing
}

fn refusal(error: &anyhow::Error, probes: &[Probe]) -> Trouble {
    let causes = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let what = format!("Nothing was started, since nothing runs here without a safe sandbox.\n{causes}");
    let mut mend = String::new();
    let isolation = probes.iter().filter(|probe| is_missing(probe) && !probe.name.ends_with(" limit"));
    for probe in isolation {
        let _ =
            writeln!(mend, "{}: {}. {}", probe.name, probe.detail, probe.mend.as_deref().unwrap_or_default());
    }
    Trouble::failed(what, mend + "legwork doctor shows every layer.")
}
