use std::time::{Duration, Instant};

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::service::{Service, free_port, is_a_command, seqs};
use crate::world::World;

/// How long a worker may be silent where nothing else is configured.
const LEASE: Duration = Duration::from_secs(30);

/// A task that is created as the documents show it, watched by two clients of which one is cut off and returns, while
/// server and worker are killed twice, ends once and with the right patch.
#[test]
fn a_task_ends_once_whatever_dies_under_it() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let listen = format!("127.0.0.1:{}", free_port());
    let up = || {
        let mut command = world.legwork();
        command.args(["up", "--json", "--listen", &listen]);
        Service::start(command)
    };
    let mut service = up();
    let slow = "sleep 3; sh test.sh";
    let script = Script::new().exec(slow).exec(slow).exec(slow).patch(FIX).says("Changed the sign.");
    let task = world.created(&service.url, &script, &repo);
    let attempt = task["attempts"][0]["attempt"]["id"].as_str().unwrap();
    let id = task["task"]["id"].as_str().unwrap();

    let mut stays = world.legwork_starts(&["task", "watch", "--json", id]);
    let leaves = world.sse(&service.url, attempt, 0);
    for _ in 0..2 {
        stays.wait_for(is_a_command);
        service.kill();
        service = up();
    }
    // Its connection died with the first server.
    let before = seqs(&leaves.end());
    let started = Instant::now();
    stays.wait_for(is_a_command);
    // Who comes back knows that it was itself that died: nobody waits for the leases of the dead.
    assert!(started.elapsed() < LEASE / 2, "{:?}", started.elapsed());
    let seen = stays.end();
    let after = seqs(&world.sse(&service.url, attempt, before.len() as u64).end());

    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.ends().len(), 1, "it ends once");
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    let all: Vec<u64> = before.into_iter().chain(after).collect();
    assert_eq!(
        all,
        (1..=seen.events.len() as u64).collect::<Vec<_>>(),
        "the one that was cut off missed nothing"
    );
    let patch = world.legwork_says(&["task", "diff", id]);
    std::fs::write(world.path("change.patch"), &patch.exits(0).stdout).unwrap();
    repo.apply(&world.path("change.patch"));
    assert!(repo.read("add.sh").contains("$1 + $2"));
}
