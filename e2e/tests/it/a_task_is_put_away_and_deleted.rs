use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn a_task_is_renamed_put_away_and_deleted() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let script = Script::new().patch(FIX).says("Changed the sign.");
    let id = world.hand_over(&repo, &script, &["Make add.sh add"]);
    world.legwork_says(&["task", "wait", &id]).exits(0);
    let listed = |options: &[&str]| {
        let list = world.legwork_says(&[&["task", "ls", "--json"], options].concat());
        list.exits(0).events.iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    world.legwork_says(&["task", "rename", &id, "The sign of add.sh"]).exits(0);
    assert_eq!(listed(&[]), ["The sign of add.sh"]);
    world.legwork_says(&["task", "archive", &id]).exits(0);
    assert!(listed(&[]).is_empty());
    assert_eq!(listed(&["--archived"]), ["The sign of add.sh"]);
    let patch = world.legwork_says(&["task", "diff", &id]);
    assert!(patch.exits(0).stdout.contains("$1 + $2"), "it is there all the same");
    world.legwork_says(&["task", "unarchive", &id]).exits(0);
    assert_eq!(listed(&[]), ["The sign of add.sh"]);

    let unasked = world.legwork_says(&["task", "rm", &id]);
    assert!(unasked.exits(2).stderr.contains("nothing was deleted"));
    // Named two times it is deleted once.
    let deleted = world.legwork_says(&["task", "rm", "--yes", "--json", &id, &id]);
    assert_eq!(deleted.exits(0).events[0]["deleted"], id.as_str());
    assert!(listed(&["--all"]).is_empty());
    let gone = world.legwork_says(&["task", "show", &id]);
    assert!(!gone.exits(1).stderr.is_empty());
}

#[test]
fn work_that_failed_is_done_again_on_what_is_left_or_afresh() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let script = Script::new()
        .exec("test ! -e left.txt && echo left > left.txt")
        .says("Not mended.")
        .exec("cat left.txt")
        .says("Not mended either.");
    let id = world.hand_over(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);
    world.legwork_says(&["task", "wait", &id]).exits(4);

    let again = world.legwork_says(&["task", "retry", "--json", &id]);
    assert_eq!(again.exits(0).events[0]["number"], 2);
    world.legwork_says(&["task", "wait", &id]).exits(4);
    world.legwork_says(&["task", "retry", &id, "--fresh"]).exits(0);
    let watched = world.legwork_says(&["task", "watch", "--json", &id]);

    // The model's answers are counted by the history, so the last turn plays the first answer again.
    let runs = watched.exits(4).items("command").into_iter().filter(|run| run["phase"] == "agent");
    let codes: Vec<_> = runs.map(|run| run["exit_code"].clone()).collect();
    assert_eq!(codes, [0, 0, 0], "what was left was there, and then it was not");
}
