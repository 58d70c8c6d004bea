use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn wait_ends_as_run_would() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let check = ["--check", "sh test.sh", "Make add.sh add"];

    let fixed = world.hand_over(&repo, &Script::new().patch(FIX).says("Changed the sign."), &check);
    let outcome = world.legwork_says(&["task", "wait", "--json", &fixed]);
    outcome.exits(0);
    assert_eq!(outcome.events[0]["attempts"][0]["turns"][0]["state"]["outcome"]["outcome"], "succeeded");

    let wrong = world.hand_over(&repo, &Script::new().exec("echo 1 > other").says("Done."), &check);
    world.legwork_says(&["task", "wait", &wrong]).exits(4);

    let slow = world.hand_over(&repo, &Script::new().exec("sleep 600").says("Never said."), &check);
    let late = world.legwork_says(&["task", "wait", "--timeout", "1s", &slow]);
    late.exits(1);
    assert!(late.stderr.contains("it goes on"), "{}", late.stderr);
    world.legwork_says(&["task", "cancel", &slow]).exits(0);
    world.legwork_says(&["task", "wait", &slow]).exits(130);
}
