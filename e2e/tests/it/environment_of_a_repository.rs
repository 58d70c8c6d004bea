use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn the_checks_of_the_repository_hold_where_none_are_named() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.file(".legwork/environment.toml", "[checks]\nsum = \"sh test.sh\"\n")
        .commit("legwork: declare a check");
    let script = Script::new().patch(FIX).says("Done.");

    let outcome = world.run(&repo, &script, &["Make add.sh add"]);

    outcome.exits(0);
    assert_eq!(outcome.judgements(), ["fixed"]);
}

#[test]
fn the_set_up_is_there_for_agent_and_checks() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.program("test.sh", "#!/bin/sh\ntest -f \"$HOME/tool\" && [ \"$(sh add.sh 2 3)\" = 5 ]\n")
        .commit("test: need it");
    let script = Script::new().exec("test -f \"$HOME/tool\"").patch(FIX).says("Done.");

    let outcome = world.run(
        &repo,
        &script,
        &["--setup", "touch \"$HOME/tool\"", "--check", "sh test.sh", "Make add.sh add"],
    );

    outcome.exits(0);
    assert_eq!(outcome.judgements(), ["fixed"]);
    assert!(outcome.items("command").iter().any(|item| item["phase"] == "agent" && item["exit_code"] == 0));
}

#[test]
fn a_set_up_that_fails_says_so() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let outcome = world.run(
        &repo,
        &Script::new().says("Never said."),
        &["--setup", "echo no such thing; exit 7", "Go"],
    );
    outcome.exits(1);
    assert_eq!(outcome.end()["outcome"]["reason"], "setup");
    assert!(outcome.stdout.contains("no such thing"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("Never said."));
}
