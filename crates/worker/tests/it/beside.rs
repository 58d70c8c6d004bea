//! Repositories that are laid beside the checkout.

use legwork_domain::{
    Audience, Environment, EnvironmentDraft, EventKind, ExtraRepository, FollowUp, LaidRepository, Outcome,
    Phase, RepositoryDraft,
};

use crate::world::{Repository, Run, World, check, git_in};

impl World {
    /// Another repository, with one file.
    fn library(&self, contents: &str) -> Repository {
        git_in(self.directory.path(), &["init", "-q", "-b", "main", "library"]);
        let library = Repository { path: self.directory.path().join("library") };
        library.write("x", contents);
        library.commit("a library");
        library
    }

    /// The team's recipe for tasks on a repository.
    async fn team_says(&self, repository: &Repository, recipe: Environment) {
        let url = repository.path.to_str().unwrap().to_owned();
        let record = self.client.create_repository(&RepositoryDraft { url }).await.unwrap().id;
        let draft = EnvironmentDraft { name: "default".into(), recipe, audience: Audience::Team };
        self.client.create_environment(record, &draft).await.unwrap();
    }
}

fn extra(repository: &Repository, path: &str) -> ExtraRepository {
    ExtraRepository {
        url: repository.path.to_str().unwrap().into(),
        reference: Some("main".into()),
        path: path.into(),
    }
}

fn laid(run: &Run) -> Vec<LaidRepository> {
    let laid = run.events.iter().find_map(|event| match &event.kind {
        EventKind::Base { repositories, .. } => Some(repositories.clone()),
        _ => None,
    });
    laid.unwrap()
}

const STEPS: &str = r#"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "cat /repositories/deep/lib/x; git -C /repositories/deep/lib log --format=%s; echo changed > /repositories/deep/lib/x; echo y > y" } }]
[[turn]]
text = "One."
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "cat /repositories/deep/lib/x; git -C /repositories/deep/lib rev-parse HEAD" } }]
[[turn]]
text = "Two."
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_what_lies_beside_is_said_as_of_the_checkout() {
    let world = World::new().await;
    let (repository, library) = (world.repository(&[("a", "a\n")]), world.library("one\n"));
    let head = library.head();
    library.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    std::fs::create_dir(library.path.join("module")).unwrap();
    library.commit("with a submodule");
    let recipe = Environment {
        repositories: vec![extra(&library, "whole"), extra(&library, "deep/lib")],
        ..Environment::default()
    };
    world.team_says(&repository, recipe).await;
    let run = world.run(&world.task(&repository, world.script(STEPS))).await;
    assert_eq!(run.output(), "one\nwith a submodule\na library\n");
    for path in ["whole", "deep/lib"] {
        let said = format!("/repositories/{path} is not complete: submodules that are empty directories: 1.");
        assert!(run.notices().contains(&said), "{}", run.notices());
    }
    assert!(!run.notices().contains("The checkout is not complete"), "{}", run.notices());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_is_pinned_and_no_part_of_the_patch() {
    let world = World::new().await;
    let (repository, library) = (world.repository(&[("a", "a\n")]), world.library("one\n"));
    let recipe = Environment {
        repositories: vec![extra(&library, "deep/lib")],
        checks: vec![check("grep -qx one /repositories/deep/lib/x && test -f y")],
        ..Environment::default()
    };
    world.team_says(&repository, recipe).await;
    let task = world.task(&repository, world.script(STEPS));
    let view = world.client.create_task(&task, "k").await.unwrap();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.output(), "one\na library\n");
    let first = library.head();
    let at = library.path.to_str().unwrap().to_owned();
    assert_eq!(laid(&run), [LaidRepository { url: at, commit: first.clone(), path: "deep/lib".into() }]);
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("+y\n") && !patch.contains("changed"), "{patch}");

    library.write("x", "two\n");
    library.commit("it moved on");
    let next = FollowUp::new("More".into(), Vec::new());
    world.client.follow_up(view.attempts[0].attempt.id, &next, "more").await.unwrap();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let said = run.outputs(Phase::Agent).pop().unwrap().1;
    assert_eq!(
        said,
        format!("changed\n{first}\n"),
        "the attempt's own files, on the commit that it began on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_commit_beside_is_another_set_up() {
    let world = World::new().await;
    let (repository, library) = (world.repository(&[("a", "a\n")]), world.library("one\n"));
    let recipe = Environment {
        repositories: vec![extra(&library, "lib")],
        setup: Some("cp /repositories/lib/x /home/agent/made".into()),
        maintenance: Some("cat /repositories/lib/x >> /home/agent/made".into()),
        checks: vec![check("cat /home/agent/made")],
        ..Environment::default()
    };
    world.team_says(&repository, recipe).await;
    let trial = |prompt: &str| {
        let mut task = world.task(&repository, String::new());
        task.kind = legwork_domain::Kind::Prepare;
        prompt.clone_into(&mut task.prompt);
        task
    };
    let saw = |run: &Run| (run.outputs(Phase::CheckBase)[0].1.clone(), run.outputs(Phase::Setup).len());
    assert_eq!(saw(&world.run(&trial("one")).await), ("one\n".to_owned(), 1));
    assert_eq!(saw(&world.run(&trial("two")).await), ("one\n".to_owned(), 0), "as it is");
    library.write("x", "two\n");
    library.commit("it moved on");
    assert_eq!(saw(&world.run(&trial("three")).await), ("two\n".to_owned(), 1), "from nothing");
    repository.write("a", "b\n");
    repository.commit("next");
    let run = world.run(&trial("four")).await;
    assert!(run.notices().contains("brought up to date"), "{}", run.notices());
    assert_eq!(saw(&run).0, "two\ntwo\n", "its own layers are below the set-up that is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_cannot_name_another_one() {
    let world = World::new().await;
    let library = world.library("one\n");
    let recipe = format!("[[repositories]]\nurl = '{}'\npath = 'lib'\n", library.path.display());
    let repository = world.repository(&[(".legwork/environment.toml", &recipe)]);
    let run = world.run(&world.task(&repository, world.model(&["cat /repositories/lib/x"]))).await;
    assert!(run.ended.sentence.contains("which a commit may not"), "{}", run.ended.sentence);
    assert!(run.output().is_empty());
}
