use std::time::{Duration, Instant};

use legwork_domain::{LeaseId, Outcome, TaskQuery, Timestamp, WorkerId};
use legwork_store::{Claim, QueueRules, Renewal, Store};

use crate::world::{World, asks, batch, delta, end};

/// Far above what a loaded machine takes, far below the waits that are asked for.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_waiting_worker_hears_of_a_new_task_at_once() {
    let world = World::start().await;
    let started = Instant::now();
    for n in 0..10 {
        let asking = asks(30_000, None);
        let waiting = world.client.lease(&asking);
        let (job, view) = tokio::join!(waiting, async {
            // One more call lets the lease call reach its wait.
            world.client.tasks(&TaskQuery::default()).await.unwrap();
            world.create("x", &n.to_string()).await
        });
        assert_eq!(job.unwrap().unwrap().task.id, view.task.id);
    }
    // Without the bell each of the ten waits for the next look, about a second.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_wait_for_nothing_ends_in_time() {
    let world = World::start().await;
    world.create("of no interest", "a").await;
    let other = legwork_domain::TaskId::from_u128(1);
    assert_eq!(world.client.lease(&asks(50, Some(other))).await.unwrap(), None);
}

#[tokio::test]
async fn a_shutdown_ends_waits_and_streams() {
    let world = World::start().await;
    let job = world.job("a").await;
    let stream = world.http("GET", &format!("/v1/attempts/{}/events", job.attempt.id)).send().await.unwrap();
    let client = world.client.clone();
    let waiting = tokio::spawn(async move { client.lease(&asks(30_000, None)).await });
    // A second worker's short wait: after it, the first one's call has arrived.
    assert_eq!(world.client.lease(&asks(20, None)).await.unwrap(), None);
    world.shutdown.cancel();
    let body = tokio::time::timeout(PATIENCE, stream.text()).await.unwrap().unwrap();
    assert!(body.contains("id: 2\n") && !body.contains("event: end"), "{body}");
    // Either it got its answer, or it had not been taken up yet.
    let _ = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, world.ended()).await.unwrap();
}

#[tokio::test]
async fn a_stale_epoch_is_refused() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::NoChange)).await.unwrap();
    let late = world.client.append(job.turn.id, &batch(&job, 0, vec![delta("late")])).await.unwrap_err();
    assert_eq!((late.code(), late.is_retryable()), (Some("stale_epoch"), false));
    let late = world.client.finish(job.turn.id, &end(&job, 0, Outcome::Succeeded)).await.unwrap_err();
    assert_eq!(late.code(), Some("stale_epoch"));
    // The same end again is no late write.
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::NoChange)).await.unwrap();
}

#[tokio::test]
async fn a_dead_workers_turn_is_the_next_ones_at_once_and_no_longer_its_own() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.client.end_leases(WorkerId::from_u128(2)).await.unwrap();
    world.client.append(job.turn.id, &batch(&job, 0, vec![delta("alive")])).await.unwrap();
    for _ in 0..2 {
        world.client.end_leases(job.lease.worker).await.unwrap();
    }
    let late = world.client.append(job.turn.id, &batch(&job, 1, vec![delta("late")])).await.unwrap_err();
    assert_eq!(late.code(), Some("stale_epoch"));
    let next = world.client.lease(&asks(0, None)).await.unwrap().unwrap();
    assert_eq!((next.turn.id, next.lease.epoch), (job.turn.id, 2));
    // And one whose cancel was asked for is over.
    world.client.cancel(job.task.id).await.unwrap();
    world.client.end_leases(next.lease.worker).await.unwrap();
    let turn = world.client.task(job.task.id).await.unwrap().attempts[0].turns[0].clone();
    assert_eq!(turn.state.ended().map(|ended| ended.outcome), Some(Outcome::Cancelled));
}

#[tokio::test]
async fn a_lapsed_lease_goes_to_the_next_worker() {
    let world = World::start_with(|config| config.lease = Duration::from_secs(1)).await;
    let task = world.create("x", "a").await.task.id;
    // Another process on the same database, whose lease lapsed long ago.
    let store = Store::open(&world.data().join("legwork.db")).await.unwrap();
    let term = Renewal { now: Timestamp::from_micros(1), until: Timestamp::from_micros(2) };
    let claim = Claim {
        id: LeaseId::from_u128(1),
        worker: WorkerId::from_u128(9),
        machine: None,
        task: Some(task),
        labels: Vec::new(),
        rules: QueueRules { user_turns_max: None, files_wait_ms: 0 },
        term,
    };
    assert_eq!(store.lease(&claim).await.unwrap().unwrap().lease.epoch, 1);
    let asking = asks(30_000, None);
    let job = tokio::time::timeout(PATIENCE, world.client.lease(&asking)).await.unwrap().unwrap().unwrap();
    assert_eq!((job.task.id, job.lease.epoch), (task, 2));
}

#[tokio::test]
async fn a_restart_strands_no_worker() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.append(&job, 0, vec![delta("before")]).await;
    let queued = world.create("x", "b").await;
    let world = world.restart().await;
    world.append(&job, 1, vec![delta("after")]).await;
    world.client.finish(job.turn.id, &end(&job, 2, Outcome::NoChange)).await.unwrap();
    assert_eq!(world.lease().await.unwrap().task.id, queued.task.id);
    assert_eq!(world.create("x", "b").await.task.id, queued.task.id);
}

#[tokio::test]
async fn a_queued_turn_says_what_it_waits_for() {
    let world = World::start().await;
    let mut request = crate::world::request("x");
    request.labels = vec!["gpu".into()];
    let view = world.client.create_task(&request, "a").await.unwrap();
    assert!(world.lease().await.is_none(), "the worker has no GPU");
    let shown = world.client.task(view.task.id).await.unwrap();
    assert_eq!(shown.queue[0].reason, "no worker has the label gpu");
    let turn = world.client.turn(shown.queue[0].turn).await.unwrap();
    assert_eq!(turn.queue.as_ref(), shown.queue.first());
    let workers = world.client.workers().await.unwrap().workers;
    assert_eq!((workers.len(), workers[0].slots, workers[0].running), (1, 1, 0));
    let mut able = asks(0, None);
    able.labels = vec!["gpu".into(), "arm".into()];
    world.client.lease(&able).await.unwrap().unwrap();
    assert_eq!(world.client.turn(turn.turn.id).await.unwrap().queue, None);
    able.labels = vec!["x".repeat(64)];
    assert_eq!(world.client.lease(&able).await.unwrap_err().code(), Some("invalid"));
}
