use std::time::{Duration, Instant};

use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::service::{Service, free_port};
use crate::world::World;

/// What supervisors give a service before they kill it.
const SUPERVISOR: Duration = Duration::from_secs(30);

#[test]
fn a_turn_under_way_is_given_back_and_the_next_one_goes_on_with_it() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let listen = format!("127.0.0.1:{}", free_port());
    let up = || {
        let mut command = world.legwork();
        command.args(["up", "--json", "--listen", &listen]);
        Service::start(command)
    };
    let first = up();
    let script = Script::new()
        .exec("echo one >> log")
        .calls(
            "exec_command",
            &json!({ "cmd": "echo two >> log; echo ready; sleep 600", "yield_time_ms": 30000 }),
        )
        .exec("cat log; echo three >> log")
        .says("Done.");
    let id = world.hand_over(&repo, &script, &["Write a log"]);
    let mut watched = world.legwork_starts(&["task", "watch", "--json", &id]);
    watched.wait_for(|event| {
        event["kind"] == "item_updated"
            && event["delta"].as_str().is_some_and(|delta| delta.contains("ready"))
    });

    let told = Instant::now();
    first.terminate();
    let stopped = first.end();
    assert!(told.elapsed() < SUPERVISOR, "{:?}", told.elapsed());
    stopped.exits(0);
    let started = Instant::now();
    let _again = up();
    let seen = watched.end();

    // Given back, so nobody waits until a lease has lapsed.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    assert_eq!(seen.commands("echo one"), 1, "what had ended is not done again");
    let patch = world.legwork_says(&["task", "diff", &id]);
    assert!(patch.exits(0).stdout.contains("+one\n+two\n+three\n"), "{}", patch.stdout);
}

#[test]
fn sigterm_ends_it_with_success() {
    let world = World::new();
    let up = world.serve(&["up"]);
    up.terminate();
    let outcome = up.end();
    outcome.exits(0);
    assert!(outcome.stderr.contains("Stopping"), "{}", outcome.stderr);
}

#[test]
fn one_server_sits_on_a_data_directory() {
    let world = World::new();
    let first = world.serve(&["up"]);
    for second in ["up", "server"] {
        let refused = world.legwork_says(&[second, "--listen", "127.0.0.1:0"]);
        refused.exits(1);
        assert!(
            refused.stderr.contains(&first.url) && refused.stderr.contains("LEGWORK_HOME"),
            "{}",
            refused.stderr
        );
    }
    first.kill();
    // The dead leave the seat free, whatever their file says.
    world.serve(&["server"]);
}

#[test]
fn it_does_not_listen_in_the_open_unless_told() {
    let world = World::new();
    for verb in ["up", "server"] {
        let refused = world.legwork_says(&[verb, "--listen", "0.0.0.0:0"]);
        refused.exits(2);
        assert!(
            refused.stderr.contains("--behind-proxy") && refused.stderr.contains("plain HTTP"),
            "{}",
            refused.stderr
        );
    }
    assert!(!world.path("home/data/server.json").exists(), "nothing was started");
}

#[test]
fn a_port_that_is_taken_is_told_with_the_way_out() {
    let world = World::new();
    let other = World::new();
    let up = other.serve(&["server"]);
    let taken = up.url.trim_start_matches("http://");
    let refused = world.legwork_says(&["server", "--listen", taken]);
    refused.exits(1);
    assert!(refused.stderr.contains("--listen 127.0.0.1:0"), "{}", refused.stderr);
}
