use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

#[test]
fn a_question_gets_an_answer_and_the_repository_stays_read_only() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .exec("cat add.sh")
        .exec("echo changed > add.sh || touch new-file")
        .says("It takes away; it should add.");

    let outcome = world.run(&repo, &script, &["--ask", "What does add.sh do?"]);

    outcome.exits(0).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "no_change"}));
    assert!(outcome.kind("patch").is_empty());
    let writing = outcome.items("command")[1];
    assert_ne!(writing["exit_code"], 0, "{writing}");
    let answers = outcome.items("message");
    assert_eq!(answers.last().unwrap()["text"], "It takes away; it should add.");
}

#[test]
fn a_task_that_changes_nothing_says_so() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let outcome = world.run(&repo, &Script::new().says("Nothing to do."), &["Do what is needed"]);
    outcome.exits(0);
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "no_change"}));
}
