//! Turns that end before their time.

use std::time::Duration;

use futures::StreamExt;
use legwork_domain::{
    Ended, EventBatch, EventKind, Failure, Finish, ItemBody, LeaseRequest, Limit, Limits, Outcome, Phase,
    WorkerId,
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
    let request = LeaseRequest { worker: WorkerId::from_u128(9), wait_ms: 0, task: None, labels: Vec::new() };
    let assignment = world.client.lease(&request).await.unwrap().unwrap();
    let batch =
        EventBatch { epoch: assignment.lease.epoch + 1, first: 0, events: Vec::new(), transition: None };
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
    let finish = Finish { epoch: turn.epoch, first: 0, events: Vec::new(), ended, blobs: Vec::new() };
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
