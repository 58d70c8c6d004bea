//! What is left of containers when things end in other ways than by `destroy`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use legwork_sandbox::{Backend, Error, IfLost, Spec};
use legwork_sandbox_docker::Settings;

use crate::world::{World, options, run, sh, spec};

/// Set in the process that is to be killed: its state directory, and the engine's socket.
const VICTIM: &str = "LEGWORK_TEST_CONTAINER_VICTIM";
const SOCKET: &str = "LEGWORK_TEST_CONTAINER_SOCKET";

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes_with(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").starts_with(text)).count()
}

/// The containers of a state directory, as JSON.
fn containers(socket: &Path, state: &Path) -> String {
    let filters = format!("{{\"label\":[\"legwork.state={}\"]}}", state.display());
    let said = Command::new("curl")
        .args(["-sG", "--unix-socket"])
        .arg(socket)
        .arg("--data-urlencode")
        .arg(format!("filters={filters}"))
        .arg("http://engine/containers/json?all=true")
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// Not a test: the process that is killed. It makes two sandboxes, says so, and waits.
#[tokio::test]
async fn victim() {
    let (Some(state), Some(socket)) = (std::env::var_os(VICTIM), std::env::var_os(SOCKET)) else { return };
    let backend = legwork_sandbox_docker::open(options(Path::new(&state), socket.into())).unwrap();
    let kept = backend.create(Spec { if_lost: IfLost::Kept, ..spec("kept") }).await.unwrap();
    run(&kept, "echo kept > file").await;
    let sandbox = backend.create(spec("victim")).await.unwrap();
    let script = std::env::var("LEGWORK_TEST_SCRIPT").unwrap();
    let _process = sandbox.exec(sh(&script)).await.unwrap();
    println!("VICTIM READY");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_die_with_a_killed_worker_and_the_next_one_reaps() {
    let Some(world) = World::new() else { return };
    let number = format!("sleep 99{}", std::process::id());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::victim", "--nocapture"])
        .env(VICTIM, world.state())
        .env(SOCKET, world.engine.socket())
        .env("LEGWORK_TEST_SCRIPT", format!("mkdir -p a/b; chmod 0 a; setsid {number} & exec {number}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("VICTIM READY")));
    eventually("two commands", || processes_with(&number) == 2);
    assert_eq!(world.backend.reap().await.unwrap(), 0, "a live worker's sandboxes are left alone");
    assert!(containers(world.engine.socket(), world.state()).contains("legwork-victim-"));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("no command", || processes_with(&number) == 0);
    assert_eq!(world.backend.reap().await.unwrap(), 2);
    eventually("no container", || !containers(world.engine.socket(), world.state()).contains("legwork-"));
    assert_eq!(world.backend.reap().await.unwrap(), 0);
    assert_eq!(world.backend.salvage("victim").await.unwrap(), None);
    let layer = world.backend.salvage("kept").await.unwrap().unwrap();
    let sandbox = world.backend.create(Spec { layers: vec![layer], ..spec("later") }).await.unwrap();
    assert_eq!(run(&sandbox, "cat file").await.0, "kept\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_container_is_touched_and_an_unknown_runtime_is_named() {
    let Some(world) = World::new() else { return };
    let socket = world.engine.socket().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = legwork_sandbox_docker::open(options(elsewhere.path(), socket.clone())).unwrap();
    let (own, foreign) =
        (world.backend.create(spec("same")).await.unwrap(), other.create(spec("same")).await.unwrap());
    assert_eq!(other.salvage("other").await.unwrap(), None);
    assert!(other.salvage("same").await.unwrap().is_some());
    assert!(foreign.exec(sh("true")).await.is_err(), "it was salvaged");
    assert_eq!(run(&own, "echo well").await.0, "well\n");
    own.destroy().await.unwrap();
    eventually("no container", || !containers(&socket, world.state()).contains("legwork-"));

    let mut unknown = options(elsewhere.path(), socket);
    unknown.state = elsewhere.path().join("unknown");
    unknown.engine = Settings { runtime: Some("no-such".to_owned()), ..unknown.engine };
    let error = legwork_sandbox_docker::open(unknown).unwrap().create(spec("unknown")).await.err().unwrap();
    let Error::Unavailable { what, mend } = &error else { panic!("{error}") };
    assert!(what.contains("no-such") && mend.contains("run"), "{error}");
}
