use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn a_task_can_be_seen_after_its_run() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("sh test.sh").patch(FIX).says("Changed the sign.");
    world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]).exits(0);

    let list = world.legwork_says(&["task", "ls"]);
    list.exits(0);
    assert!(list.stdout.contains("Make add.sh add"), "{}", list.stdout);
    let id = list.stdout.split_whitespace().find(|word| word.starts_with("task_")).unwrap();

    let shown = world.legwork_says(&["task", "show", id]);
    shown.exits(0);
    assert!(shown.stdout.contains("Changed the sign.") && shown.stdout.contains("fixed"), "{}", shown.stdout);
    let logs = world.legwork_says(&["task", "logs", id]);
    assert!(logs.exits(0).stdout.contains("2 + 3 = -1"), "{}", logs.stdout);
    let diff = world.legwork_says(&["task", "diff", id]);
    assert!(diff.exits(0).stdout.contains("+echo $(($1 + $2))"), "{}", diff.stdout);
}

#[test]
fn a_kill_loses_no_task_and_the_next_start_cleans_up() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let slow = Script::new().exec("echo half > half.txt; sleep 600").says("Never said.");
    let mut running = world.start(&repo, &slow, &["A task that is killed"]);
    running.wait_for(|event| event["kind"] == "item_started" && event["item"]["type"] == "command");

    running.kill();
    assert_eq!(running.end().code, None);

    let list = world.legwork_says(&["task", "ls"]);
    assert!(list.exits(0).stdout.contains("A task that is killed"), "{}", list.stdout);
    let script = Script::new().patch(FIX).says("Done.");
    world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]).exits(0);
}
