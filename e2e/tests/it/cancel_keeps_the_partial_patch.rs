use std::time::Duration;

use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

#[test]
fn ctrl_c_stops_the_turn_and_what_was_done_is_kept() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("echo half > half-done.txt; sleep 600").says("Never said.");
    let patch = world.path("partial.patch");
    let mut running = world.start(&repo, &script, &["--patch", patch.to_str().unwrap(), "Take your time"]);
    running.wait_for(|event| {
        event["kind"] == "item_started"
            && event["item"]["command"].as_str().is_some_and(|text| text.contains("sleep"))
    });

    running.interrupt();
    let outcome = running.end();

    outcome.exits(130).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "cancelled"}));
    let command = outcome.items("command")[0];
    assert_eq!(command["status"], "cancelled", "every call has its one end");
    assert!(std::fs::read_to_string(patch).unwrap().contains("+half"));
}

#[test]
fn a_second_interrupt_leaves_at_once() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    // A check that ignores the end of the agent's work: it takes the cancel a moment to be through.
    let script = Script::new().exec("trap '' TERM INT; echo under way; sleep 600").says("Never said.");
    let mut running = world.start(&repo, &script, &["Sleep"]);
    running.wait_for(|event| event["kind"] == "item_started" && event["item"]["type"] == "command");
    // As people do who are in a hurry; signals that come too close are one.
    for _ in 0..20 {
        running.interrupt();
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = running.end();
    assert!(left.exits(130).stderr.contains("Left."), "{}", left.stderr);

    let shown = world.legwork_says(&["task", "show", "--json"]);
    let state = &shown.exits(0).events[0]["attempts"][0]["turns"][0]["state"];
    assert_eq!((&state["name"], &state["outcome"]["outcome"]), (&"finished".into(), &"cancelled".into()));
}
