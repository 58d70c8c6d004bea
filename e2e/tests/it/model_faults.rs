use serde_json::json;

use crate::repo::{FIX, with_a_bug};
use crate::script::{Fault, Script, Wire};
use crate::world::World;

#[test]
fn a_model_that_stumbles_is_asked_again_over_each_wire() {
    for wire in [Wire::Responses, Wire::Chat, Wire::Messages] {
        let world = World::new();
        let repo = with_a_bug(world.repo("project"));
        let script = Script::over(wire)
            .fault(Fault::RateLimited)
            .exec("sh test.sh")
            .fault(Fault::CutMidway)
            .exec("sed -i 's| - | + |' add.sh")
            .fault(Fault::ServerError)
            .says("Done.");

        let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);

        outcome.exits(0).is_numbered_without_gap();
        assert_eq!(outcome.judgements(), ["fixed"], "{wire:?}");
        assert!(!outcome.items("notice").is_empty(), "the user is told that it was asked again");
    }
}

#[test]
fn a_refused_key_is_an_honest_stop() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let outcome = world.run(&repo, &Script::new().fault(Fault::Unauthorized).says("Never said."), &["Try"]);
    outcome.exits(1);
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "failed", "reason": "model_auth"}));
}

#[test]
fn a_tool_that_is_not_there_and_arguments_that_are_no_json_are_answered() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .calls("launch_rockets", &json!({"at": "moon"}))
        .calls_with("exec_command", "{\"cmd\": \"unfinished")
        .patch(FIX)
        .says("Done.");

    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);

    outcome.exits(0);
    assert_eq!(outcome.judgements(), ["fixed"]);
}
