use serde_json::json;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

/// The agent makes the test pass in its own sandbox, by a file outside of the repository, and says that all is well.
#[test]
fn a_test_that_passes_only_in_the_agents_sandbox_is_no_success() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.program("test.sh", "#!/bin/sh\ntest -f /tmp/calibrated\n").commit("test: need a calibration");
    let script = Script::new()
        .exec("touch /tmp/calibrated && echo done >> README.md && sh test.sh")
        .says("I fixed it. All tests pass.");
    let patch = world.path("kept.patch");

    let outcome = world.run(
        &repo,
        &script,
        &["--check", "sh test.sh", "--patch", patch.to_str().unwrap(), "Mend the test"],
    );

    outcome.exits(4).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "failed", "reason": "verification"}));
    assert_eq!(outcome.judgements(), ["still_failing"]);
    assert!(std::fs::read_to_string(patch).unwrap().contains("+done"), "the patch is kept all the same");
}

#[test]
fn a_patch_that_breaks_a_check_is_no_success() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("echo 'exit 1' > add.sh").says("Simplified.");

    let outcome =
        world.run(&repo, &script, &["--check", "sh add.sh 1 1", "--check", "true", "Simplify add.sh"]);

    outcome.exits(4);
    assert_eq!(outcome.judgements(), ["broken", "passing"]);
}

/// The tests pass, then a command edits: what passed is not what is handed over.
#[test]
fn a_command_that_edits_after_the_tests_takes_their_proof_away() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .patch(FIX)
        .exec("sh test.sh")
        .exec("sed -i 's/echo/printf %s/' add.sh")
        .says("All tests pass.");
    world.run(&repo, &script, &["Make add.sh add"]).exits(0);

    let shown = world.legwork_says(&["task", "show"]);

    shown.exits(0);
    assert!(shown.stdout.contains("unproven  All tests pass."), "{}", shown.stdout);
    assert!(shown.stdout.contains("may have changed files after it"), "{}", shown.stdout);
}
