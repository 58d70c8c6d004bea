//! Control groups: the kernel's own limits on memory, processes and processor time of a whole sandbox.
//!
//! Version 2 where this process may make groups below its own (root, or a service with `Delegate=yes`); version 1 as
//! root; else none, and what is left are the limits of each process, the per-user process count of the user namespace,
//! and the guest's watch over memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fairness::{Meter, Weights};
use crate::host::Step;
use crate::protocol::RESERVED_PROCESSES;
use crate::{Error, Limits};

/// Groups are named so, to be told from others' below the same parent.
const PREFIX: &str = "legwork-";

/// The version-1 controllers that we set, or read.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

/// What stands in a controller's place for the one tree of version 2.
const UNIFIED: &str = "unified";

/// The kernel's default period of processor time, in microseconds (`sched-bwc.rst`).
const CPU_PERIOD_US: u64 = 100_000;

/// How long a group is given to become empty after its last process was killed.
const EMPTY_WAIT: Duration = Duration::from_secs(2);

/// Processes of a sandbox beside the commands': the guest, and what it may start in need.
const OWN_PROCESSES: u32 = 1 + RESERVED_PROCESSES;

/// Which kind of control groups can be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// One tree; the directory below which groups can be made.
    V2(PathBuf),
    /// A tree for each controller; the directories below which groups can be made.
    V1(Vec<(&'static str, PathBuf)>),
    /// None.
    Absent,
}

impl Control {
    /// Looks at what this process may use.
    pub(crate) fn find() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if let Some(parent) = v2_parent(&own, &mounts) {
            return Self::V2(parent);
        }
        let mut parents: Vec<(_, PathBuf)> = Vec::new();
        for name in CONTROLLERS {
            // Two controllers may be one tree.
            let parent = v1_parent(&own, &mounts, name);
            parents.extend(
                parent.filter(|new| parents.iter().all(|(_, known)| known != new)).map(|new| (name, new)),
            );
        }
        if parents.is_empty() { Self::Absent } else { Self::V1(parents) }
    }

    /// Whether the kernel limits memory for us.
    pub(crate) fn limits(&self, controller: &str) -> bool {
        match self {
            Self::V2(_) => true,
            Self::V1(parents) => parents.iter().any(|(name, _)| *name == controller),
            Self::Absent => false,
        }
    }

    /// Makes the group of a sandbox and sets its limits. `None` where there are no groups.
    pub(super) fn create(&self, label: &str, limits: &Limits) -> Result<Option<Cgroup>, Error> {
        let group = self.of(label);
        if group.places.is_empty() {
            return Ok(None);
        }
        for (controller, place) in &group.places {
            let made = std::fs::create_dir(place).and_then(|()| {
                settings(controller, limits).iter().try_for_each(|setting| setting.apply(place))
            });
            if let Err(error) = made {
                group.remove();
                return Err(error).step(format!("set limits in {}", place.display()));
            }
        }
        Ok(Some(group))
    }

    /// The group of that name, whether it exists or not: for what a dead worker left.
    pub(super) fn of(&self, label: &str) -> Cgroup {
        Cgroup { places: self.places(label) }
    }

    /// Removes the empty groups of dead owners, also of other state directories: a group that is in use cannot be removed.
    pub(super) fn sweep(&self, is_dead: impl Fn(&str) -> bool) {
        let parents: Vec<&PathBuf> = match self {
            Self::V2(parent) => vec![parent],
            Self::V1(parents) => parents.iter().map(|(_, parent)| parent).collect(),
            Self::Absent => Vec::new(),
        };
        let entries =
            parents.into_iter().filter_map(|parent| std::fs::read_dir(parent).ok()).flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(PREFIX).is_some_and(&is_dead) {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }

    fn places(&self, label: &str) -> Vec<(&'static str, PathBuf)> {
        let name = format!("{PREFIX}{label}");
        match self {
            Self::V2(parent) => vec![(UNIFIED, parent.join(name))],
            Self::V1(parents) => parents.iter().map(|(kind, parent)| (*kind, parent.join(&name))).collect(),
            Self::Absent => Vec::new(),
        }
    }
}

/// The group of one sandbox: a directory for each tree.
#[derive(Debug)]
pub(super) struct Cgroup {
    places: Vec<(&'static str, PathBuf)>,
}

impl Cgroup {
    /// The files by which a process of one thread enters by itself; in version 1 that costs far less than being moved.
    pub(super) fn doors(&self) -> Vec<PathBuf> {
        let door = |kind: &str| if kind == UNIFIED { "cgroup.procs" } else { "tasks" };
        self.places.iter().map(|(kind, place)| place.join(door(kind))).collect()
    }

    /// Where it is read how much of the processors the group uses, and its weight set. `None` where that cannot be.
    pub(super) fn meter(&self) -> Option<Meter> {
        let place = |wanted: &str| {
            self.places.iter().find(|(kind, _)| *kind == wanted).map(|(_, place)| place.as_path())
        };
        if let Some(place) = place(UNIFIED) {
            let stat = place.join("cpu.stat");
            let weights = Weights { full: 100, yields: 3 };
            return Some(Meter {
                usage: stat.clone(),
                throttled: stat,
                weight: place.join("cpu.weight"),
                weights,
            });
        }
        let processors = place("cpu")?;
        Some(Meter {
            usage: place("cpuacct").unwrap_or(processors).join("cpuacct.usage"),
            throttled: processors.join("cpu.stat"),
            weight: processors.join("cpu.shares"),
            weights: Weights { full: 1024, yields: 32 },
        })
    }

    /// Removes the group once it is empty. What does not become empty is left to `reap`.
    pub(super) fn remove(&self) {
        let until = Instant::now() + EMPTY_WAIT;
        for (_, place) in &self.places {
            // The last process leaves its group a moment after it can be waited for.
            while let Err(error) = std::fs::remove_dir(place)
                && error.raw_os_error() == Some(nix::libc::EBUSY)
                && Instant::now() < until
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// One file of a group and what is written to it.
struct Setting {
    file: &'static str,
    value: String,
    /// Kernels are built without swap accounting.
    is_optional: bool,
}

impl Setting {
    fn apply(&self, place: &Path) -> std::io::Result<()> {
        match std::fs::write(place.join(self.file), &self.value) {
            Err(_) if self.is_optional => Ok(()),
            other => other,
        }
    }
}

fn settings(controller: &str, limits: &Limits) -> Vec<Setting> {
    let set = |file, value: String| Setting { file, value, is_optional: false };
    let optional = |file, value: String| Setting { file, value, is_optional: true };
    let memory = limits.memory_bytes.to_string();
    let processes = limits.processes.saturating_add(OWN_PROCESSES).to_string();
    let quota = u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000;
    let has_quota = limits.cpu_millis > 0;
    match controller {
        "memory" => vec![
            set("memory.limit_in_bytes", memory.clone()),
            optional("memory.memsw.limit_in_bytes", memory),
        ],
        "pids" => vec![set("pids.max", processes)],
        "cpu" if has_quota => vec![set("cpu.cfs_quota_us", quota.to_string())],
        UNIFIED => {
            let mut all = vec![
                set("memory.max", memory),
                optional("memory.swap.max", "0".to_owned()),
                optional("memory.oom.group", "0".to_owned()),
                set("pids.max", processes),
            ];
            if has_quota {
                all.push(set("cpu.max", format!("{quota} {CPU_PERIOD_US}")));
            }
            all
        }
        _ => Vec::new(),
    }
}

/// Where groups can be made in the one tree: below our own group, if its controllers can be handed down.
fn v2_parent(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find_map(|line| mount_point(line, "cgroup2", None))?;
    let group = mount.join(path.trim_start_matches('/'));
    let controllers = std::fs::read_to_string(group.join("cgroup.controllers")).ok()?;
    let has = |name: &str| controllers.split_whitespace().any(|found| found == name);
    if !(has("memory") && has("pids") && has("cpu")) {
        return None;
    }
    hand_down(&group).ok()?;
    Some(group)
}

/// Lets groups below have limits. A group that has both processes and such groups is not allowed but at the root, so
/// this process first moves to a group of its own.
fn hand_down(group: &Path) -> std::io::Result<()> {
    let control = group.join("cgroup.subtree_control");
    let wanted = "+memory +pids +cpu";
    if std::fs::write(&control, wanted).is_ok() {
        return Ok(());
    }
    let own = group.join("legwork");
    if !own.is_dir() {
        std::fs::create_dir(&own)?;
    }
    std::fs::write(own.join("cgroup.procs"), std::process::id().to_string())?;
    std::fs::write(&control, wanted)
}

/// Where groups can be made for one controller of version 1: below our own group.
fn v1_parent(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let is_of = |names: &str| names.split(',').any(|name| name == controller);
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        is_of(names).then_some(path)
    })?;
    let mount = mounts.lines().find_map(|line| mount_point(line, "cgroup", Some(controller)))?;
    let group = mount.join(path.trim_start_matches('/'));
    let may_write = rustix::fs::access(&group, rustix::fs::Access::WRITE_OK).is_ok();
    may_write.then_some(group)
}

/// The place of a mount of this kind, and with this option if one is asked for.
fn mount_point(line: &str, kind: &str, option: Option<&str>) -> Option<PathBuf> {
    let mut fields = line.split(' ').skip(1);
    let (place, found, options) = (fields.next()?, fields.next()?, fields.next()?);
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    (found == kind && option.is_none_or(has)).then(|| PathBuf::from(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_files() {
        let limits = Limits { memory_bytes: 4096, processes: 10, cpu_millis: 1500, ..Limits::default() };
        let text = |controller| {
            let settings = settings(controller, &limits);
            settings
                .iter()
                .map(|setting| format!("{}={}", setting.file, setting.value))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(text("pids"), "pids.max=19");
        assert_eq!(text("cpu"), "cpu.cfs_quota_us=150000");
        assert_eq!(
            text(UNIFIED),
            "memory.max=4096 memory.swap.max=0 memory.oom.group=0 pids.max=19 cpu.max=150000 100000"
        );
    }

    #[test]
    fn a_groups_use_of_processors_can_be_read() {
        let control = Control::find();
        let has_processors = control.limits("cpu");
        let group =
            control.create(&format!("test-meter-{}", std::process::id()), &Limits::default()).unwrap();
        let read = group
            .as_ref()
            .and_then(Cgroup::meter)
            .map(|meter| (meter.read().is_some(), meter.weight.exists()));
        group.iter().for_each(Cgroup::remove);
        assert_eq!(read, has_processors.then_some((true, true)));
    }

    #[test]
    fn mounts_are_found_by_kind_and_option() {
        let line = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0";
        assert_eq!(mount_point(line, "cgroup", Some("memory")), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(mount_point(line, "cgroup", Some("pids")), None);
        assert_eq!(mount_point(line, "cgroup2", None), None);
    }
}
