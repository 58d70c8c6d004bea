//! What one task makes and another one uses, and what it must not.

use legwork_domain::{
    Audience, Environment, EnvironmentDraft, EnvironmentId, FollowUp, ForkDraft, Kind, LocalChanges, NewTask,
    Outcome, Phase, RepositoryDraft, RepositoryId, SecretDraft, Trust,
};

use crate::world::{Repository, Run, World, check, git_in};

/// A set-up that never makes the same twice, so that a run shows whose it stands on.
const STAMP: &str = "head -c 16 /proc/sys/kernel/random/uuid > /home/agent/stamp";

/// A trial whose check prints what the set-up left.
fn trial(world: &World, repository: &Repository, prompt: &str) -> NewTask {
    let mut task = NewTask { kind: Kind::Prepare, ..world.task(repository, String::new()) };
    prompt.clone_into(&mut task.prompt);
    task.environment = Environment {
        setup: Some(STAMP.into()),
        checks: vec![check("cat /home/agent/stamp")],
        ..Environment::default()
    };
    task
}

fn outsiders(task: NewTask) -> NewTask {
    NewTask { trust: Trust::Outsider, ..task }
}

/// A trial whose set-up can be brought up to date, which its stamp shows.
fn maintained(world: &World, repository: &Repository, prompt: &str) -> NewTask {
    let mut task = trial(world, repository, prompt);
    task.environment.maintenance = Some("echo again >> /home/agent/stamp".into());
    task
}

/// What the set-up left, and whether it was made by this run.
fn saw(run: &Run) -> (String, bool) {
    let made = !run.outputs(Phase::Setup).is_empty();
    (run.outputs(Phase::CheckBase)[0].1.clone(), made)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stands_on_what_an_outsider_set_up() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let of = |prompt: &str| trial(&world, &repository, prompt);
    let (poison, made) = saw(&world.run(&outsiders(of("outsider"))).await);
    assert!(made && !poison.is_empty(), "{poison:?}");
    let (other, made) = saw(&world.run(&outsiders(of("another outsider"))).await);
    assert!(made && other != poison, "an outsider stands on another one's set-up");
    let (members, made) = saw(&world.run(&of("member")).await);
    assert!(made, "a member stands on what an outsider made");
    assert!(members != poison && members != other);
    assert_eq!(saw(&world.run(&of("another member")).await), (members.clone(), false), "members share");
    // The other way it is harmless, and saves the set-up.
    assert_eq!(saw(&world.run(&outsiders(of("third outsider"))).await), (members, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outsider_set_up_is_brought_up_to_date_for_nobody() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let of = |prompt: &str| maintained(&world, &repository, prompt);
    let (poison, _) = saw(&world.run(&outsiders(of("outsider"))).await);
    repository.write("a", "2\n");
    repository.commit("two");
    let run = world.run(&of("member")).await;
    assert!(!run.notices().contains("brought up to date"), "{}", run.notices());
    let (members, _) = saw(&run);
    assert!(!members.contains(&poison) && !members.contains("again"), "{members}");
    repository.write("a", "3\n");
    repository.commit("three");
    let run = world.run(&outsiders(of("outsider again"))).await;
    assert!(saw(&run).0.starts_with(&members) && saw(&run).0.contains("again"), "{}", saw(&run).0);
    let (third, _) = saw(&world.run(&of("member again")).await);
    assert!(third.starts_with(&members) && third.ends_with("again\n"), "{third}");
    assert_eq!(
        third.matches("again").count(),
        1,
        "it stands on the members' second, not on the outsider's third"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_a_branch_that_was_merged_as_a_whole_are_stood_on_by_nobody() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let of = |prompt: &str| maintained(&world, &repository, prompt);
    let (first, _) = saw(&world.run(&of("first")).await);
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.write("a", "evil\n");
    repository.commit("evil");
    let mut side = of("side");
    // From nothing: the same recipe, and no earlier set-up to bring up to date.
    side.source.base = Some("side".into());
    let (on_side, _) = saw(&world.run(&side).await);
    assert!(on_side.starts_with(&first));
    repository.write("a", "1\n");
    repository.commit("hide it");
    repository.git(&["checkout", "-q", "main"]);
    // So many that the branch's commits come before the first one in any order but that of first parents.
    for n in 0..4 {
        repository.write("b", &format!("{n}\n"));
        repository.commit("main moves on");
    }
    repository.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    let (merged, _) = saw(&world.run(&of("merged")).await);
    assert_eq!(merged.matches("again").count(), 1, "it stands on the first commit alone: {merged}");
    assert!(merged.starts_with(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_with_the_same_commits_stands_on_its_own_set_ups() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let copy = Repository { path: world.directory.path().join("copy") };
    git_in(world.directory.path(), &["clone", "-q", "repository", "copy"]);
    let of = |prompt: &str, at: &Repository| maintained(&world, at, prompt);
    world.run(&of("first", &copy)).await;
    repository.write("a", "2\n");
    repository.commit("two");
    let run = world.run(&of("second", &repository)).await;
    assert!(!run.notices().contains("brought up to date"), "{}", run.notices());
    assert!(saw(&run).1);
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_changes_are_in_no_other_tasks_checkout() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    repository.write("mine", "not for others\n");
    let blob = repository.git(&["hash-object", "mine"]);
    let mut task = trial(&world, &repository, "mine");
    task.source.local_changes = LocalChanges::Include;
    task.environment.checks = vec![check(&format!("git cat-file -e {blob}"))];
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    std::fs::remove_file(repository.path.join("mine")).unwrap();
    repository.write("a", "2\n");
    repository.commit("two");
    let mut task = trial(&world, &repository, "another");
    task.environment.checks = vec![check(&format!("! git cat-file -e {blob}"))];
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bounds_make_another_set_up() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = trial(&world, &repository, "one");
    let (one, _) = saw(&world.run(&task).await);
    task.prompt = "two".into();
    task.environment.resources.processes = 50;
    let (two, made) = saw(&world.run(&task).await);
    assert!(made && one != two, "who bounds a set-up so that it fails half-way does so for itself alone");
}

impl World {
    async fn record(&self, repository: &Repository) -> RepositoryId {
        let url = repository.path.to_str().unwrap().to_owned();
        self.client.create_repository(&RepositoryDraft { url }).await.unwrap().id
    }

    async fn with_secret(&self, repository: &Repository) -> EnvironmentId {
        let secret = serde_json::from_str(r#"{"name":"TOKEN","hosts":["good.example"]}"#).unwrap();
        let recipe = Environment { secrets: vec![secret], ..Environment::default() };
        let draft = EnvironmentDraft { name: "main".into(), recipe, audience: Audience::Team };
        let record = self.record(repository).await;
        let environment = self.client.create_environment(record, &draft).await.unwrap().id;
        self.client.put_secret(environment, "TOKEN", &value("hunter2-hunter2")).await.unwrap();
        environment
    }
}

fn value(text: &str) -> SecretDraft {
    SecretDraft { value: text.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_changed_makes_another_set_up_and_outsiders_get_none() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let environment = world.with_secret(&repository).await;
    let of = |prompt: &str| {
        let mut task = trial(&world, &repository, prompt);
        task.environment_id = Some(environment);
        task
    };
    let one = saw(&world.run(&of("one")).await).0;
    assert_eq!(saw(&world.run(&of("two")).await), (one.clone(), false));
    world.client.put_secret(environment, "TOKEN", &value("another-another")).await.unwrap();
    let (other, made) = saw(&world.run(&of("three")).await);
    assert!(made && other != one);
    world.client.put_secret(environment, "TOKEN", &value("hunter2-hunter2")).await.unwrap();
    assert_eq!(saw(&world.run(&of("four")).await), (one.clone(), false), "exactly that");
    let run = world.run(&outsiders(of("five"))).await;
    assert!(run.notices().contains("gave no value for these secrets"), "{}", run.notices());
    let (outsiders, made) = saw(&run);
    assert!(made && outsiders != one && outsiders != other, "what a secret opened is not for outsiders");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_at_the_server_makes_workers_start_anew() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let record = world.record(&repository).await;
    let of = |prompt: &str| trial(&world, &repository, prompt);
    let (one, _) = saw(&world.run(&of("one")).await);
    world.client.reset_repository(record).await.unwrap();
    let (two, made) = saw(&world.run(&of("two")).await);
    assert!(made && one != two);
    assert_eq!(saw(&world.run(&of("three")).await), (two, false), "once");
}

/// Makes all set-ups that are known as old as this.
fn age(world: &World, hours: i64) {
    let index = world.directory.path().join("worker/setups");
    for entry in std::fs::read_dir(index).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let mut done: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let at = done["at"].clone();
        let at: legwork_domain::Timestamp = serde_json::from_value(at).unwrap();
        done["at"] = serde_json::to_value(at.plus_ms(-hours * 3_600_000)).unwrap();
        std::fs::write(&path, serde_json::to_vec(&done).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_of_a_branch_is_fresh_for_twelve_hours() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let of = |prompt: &str, maintenance: Option<&str>| {
        let mut task = trial(&world, &repository, prompt);
        task.environment.maintenance = maintenance.map(str::to_owned);
        task
    };
    let maintained = Some("echo again >> /home/agent/stamp");
    let (one, _) = saw(&world.run(&of("one", maintained)).await);
    age(&world, 11);
    assert_eq!(saw(&world.run(&of("two", maintained)).await), (one.clone(), false));
    age(&world, 2);
    let run = world.run(&of("three", maintained)).await;
    assert!(run.notices().contains("more than 12 hours old"), "{}", run.notices());
    assert_eq!(saw(&run).0, format!("{one}again\n"));
    assert_eq!(saw(&world.run(&of("four", maintained)).await), (format!("{one}again\n"), false));
    // Nobody says how to bring it up to date; then it is made anew, and a commit stays what it is.
    let (plain, _) = saw(&world.run(&of("five", None)).await);
    age(&world, 13);
    let mut exact = of("six", None);
    exact.source.base = Some(repository.head());
    let (of_commit, _) = saw(&world.run(&exact).await);
    age(&world, 13);
    exact.prompt = "seven".into();
    assert_eq!(saw(&world.run(&exact).await), (of_commit, false));
    let (anew, made) = saw(&world.run(&of("eight", None)).await);
    assert!(made && anew != plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsiders_word_makes_the_task_an_outsiders() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let turn = |command: &str| {
        format!(
            "[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = \"{command}\" }} }}]\n[[turn]]\ntext = \"Done.\"\n"
        )
    };
    let task = world.task(&repository, world.script(&(turn("echo x > x") + &turn("cat x"))));
    let view = world.client.create_task(&task, "k").await.unwrap();
    world.follow(&view).await;
    let next = FollowUp { trust: Trust::Outsider, ..FollowUp::new("More".into(), Vec::new()) };
    world.client.follow_up(view.attempts[0].attempt.id, &next, "more").await.unwrap();
    let shown = world.client.task(view.task.id).await.unwrap();
    assert_eq!(shown.task.request.trust, Trust::Outsider);
    assert_eq!(world.follow(&view).await.ended.outcome, Outcome::Succeeded, "it goes on from its files");
    let draft = ForkDraft { turn: 1, input: "Another way".into(), images: Vec::new() };
    let forked = world.client.fork(view.attempts[0].attempt.id, &draft, "f").await.unwrap();
    assert_eq!(forked.task.request.trust, Trust::Outsider, "a fork is no way up");
    assert_eq!(world.follow(&forked).await.ended.outcome, Outcome::Succeeded);
}
