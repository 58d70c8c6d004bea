//! Whole turns.

use legwork_domain::{Environment, Failure, Judgement, Kind, Outcome, Phase};

use crate::world::{World, check};

const SCRIPT: &str = "#!/bin/sh\n[ \"$(cat answer)\" = 42 ]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_ends_with_a_patch_that_is_verified() {
    let world = World::new().await;
    let repository = world.repository(&[("answer", "41\n"), ("test.sh", SCRIPT)]);
    let model = world.model(&[
        "sh test.sh; git log --oneline; git remote get-url origin; git status --short",
        "echo 42 > answer; sh test.sh",
    ]);
    let mut task = world.task(&repository, model);
    task.environment.checks.push(check("sh test.sh"));
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.ended.sentence, "Done: 1 file, +1 −1; its check holds on a clean sandbox.");
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::Fixed);
    assert_eq!(run.base(), repository.head());
    assert!(run.output().contains(repository.path.to_str().unwrap()), "origin is defined");
    let applied = repository.applied(&run.base(), &run.patch);
    assert_eq!(applied.git(&["write-tree"]), run.ended.patch.unwrap().tree);
    assert_eq!(std::fs::read_to_string(applied.path.join("answer")).unwrap(), "42\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_that_pass_only_where_the_agent_worked_fail_the_turn() {
    let world = World::new().await;
    let repository = world.repository(&[
        ("answer", "41\n"),
        ("test.sh", "test -e /home/agent/fixed || test -e built\n"),
        (".gitignore", "built\n"),
    ]);
    let model = world.model(&["touch /home/agent/fixed built; echo 42 > answer; sh test.sh"]);
    let mut task = world.task(&repository, model);
    task.environment.checks.push(check("sh test.sh"));
    let run = world.run(&task).await;
    assert_eq!(run.outputs(Phase::Agent)[0].0, Some(0), "it passes where the agent worked");
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Verification });
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::StillFailing);
    assert!(run.ended.patch.is_some(), "the patch is kept");
    assert_eq!(run.outputs(Phase::CheckPatched).len(), 2, "a failure is run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositorys_recipe_is_used_where_the_request_has_none() {
    let world = World::new().await;
    let recipe = "setup = 'echo set up; mkdir -p deps && echo $COLOUR > deps/x'\n[variables]\nCOLOUR = 'red'\n[checks]\nred = 'grep red deps/x'\n";
    let repository =
        world.repository(&[(".legwork/environment.toml", recipe), (".gitignore", "deps\n"), ("a", "a\n")]);
    let task = world.task(&repository, world.model(&["cat deps/x; echo b > b"]));
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(run.outputs(Phase::Setup)[0].1.contains("set up"));
    assert!(run.output().contains("red"));
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::Passing);
    assert!(!String::from_utf8_lossy(&run.patch).contains("deps"), "ignored files are not in the patch");
    let again = world.run(&legwork_domain::NewTask { prompt: "again".into(), ..task }).await;
    assert!(again.notices().contains("set-up of an earlier run"), "{}", again.notices());
    assert_eq!(again.outputs(Phase::Setup).len(), 0);
    assert_eq!(again.ended.outcome, Outcome::Succeeded, "{}", again.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_fails_says_why() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&[]));
    task.environment =
        Environment { setup: Some("echo no such tool >&2; exit 3".into()), ..Environment::default() };
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Setup });
    assert!(run.ended.sentence.contains("exit code 3: no such tool"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_changes_nothing() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["cat a; echo x > a || echo refused"]));
    task.kind = Kind::Ask;
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    assert!(run.output().contains("refused"), "{}", run.output());
    assert_eq!(run.ended.patch, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_changes_nothing_still_has_to_hold_its_checks() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["git status"]));
    task.environment.checks.push(check("false"));
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Verification });
    task.environment.checks[0].command = "true".into();
    task.prompt = "other".into();
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange);
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::Passing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_test_and_a_flaky_one_are_told_apart() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["echo b > a"]));
    task.environment.checks.push(check("grep a a"));
    let run = world.run(&task).await;
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::Broken);
    assert!(run.ended.sentence.contains("test is broken by the patch"), "{}", run.ended.sentence);
}
