use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::World;

/// Edits, then waits for a command that does not end by itself.
const SLOW: &str = r#"
[[turn]]
calls = [{ tool = "apply_patch", input = "*** Begin Patch\n*** Update File: greeting\n@@\n-hello\n+goodbye\n*** End Patch\n" }]

[[turn]]
text = "Now I wait."
calls = [{ tool = "exec_command", arguments = { cmd = "sleep 600", yield_time_ms = 30000 } }]

[[turn]]
text = "Done."
"#;

/// Starts a task and waits until its slow command runs.
fn slow(world: &World) -> (Child, BufReader<std::process::ChildStdout>) {
    let model = world.model(SLOW);
    let mut command = world.legwork(&["run", "Say goodbye", "--model", &model, "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("sleep 600") || !line.contains("item_started") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before the command ran");
    }
    (child, out)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn ctrl_c_keeps_the_partial_patch_and_says_where() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let world = World::new();
        let (mut child, mut out) = slow(&world);
        send(&child, signal);
        let (mut rest, mut err) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
        assert!(err.contains("Cancelled") && err.contains("legwork task diff task_"), "{err}");
        let kept = world.run(&["task", "diff"]).ended(0);
        assert!(kept.out.contains("+goodbye"), "{}", kept.out);
        assert_eq!(world.read("greeting"), "hello\n");
        let shown = world.run(&["task", "ls"]).ended(0);
        assert!(shown.out.contains("Cancelled"), "{}", shown.out);
    }
}

#[test]
fn one_command_leaves_the_task_of_another_alone() {
    let world = World::new();
    let (mut child, _out) = slow(&world);
    let other = world.task("turn = [{ text = \"An answer.\" }]", &["--ask"]).ended(0);
    assert!(other.out.contains("An answer."), "{}", other.out);
    assert_eq!(child.try_wait().unwrap(), None, "the first was ended by the second");
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_reader_that_leaves_ends_the_task() {
    let world = World::new();
    let (mut child, out) = slow(&world);
    drop(out);
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_task_whose_command_was_killed_can_be_taken_up() {
    let world = World::new();
    let (mut child, _out) = slow(&world);
    child.kill().unwrap();
    child.wait().unwrap();
    let list = world.run(&["task", "ls"]).ended(0);
    assert!(list.out.contains("running"), "{}", list.out);
    // The lease of the killed worker lapses, the turn is queued again, and this time the command ends soon.
    let script = SLOW.replace("sleep 600", "true");
    world.model(&script);
    let run = world.run(&["task", "resume"]).ended(0);
    assert!(run.out.contains("+goodbye"), "{}", run.out);
    world.run(&["task", "resume"]).ended(2);
}
