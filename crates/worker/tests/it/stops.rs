//! Turns that end before their time.

use std::time::Duration;

use futures::StreamExt;
use legwork_domain::{
    Ended, EventBatch, EventKind, Failure, Finish, ItemBody, LeaseRequest, Limit, Limits, Outcome, Phase,
    State, WorkerId,
};

use crate::world::World;

/// Waits until the agent's command says `ready`.
async fn until_ready(world: &World, view: &legwork_domain::TaskView) {
    let mut events = Box::pin(world.client.events(view.attempts[0].attempt.id, 0));
    while let Some(event) = events.next().await {
        match event.unwrap().kind {
            EventKind::ItemUpdated { delta, .. } if delta.contains("ready") => return,
            _ => {}
        }
    }
    panic!("the turn ended before its command was ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_of_a_command_keeps_the_partial_patch() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task = world.task(&repository, world.model(&["echo b > a; echo ready; sleep 1000"]));
    let view = world.client.create_task(&task, "k").await.unwrap();
    until_ready(&world, &view).await;
    world.client.cancel(view.task.id).await.unwrap();
    let run = tokio::time::timeout(Duration::from_secs(30), world.follow(&view)).await.unwrap();
    assert_eq!(run.ended.outcome, Outcome::Cancelled);
    assert!(String::from_utf8_lossy(&run.patch).contains("+b"));
    assert_eq!(run.outputs(Phase::CheckBase).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_time_counts_for_set_up_too() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&[]));
    task.environment.setup = Some("sleep 1000".into());
    task.limits = Limits { wall_ms: 500, ..Limits::default() };
    let run = tokio::time::timeout(Duration::from_secs(30), world.run(&task)).await.unwrap();
    assert_eq!(run.ended.outcome, Outcome::LimitReached { limit: Limit::WallTime });
    assert!(run.items().all(|item| item.ended_at.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_epoch_writes_nothing() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task = world.task(&repository, world.model(&["echo b > a"]));
    world.client.create_task(&task, "k").await.unwrap();
    let request = LeaseRequest::of(WorkerId::from_u128(9));
    let assignment = world.client.lease(&request).await.unwrap().unwrap();
    let batch = EventBatch {
        epoch: assignment.lease.epoch + 1,
        lease: None,
        first: 0,
        events: Vec::new(),
        transition: None,
    };
    let error = world.client.append(assignment.turn.id, &batch).await.unwrap_err();
    assert_eq!(error.code(), Some("stale_epoch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_turn_was_taken_away_stops_at_once() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task = world.task(&repository, world.model(&["echo ready; sleep 1000"]));
    let view = world.client.create_task(&task, "k").await.unwrap();
    until_ready(&world, &view).await;
    let turn = world.client.task(view.task.id).await.unwrap().attempts[0].turns[0].clone();
    // Somebody else with the same right ends it; from then on the worker's own calls are refused.
    let ended = Ended::nothing(Outcome::NoChange, "Taken away.", turn.created_at);
    let finish =
        Finish { epoch: turn.epoch, lease: None, first: 0, events: Vec::new(), ended, blobs: Vec::new() };
    world.client.finish(turn.id, &finish).await.unwrap();
    let live = world.directory.path().join("sandboxes/live");
    let gone = async {
        while std::fs::read_dir(&live).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the turn's sandbox is gone");
    let run = world.follow(&view).await;
    assert_eq!(run.ended.sentence, "Taken away.");
    assert!(!run.events.iter().any(|event| matches!(event.kind, EventKind::Snapshot { live: None, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_configured_says_so() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let run = world.run(&world.task(&repository, "nobody/nothing".into())).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Model });
    assert!(run.ended.sentence.contains("nobody"), "{}", run.ended.sentence);
    assert!(!run.items().any(|item| matches!(item.body, ItemBody::Command(_))));
}

/// What a person who watches sees: the turn is over within this time after the cancel, and nothing of it runs.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// Cancels once the log tells this, and measures.
async fn cancelled_at(
    world: &World,
    task: &legwork_domain::NewTask,
    is_the_moment: impl Fn(&EventKind) -> bool,
) {
    let view = world.client.create_task(task, "k").await.unwrap();
    let mut events = Box::pin(world.client.events(view.attempts[0].attempt.id, 0));
    while !is_the_moment(&events.next().await.expect("the moment comes").unwrap().kind) {}
    let asked = std::time::Instant::now();
    world.client.cancel(view.task.id).await.unwrap();
    let ended = async {
        while let Some(event) = events.next().await {
            if let EventKind::State { state: State::Finished(ended), .. } = event.unwrap().kind {
                return *ended;
            }
        }
        panic!("the log ends without an end");
    };
    let ended = tokio::time::timeout(CANCEL_MAX, ended).await.expect("the end comes in time");
    assert_eq!(ended.outcome, Outcome::Cancelled, "{}", ended.sentence);
    let turn = world.client.task(view.task.id).await.unwrap().attempts[0].turns[0].clone();
    assert_eq!(turn.state.ended(), Some(&ended), "the same everywhere");
    let live = world.directory.path().join("sandboxes/live");
    let gone = async {
        while std::fs::read_dir(&live)
            .unwrap()
            .flatten()
            .any(|entry| !entry.file_name().to_string_lossy().starts_with("discarded-"))
        {
            tokio::task::yield_now().await;
        }
    };
    let left = CANCEL_MAX.saturating_sub(asked.elapsed());
    tokio::time::timeout(left, gone).await.expect("no sandbox lives");
}

fn starts_command(kind: &EventKind, of: Phase) -> bool {
    let EventKind::ItemStarted { item } = kind else { return false };
    matches!(&item.body, ItemBody::Command(run) if run.phase == of)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_checkout_is_quick() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    // A git host that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut task = world.task(&repository, world.model(&[]));
    task.source.repository = format!("http://{}/x.git", silent.local_addr().unwrap());
    cancelled_at(&world, &task, |kind| {
        matches!(kind, EventKind::State { state: State::Preparing { .. }, .. })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_set_up_is_quick() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&[]));
    task.environment.setup = Some("trap '' TERM INT; sleep 1000".into());
    cancelled_at(&world, &task, |kind| starts_command(kind, Phase::Setup)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_a_command_is_quick() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task =
        world.task(&repository, world.model(&["trap '' TERM INT; echo b > a; (sleep 1000 &); sleep 1000"]));
    cancelled_at(&world, &task, |kind| starts_command(kind, Phase::Agent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_checks_is_quick() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["echo b > a"]));
    task.environment.checks.push(crate::world::check("trap '' TERM INT; sleep 1000"));
    cancelled_at(&world, &task, |kind| starts_command(kind, Phase::CheckPatched)).await;
}
