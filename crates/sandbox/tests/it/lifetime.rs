//! What is left when things end in other ways than by `destroy`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use legwork_sandbox::local::{self, Options};
use legwork_sandbox::{Backend, IfLost, Layer, Limits, Spec};

use crate::world::{World, command, guest, sh, spec};

/// Set in the process that is to be killed: its state directory.
const VICTIM: &str = "LEGWORK_TEST_VICTIM";

/// Set in the process that kills its own children.
const KILLER: &str = "LEGWORK_TEST_KILLER";

/// Waits for something that another process does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes on the host whose arguments hold this text.
fn processes_with(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").starts_with(text)).count()
}

#[tokio::test]
async fn nothing_is_left_after_destroy() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let number = format!("sleep 77{}", std::process::id());
    sh(&sandbox, &format!("setsid {number} & (trap '' TERM HUP; exec {number}) & true")).await;
    assert_eq!(processes_with(&number), 2);
    sandbox.destroy().await.unwrap();
    assert_eq!(processes_with(&number), 0);
    world.assert_clean();
    assert_eq!(groups_of("-test@"), 0);
}

/// Control groups of version 1 whose names hold this text and this process's number.
fn groups_of(text: &str) -> usize {
    let text = format!("{text}{}-", std::process::id());
    let trees = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = trees.flat_map(|tree| std::fs::read_dir(tree.path()).into_iter().flatten().flatten());
    groups.filter(|group| group.file_name().to_string_lossy().contains(&text)).count()
}

/// What the group of this process's processor time weighs. `None` where sandboxes have no such group.
fn weight_beside(text: &str) -> Option<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_it = |directory: &PathBuf| {
        let line = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").starts_with(text)
    };
    let process = entries.map(|entry| entry.path()).find(is_it).unwrap();
    let groups = std::fs::read_to_string(process.join("cgroup")).unwrap();
    let file = groups.lines().filter(|line| line.contains("/legwork-")).find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let unified = || Path::new("/sys/fs/cgroup").join(&path[1..]).join("cpu.weight");
        let version_1 = || Path::new("/sys/fs/cgroup").join(controllers).join(&path[1..]).join("cpu.shares");
        let is_processors = controllers.split(',').any(|name| name == "cpu");
        if controllers.is_empty() { Some(unified()) } else { is_processors.then(version_1) }
    })?;
    Some(std::fs::read_to_string(file).unwrap().trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_more_processors_than_it_may_have_yields_until_it_has_ended() {
    let world = World::new();
    // A quota makes it certain on a loaded machine too, where nobody gets more than an even part.
    let limits = Limits { cpu_millis: 200, ..spec("busy").limits };
    let busy = world.backend.create(Spec { limits, ..spec("busy") }).await.unwrap();
    let quiet = world.backend.create(spec("quiet")).await.unwrap();
    let (lit, calm) = (format!("sleep 88{}", std::process::id()), format!("sleep 66{}", std::process::id()));
    for (sandbox, number) in [(&busy, &lit), (&quiet, &calm)] {
        sh(sandbox, &format!("setsid {number} >/dev/null 2>&1 & true")).await;
        eventually("a process to look by", || processes_with(number) == 1);
    }
    let Some(full) = weight_beside(&calm) else {
        eprintln!("SKIPPED: sandboxes have no control groups for processors here");
        return;
    };
    assert_eq!(weight_beside(&lit).unwrap(), full);
    let loops = "i=0; while [ $i -lt 32 ]; do (while :; do :; done) & i=$((i+1)); done; wait";
    let burns = busy.exec(command(&["sh", "-c", loops])).await.unwrap();
    eventually("yields", || weight_beside(&lit).unwrap() != full);
    assert_eq!(weight_beside(&calm).unwrap(), full);
    burns.signal(9).await.unwrap();
    eventually("recovers", || weight_beside(&lit).unwrap() == full);
}

#[tokio::test]
async fn dropping_the_last_handle_destroys() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let live = world.state().join("live");
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 1);
    drop(sandbox);
    eventually("an empty directory", || std::fs::read_dir(&live).unwrap().count() == 0);
}

#[tokio::test]
async fn a_creation_that_is_given_up_leaves_nothing() {
    let world = World::new();
    for _ in 0..10 {
        let wait = Duration::from_micros(fastrand::u64(..8000));
        let _ = tokio::time::timeout(wait, world.backend.create(spec("given-up"))).await;
        // What was begun comes to its end beside the caller, for which that must not hold the thread.
        let live = world.state().join("live");
        let emptied = async {
            while std::fs::read_dir(&live).unwrap().count() != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), emptied).await.unwrap();
    }
}

#[tokio::test]
async fn a_creation_that_fails_leaves_nothing() {
    let world = World::new();
    let bind = legwork_sandbox::Bind { host: "/does/not/exist".into(), inside: "/x".into() };
    let error = world.backend.create(Spec { binds: vec![bind], ..spec("fails") }).await.err().unwrap();
    assert_eq!(error.to_string(), "could not set up the sandbox: open /does/not/exist");
    world.assert_clean();
}

/// Not a test: the process that is killed. It makes two sandboxes, says so, and waits.
#[tokio::test]
async fn victim() {
    let Some(state) = std::env::var_os(VICTIM) else { return };
    let local = local::open(Options { state: state.into(), guest: guest() }).unwrap();
    let kept = local.create(Spec { if_lost: IfLost::Kept, ..spec("kept") }).await.unwrap();
    sh(&kept, "echo kept > file").await;
    let sandbox = local.create(spec("victim")).await.unwrap();
    let script = std::env::var("LEGWORK_TEST_SCRIPT").unwrap();
    let _process = sandbox.exec(command(&["sh", "-c", &script])).await.unwrap();
    println!("VICTIM READY");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn everything_dies_with_a_killed_worker_and_the_next_one_reaps() {
    let world = World::new();
    let number = format!("sleep 88{}", std::process::id());
    let script = format!("mkdir -p a/b; chmod 0 a; setsid {number} & exec {number}");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::victim", "--nocapture"])
        .env(VICTIM, world.state())
        .env("LEGWORK_TEST_SCRIPT", script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("VICTIM READY")));
    eventually("two commands", || processes_with(&number) == 2);
    // A live worker's sandboxes are left alone.
    assert_eq!(world.backend.reap().await.unwrap(), 0);
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("no command", || processes_with(&number) == 0);
    assert_eq!(world.backend.reap().await.unwrap(), 2);
    world.assert_clean();
    assert_eq!(world.backend.reap().await.unwrap(), 0);
    assert_eq!(world.backend.salvage("victim").await.unwrap(), None);
    let layer = world.backend.salvage("kept").await.unwrap().unwrap();
    let sandbox = world.backend.create(Spec { layers: vec![layer], ..spec("later") }).await.unwrap();
    assert_eq!(sh(&sandbox, "cat file").await.0, "kept\n");
}

/// The living children of this process: zygote, guests, and the guest that waits for a sandbox.
fn children() -> Vec<String> {
    let parent = std::process::id().to_string();
    let is_child = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        matches!(fields[..], [state, ppid, ..] if state != "Z" && ppid == parent)
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    pids.retain(is_child);
    pids.sort_by_key(|pid| pid.parse::<u32>().unwrap_or(0));
    pids
}

/// Not a test: it runs in a process whose children are one backend's.
#[tokio::test]
async fn killer() {
    if std::env::var_os(KILLER).is_none() {
        return;
    }
    let world = World::new();
    for victim in [0, 1, 1, 0] {
        world.sandbox().await.destroy().await.unwrap();
        eventually("a zygote and a guest that waits", || children().len() == 2);
        assert!(Command::new("kill").args(["-9", &children()[victim]]).status().unwrap().success());
        eventually("one of them", || children().len() == 1);
    }
    assert_eq!(sh(&world.sandbox().await, "echo well").await.0, "well\n");
    drop(world);
    eventually("no child", || children().is_empty());
}

#[test]
fn a_guest_that_is_killed_while_it_waits_costs_no_sandbox() {
    let mut killer = Command::new(std::env::current_exe().unwrap());
    let killer = killer.args(["--exact", "lifetime::killer", "--nocapture"]).env(KILLER, "1");
    let output = killer.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_layer_outlives_its_backend() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    sh(&sandbox, "echo kept > file").await;
    let Layer { path } = sandbox.snapshot().await.unwrap();
    assert!(path.starts_with(world.state()));
    let later = local::open(Options { state: world.state().into(), guest: guest() }).unwrap();
    assert_eq!(later.reap().await.unwrap(), 0);
    let sandbox = later.create(Spec { layers: vec![Layer { path }], ..spec("later") }).await.unwrap();
    assert_eq!(sh(&sandbox, "cat file").await.0, "kept\n");
}

#[tokio::test]
async fn a_state_directory_that_cannot_hold_an_overlay_is_refused_with_a_mend() {
    let broken = legwork_sandbox::probe(Path::new("/proc"));
    let overlay = broken.iter().find(|probe| probe.name == "overlay file system").unwrap();
    assert_eq!(overlay.status, legwork_sandbox::Status::Missing);
    let state = tempfile::tempdir().unwrap();
    let fine = legwork_sandbox::probe(state.path());
    let missing: Vec<_> = fine
        .iter()
        .filter(|probe| probe.mend.is_some() && probe.status == legwork_sandbox::Status::Missing)
        .collect();
    let isolation = missing.iter().filter(|probe| !probe.name.ends_with("limit")).count();
    assert_eq!(isolation, 0, "{missing:?}");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}
