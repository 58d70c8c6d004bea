//! Environments: detected, tried out, and failing.

use legwork_domain::{
    CheckOrigin, Environment, EventKind, Failure, Judgement, Kind, NewTask, Outcome, Phase,
};

use crate::world::{Run, World, check};

/// A repository whose files say how it is built and tested.
const MAKEFILE: &str = "all:\n\techo built > out\n\ncheck: all\n\tgrep -q built out\n\tgrep -q 42 answer\n";

fn prepare(world: &World, repository: &crate::world::Repository) -> NewTask {
    NewTask { kind: Kind::Prepare, ..world.task(repository, String::new()) }
}

fn layers(run: &Run) -> Vec<String> {
    let mut named = run.events.iter().filter_map(|event| match &event.kind {
        EventKind::Snapshot { layers, .. } => Some(layers.clone()),
        _ => None,
    });
    named.next_back().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_tried_out_without_a_model() {
    let world = World::new().await;
    let repository = world.repository(&[("Makefile", MAKEFILE), ("answer", "42\n"), ("x.c", "int x;\n")]);
    let run = world.run(&prepare(&world, &repository)).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    assert_eq!(run.ended.sentence, "The environment works: it is set up, and `make check` passes.");
    assert_eq!(run.outputs(Phase::Setup).len(), 1);
    assert_eq!(run.outputs(Phase::CheckBase).len(), 1, "the tests run once");
    assert_eq!(run.ended.verdicts[0].check.origin, CheckOrigin::Detected);
    assert!(!layers(&run).is_empty(), "its files are named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_fails_names_its_line_and_keeps_its_files() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = prepare(&world, &repository);
    let setup =
        "set -e\necho first > /home/agent/left\nif true; then\n  no-such-tool --version\nfi\necho never\n";
    task.environment = Environment { setup: Some(setup.into()), ..Environment::default() };
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Setup });
    for words in ["exit code 127", "at line 4, `no-such-tool --version`", "Likely because a tool is missing"]
    {
        assert!(run.ended.sentence.contains(words), "{words}: {}", run.ended.sentence);
    }
    let left = layers(&run);
    let kept = |layer: &String| std::path::Path::new(layer).join("home/agent/left").is_file();
    assert!(left.iter().any(kept), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_goes_on_without_a_program_says_so() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = prepare(&world, &repository);
    task.environment.setup = Some("echo one\nno-such-tool --version\nfalse || echo on\n".into());
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    assert!(run.notices().contains("went on at line 2, `no-such-tool --version`"), "{}", run.notices());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_takes_too_long_says_so() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = prepare(&world, &repository);
    task.environment.setup = Some("echo begun; sleep 600".into());
    task.environment.resources.command_ms = 1000;
    let run = world.run(&task).await;
    assert!(run.ended.sentence.contains("was ended after 1 s"), "{}", run.ended.sentence);
    assert!(run.ended.sentence.contains("longer than it may"), "{}", run.ended.sentence);
    assert!(run.outputs(Phase::Setup)[0].1.contains("begun"), "what it said is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_uses_what_was_detected() {
    let world = World::new().await;
    let repository = world.repository(&[
        ("Makefile", MAKEFILE),
        ("answer", "41\n"),
        (".gitignore", "out\n"),
        ("x.c", "int x;\n"),
    ]);
    let run = world.run(&world.task(&repository, world.model(&["cat out", "echo 42 > answer"]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(run.output().contains("built"), "{}", run.output());
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::Fixed);
    assert_eq!(run.ended.verdicts[0].check.origin, CheckOrigin::Detected);
}

#[tokio::test(flavor = "multi_thread")]
async fn detected_tests_that_fail_anyway_do_not_fail_the_turn() {
    let world = World::new().await;
    let repository = world.repository(&[("Makefile", MAKEFILE), ("answer", "41\n"), (".gitignore", "out\n")]);
    let run = world.run(&world.task(&repository, world.model(&["echo 43 > answer"]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.ended.verdicts[0].judgement, Judgement::StillFailing);
    assert!(run.ended.sentence.contains("nothing is verified"), "{}", run.ended.sentence);
    let world = World::new().await;
    let broken = world.repository(&[("Makefile", MAKEFILE), ("answer", "42\n"), (".gitignore", "out\n")]);
    let run = world.run(&world.task(&broken, world.model(&["echo 43 > answer"]))).await;
    assert_eq!(
        run.ended.outcome,
        Outcome::Failed { reason: Failure::Verification },
        "what the patch broke counts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detected_set_up_that_fails_does_not_stop_the_agent() {
    let world = World::new().await;
    let makefile = "all:\n\techo the-reason; false\ncheck:\n\ttrue\n";
    let repository = world.repository(&[("Makefile", makefile), ("x.c", "int x;\n"), ("a", "a\n")]);
    let run = world.run(&world.task(&repository, world.model(&["echo b > a"]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(
        run.notices().contains("the-reason") && run.notices().contains("goes on without it"),
        "{}",
        run.notices()
    );
    assert!(run.ended.verdicts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_anything_is_not_second_guessed() {
    let world = World::new().await;
    let repository = world.repository(&[("Makefile", MAKEFILE), ("answer", "41\n"), ("x.c", "int x;\n")]);
    let mut task = world.task(&repository, world.model(&["echo b > b"]));
    task.environment.checks.push(check("true"));
    let run = world.run(&task).await;
    assert_eq!(run.outputs(Phase::Setup).len(), 0);
    assert_eq!(run.ended.verdicts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_says_nothing_cannot_be_tried_out() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let run = world.run(&prepare(&world, &repository)).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Setup });
    assert!(run.ended.sentence.contains("No stack was recognized"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_detected_set_up_made_is_in_no_patch() {
    let world = World::new().await;
    let repository = world.repository(&[("Makefile", MAKEFILE), ("answer", "41\n"), ("x.c", "int x;\n")]);
    let run =
        world.run(&world.task(&repository, world.model(&["echo 42 > answer; echo new > 'new file'"]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("new file") && !patch.contains("b/out"), "{patch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_started_in_every_sandbox_and_work_is_done_where_the_recipe_says() {
    let world = World::new().await;
    let recipe = "setup = 'pwd > /home/agent/at'\nstart = '(while :; do date > /tmp/next; mv /tmp/next /tmp/beat; sleep 0.1; done) > /dev/null 2>&1 &'\nworkdir = 'part'\n[toolchains]\nrust = '1.2.3'\n[checks]\nbeats = 'sleep 0.5; test -s /tmp/beat && test -f inside && grep -q /workspace/part /home/agent/at && test \"$RUSTUP_TOOLCHAIN\" = 1.2.3'\n";
    let repository = world.repository(&[(".legwork/environment.toml", recipe), ("part/inside", "x\n")]);
    let run =
        world.run(&world.task(&repository, world.model(&["sleep 0.5; cat /tmp/beat; echo x > x"]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.outputs(Phase::Agent)[0].0, Some(0), "{}", run.output());
    assert_eq!(run.outputs(Phase::Start).len(), 3, "the agent's, and one for each side of the check");
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_this_machine_lacks_are_named() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = prepare(&world, &repository);
    task.environment = Environment {
        packages: vec!["bash".into(), "legwork-has-no-such-package".into()],
        setup: Some("true".into()),
        ..Environment::default()
    };
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    let notices = run.notices();
    let lacks = "system packages that the worker's machine lacks: legwork-has-no-such-package.";
    assert!(notices.contains(lacks) || notices.contains("cannot be told here"), "{notices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_is_brought_up_to_date_for_the_next_commit_of_its_history() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n"), ("b", "1\n"), (".gitignore", "made\n")]);
    let task = |prompt: &str, maintenance: &str| {
        let mut task = NewTask { prompt: prompt.to_owned(), ..prepare(&world, &repository) };
        task.environment = Environment {
            setup: Some("echo from nothing >> /home/agent/log; echo made > made; echo bent > a".into()),
            maintenance: Some(maintenance.to_owned()),
            checks: vec![check("cat a b made /home/agent/log")],
            ..Environment::default()
        };
        task
    };
    let saw = |run: &Run| run.outputs(Phase::CheckBase)[0].1.clone();
    let maintained = "echo again >> /home/agent/log";
    let first = world.run(&task("one", maintained)).await;
    assert_eq!(saw(&first), "bent\n1\nmade\nfrom nothing\n");
    repository.write("a", "2\n");
    repository.commit("two");
    let second = world.run(&task("two", maintained)).await;
    assert!(second.notices().contains("brought up to date"), "{}", second.notices());
    assert_eq!(saw(&second), "2\n1\nmade\nfrom nothing\nagain\n", "what git knows is the new commit's");
    repository.write("b", "3\n");
    repository.commit("three");
    let failed = world.run(&task("three", "exit 9")).await;
    assert_eq!(saw(&failed), "bent\n3\nmade\nfrom nothing\n", "another recipe");
    repository.write("b", "4\n");
    repository.commit("four");
    let failed = world.run(&task("four", "exit 9")).await;
    assert!(failed.notices().contains("is made from nothing instead"), "{}", failed.notices());
    assert_eq!(saw(&failed), "bent\n4\nmade\nfrom nothing\n");
    // What nobody has merged is not what others start from.
    repository.git(&["checkout", "-q", "-B", "main", "main~3"]);
    repository.write("b", "6\n");
    repository.commit("six");
    let sixth = world.run(&task("six", maintained)).await;
    assert_eq!(saw(&sixth), "1\n6\nmade\nfrom nothing\nagain\n", "the first commit is before it");
}
