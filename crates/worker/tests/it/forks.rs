//! Turns that start on what others left: retries and forks.

use legwork_domain::{FollowUp, ForkDraft, Kind, NewTask, Outcome, Retry, RetryFrom, TaskView};

use crate::world::{Run, World, check};

const STEPS: &str = r#"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo one >> log; echo rest > /var/tmp/rest" } }]
[[turn]]
text = "One."
[[turn]]
when = "Another way"
calls = [{ tool = "exec_command", arguments = { cmd = "cat log /var/tmp/rest; echo other >> log" } }]
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo two >> log" } }]
[[turn]]
text = "Two."
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "cat log /var/tmp/rest; echo other >> log" } }]
[[turn]]
text = "Other."
"#;

fn draft(turn: u32) -> ForkDraft {
    ForkDraft { turn, input: "Another way".into(), images: Vec::new() }
}

impl World {
    async fn follow_up(&self, view: &TaskView) -> Run {
        let next = FollowUp::new("More".into(), Vec::new());
        self.client.follow_up(view.attempts[0].attempt.id, &next, "more").await.unwrap();
        self.follow(view).await
    }

    async fn two_turns(&self, change: impl FnOnce(&mut NewTask)) -> (TaskView, Run) {
        let repository = self.repository(&[("a", "a\n")]);
        let mut task = self.task(&repository, self.script(STEPS));
        change(&mut task);
        let view = self.client.create_task(&task, "k").await.unwrap();
        self.follow(&view).await;
        let run = self.follow_up(&view).await;
        (view, run)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_goes_on_from_where_its_turn_ended() {
    let world = World::new().await;
    let (view, both) = world.two_turns(|_| ()).await;
    assert!(String::from_utf8_lossy(&both.patch).contains("+one\n+two\n"));

    let forked = world.client.fork(view.attempts[0].attempt.id, &draft(1), "f").await.unwrap();

    let run = world.follow(&forked).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.output(), "one\nrest\n", "the first turn's files are there, the second's are not");
    assert!(
        String::from_utf8_lossy(&run.patch).contains("+one\n+other\n"),
        "its patch holds all since the base"
    );
    assert_eq!(run.base(), both.base());
    let task = world.client.task(forked.task.id).await.unwrap().task;
    assert_eq!(task.forked_from.unwrap().attempt, view.attempts[0].attempt.id);
    // The other one is as it was, and goes on by itself when the fork is deleted.
    world.client.delete_task(forked.task.id).await.unwrap();
    assert_eq!(world.follow(&view).await.patch, both.patch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_can_be_asked_in_another_way() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let script = world.model(&["cat a", "cat a"]);
    let mut task = world.task(&repository, script);
    task.kind = Kind::Ask;
    let view = world.client.create_task(&task, "k").await.unwrap();
    world.follow(&view).await;
    let forked = world.client.fork(view.attempts[0].attempt.id, &draft(1), "f").await.unwrap();
    assert_eq!(forked.task.request.kind, Kind::Ask);
    let notices = world.follow(&forked).await.notices();
    assert!(!notices.contains("lost worker"), "{notices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_files_are_gone_goes_on_from_its_turns_patch() {
    let world = World::new().await;
    let (view, both) = world.two_turns(|_| ()).await;
    for event in &both.events {
        let legwork_domain::EventKind::Snapshot { layers, .. } = &event.kind else { continue };
        for layer in layers.iter().filter(|layer| std::path::Path::new(layer).exists()) {
            std::fs::rename(layer, format!("{layer}.away")).unwrap();
        }
    }
    for (turn, output, lines) in [(1, "one\n", "+one\n+other\n"), (2, "one\ntwo\n", "+one\n+two\n+other\n")] {
        let key = format!("f{turn}");
        let forked = world.client.fork(view.attempts[0].attempt.id, &draft(turn), &key).await.unwrap();
        let run = world.follow(&forked).await;
        assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
        assert!(run.output().starts_with(output) && !run.output().contains("rest\n"), "{}", run.output());
        assert!(run.notices().contains("goes on from its last patch"), "{}", run.notices());
        let patch = String::from_utf8_lossy(&run.patch);
        assert!(patch.contains(lines), "{patch}");
        assert_eq!(run.base(), both.base());
    }
    let none = world.client.fork(view.attempts[0].attempt.id, &draft(3), "g").await.unwrap_err();
    assert_eq!(none.code(), Some("not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_left_nothing_cannot_be_forked_at() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let view = world.client.create_task(&world.task(&repository, world.script(STEPS)), "k").await.unwrap();
    let attempt = view.attempts[0].attempt.id;
    let refused = world.client.fork(attempt, &draft(1), "f").await.unwrap_err();
    assert_eq!(refused.code(), Some("turn_open"));
    world.client.cancel(view.task.id).await.unwrap();
    let refused = world.client.fork(attempt, &draft(1), "f").await.unwrap_err();
    assert_eq!(refused.code(), Some("no_snapshot"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_stands_on_what_was_left_or_on_nothing() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.script(STEPS));
    task.environment.checks = vec![check("false")];
    let view = world.client.create_task(&task, "k").await.unwrap();
    world.follow(&view).await;
    let attempt = view.attempts[0].attempt.id;
    world.client.retry(attempt, Retry { from: RetryFrom::Left }, "l").await.unwrap();
    let left = world.follow(&view).await;
    assert!(String::from_utf8_lossy(&left.patch).contains("+one\n+two\n"));
    world.client.retry(attempt, Retry { from: RetryFrom::Fresh }, "f").await.unwrap();
    let fresh = world.follow(&view).await;
    let patch = String::from_utf8_lossy(&fresh.patch).into_owned();
    assert!(patch.contains("+one\n") && !patch.contains("+two"), "{patch}");
}
