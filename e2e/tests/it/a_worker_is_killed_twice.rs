use std::time::Duration;

use crate::fleet::Fleet;
use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::service::{is_a_command, seqs};
use crate::world::World;

/// Longer than a worker needs between two heartbeats on a busy machine.
const LEASE: Duration = Duration::from_secs(5);

/// A task that is created as the documents show it, watched by two clients of which one is cut off and returns, while its
/// worker is killed twice, ends once and with the right patch, and both saw all of it once.
#[test]
fn the_task_ends_once_and_both_watchers_saw_all_of_it() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let mut fleet = Fleet::of_one_worker(&world, LEASE);
    let url = fleet.urls[0].clone();
    let command = |n| format!("echo {n} >> log; sleep 3");
    let script = (1..=3).fold(Script::new(), |script, n| script.exec(&command(n)));
    let task = world.created(&url, &script.patch(FIX).says("Changed the sign."), &repo);
    let attempt = task["attempts"][0]["attempt"]["id"].as_str().unwrap();
    let id = task["task"]["id"].as_str().unwrap();

    let mut stays = world.legwork_starts(&["task", "watch", "--json", id]);
    let mut leaves = Some(world.sse(&url, attempt, 0));
    let mut ids = Vec::new();
    for _ in 0..2 {
        stays.wait_for(is_a_command);
        fleet.workers[0].killed_and_started();
        if let Some(curl) = leaves.take() {
            curl.kill();
            ids = seqs(&curl.end());
            assert!(!ids.is_empty(), "it saw the beginning");
        }
    }
    let seen = stays.end();
    ids.extend(seqs(&world.sse(&url, attempt, ids.len() as u64).end()));

    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.ends().len(), 1, "it ends once");
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    assert_eq!(seen.judgements(), ["fixed"]);
    assert_eq!(ids, (1..=seen.events.len() as u64).collect::<Vec<_>>(), "nothing is lost or doubled");
    let times = |n: usize| seen.commands(&command(n));
    assert!((1..=3).all(|n| times(n) <= 1), "what had ended is not done again");
    let patch = world.legwork_says(&["task", "diff", id]);
    std::fs::write(world.path("change.patch"), &patch.exits(0).stdout).unwrap();
    repo.apply(&world.path("change.patch"));
    assert!(repo.read("add.sh").contains("$1 + $2"));
}
