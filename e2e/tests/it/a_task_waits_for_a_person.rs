use std::fs::File;

use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::{Running, World};

/// The patch of a task.
fn diff(world: &World, id: &str) -> String {
    let diff = world.legwork_says(&["task", "diff", id]);
    diff.exits(0).stdout.clone()
}

#[test]
fn a_question_is_answered_after_the_worker_was_started_anew() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let up = world.serve(&["up"]);
    let script = Script::new()
        .exec("echo one >> log")
        .calls("ask_user", &json!({ "question": "Which colour?", "options": ["red", "blue"] }))
        .exec("echo blue >> log")
        .expects("The user answers: blue")
        .says("Done.");
    let id = world.hand_over(&repo, &script, &["Paint it"]);
    let waits = world.legwork_says(&["task", "wait", &id]);
    assert!(waits.exits(5).stdout.contains("legwork task answer"), "{}", waits.stdout);
    let refused = world.legwork_says(&["task", "answer", &id, "--approve"]);
    assert!(refused.exits(2).stderr.contains("wants no approval"), "{}", refused.stderr);

    up.kill();
    let _again = world.serve(&["up"]);
    world.legwork_says(&["task", "answer", &id, "blue"]).exits(0);
    let seen = world.legwork_says(&["task", "watch", "--json", &id]);

    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    assert_eq!(seen.commands("echo one"), 1, "what was done before the question is not done again");
    assert!(diff(&world, &id).contains("+one\n+blue\n"));
}

#[test]
fn an_action_is_done_after_a_yes_and_left_after_a_no() {
    for (decision, lines) in [("--approve", "+deployed\n+end\n"), ("--deny", "+end\n")] {
        let world = World::new();
        let repo = with_a_bug(world.repo("project"));
        let _up = world.serve(&["up"]);
        let path = repo.path().to_str().unwrap();
        world.legwork_says(&["admin", "repository", path]).exits(0);
        std::fs::write(world.path("recipe.toml"), "approve = [\"touch *\"]\n").unwrap();
        let mut set = world.legwork();
        set.args(["env", "set", "careful", "--repo", path]);
        Running::spawn_reading(set, File::open(world.path("recipe.toml")).unwrap()).end().exits(0);
        let script = Script::new()
            .exec("touch deployed && echo deployed >> log")
            .exec("echo end >> log")
            .says("Done.");
        let id = world.hand_over(&repo, &script, &["--environment", "careful", "Deploy it"]);
        let waits = world.legwork_says(&["task", "wait", &id]);
        assert!(waits.exits(5).stdout.contains("--approve"), "{}", waits.stdout);

        world.legwork_says(&["task", "answer", &id, decision]).exits(0);
        world.legwork_says(&["task", "wait", &id]).exits(0);

        let patch = diff(&world, &id);
        assert!(patch.contains(lines) && patch.contains("deployed") == (decision == "--approve"), "{patch}");
    }
}

#[test]
fn a_budget_that_is_used_up_is_topped_up_and_the_task_goes_on() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    // A dollar for each ten thousand tokens.
    let script = Script::new()
        .head("output_max = 1000\nprice = { input = 100.0, output = 100.0 }")
        .exec("echo one >> log")
        .costs(9_000, 500)
        .exec("echo two >> log")
        .costs(9_000, 500)
        .says("Done.");
    let id = world.hand_over(&repo, &script, &["--budget", "1.00", "Write and write"]);
    let waits = world.legwork_says(&["task", "wait", &id]);
    assert!(waits.exits(5).stdout.contains("legwork task top-up"), "{}", waits.stdout);

    let raised = world.legwork_says(&["task", "top-up", "--json", "--cost", "5", &id]);
    assert_eq!(raised.exits(0).events[0]["limit"]["cost_microusd"], 6_000_000);
    let seen = world.legwork_says(&["task", "watch", "--json", &id]);

    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    assert_eq!(seen.commands("echo one"), 1);
    assert!(diff(&world, &id).contains("+one\n+two\n"));
}
