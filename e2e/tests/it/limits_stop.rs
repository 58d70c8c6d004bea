use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

#[test]
fn tokens_run_out_and_the_partial_patch_is_kept() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .exec("echo first >> README.md")
        .costs(9_000, 1_000)
        .exec("echo second >> README.md")
        .costs(9_000, 1_000)
        .exec("echo third >> README.md")
        .says("Never said.");

    let outcome = world.run(&repo, &script, &["--limit-tokens", "15000", "Write and write"]);

    outcome.exits(3).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "limit_reached", "limit": "tokens"}));
    assert!(outcome.end()["patch"].is_object(), "{}", outcome.end());
    assert!(!outcome.stdout.contains("Never said."));
}

#[test]
fn wall_time_runs_out_in_the_middle_of_a_command() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("echo first >> README.md; sleep 600").says("Never said.");

    let outcome = world.run(&repo, &script, &["--limit-time", "2s", "Sleep"]);

    outcome.exits(3);
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "limit_reached", "limit": "wall_time"}));
    assert!(outcome.end()["patch"].is_object(), "{}", outcome.end());
}
