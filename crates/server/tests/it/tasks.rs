use std::collections::BTreeSet;

use futures::StreamExt;
use legwork_domain::{Directive, Outcome, TaskQuery};

use crate::world::{World, batch, end, request};

#[tokio::test]
async fn a_task_is_accepted_shown_and_listed() {
    let world = World::start().await;
    let view = world.create("Fix it\nplease", "a").await;
    assert_eq!(view.task.title, "Fix it");
    let shown = world.client.task(view.task.id).await.unwrap();
    assert_eq!((&shown.task, &shown.attempts, shown.queue.len()), (&view.task, &view.attempts, 1));
    let listed = world.client.tasks(&TaskQuery::default()).await.unwrap();
    assert_eq!(listed.tasks.iter().map(|row| row.id).collect::<Vec<_>>(), [view.task.id]);
    let created = world.http("POST", "/v1/tasks").json(&request("x")).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(world.http("GET", &location).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_key_is_one_task_and_another_body_is_refused() {
    let world = World::start().await;
    let calls = (0..8).map(|_| world.create("x", "key"));
    let views = futures::future::join_all(calls).await;
    assert!(views.iter().all(|view| *view == views[0]));
    let refused = world.client.create_task(&request("y"), "key").await.unwrap_err();
    assert_eq!(refused.code(), Some("idempotency_key_reused"));
    assert!(!refused.is_retryable());
    assert_eq!(world.client.tasks(&TaskQuery::default()).await.unwrap().tasks.len(), 1);
    world.client.delete_task(views[0].task.id).await.unwrap();
    let deleted = world.client.create_task(&request("x"), "key").await.unwrap_err();
    assert_eq!(deleted.code(), Some("task_deleted"));
}

#[tokio::test]
async fn the_list_comes_in_pages() {
    let world = World::start().await;
    let mut made = BTreeSet::new();
    for n in 0..53 {
        made.insert(world.create("x", &n.to_string()).await.task.id);
    }
    let first = world.client.tasks(&TaskQuery::default()).await.unwrap();
    assert_eq!(first.tasks.len(), 50);
    let query = TaskQuery { cursor: first.next, ..TaskQuery::default() };
    let second = world.client.tasks(&query).await.unwrap();
    assert_eq!((second.tasks.len(), second.next), (3, None));
    let listed: Vec<_> = first.tasks.iter().chain(&second.tasks).map(|row| row.id).collect();
    assert_eq!(listed, made.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_queued_task_is_cancelled_at_once() {
    let world = World::start().await;
    let view = world.create("x", "a").await;
    let following = world.client.events(view.attempts[0].attempt.id, 0);
    let cancelled = world.client.cancel(view.task.id).await.unwrap();
    assert_eq!(cancelled.attempts[0].turns[0].state.ended().unwrap().outcome, Outcome::Cancelled);
    assert_eq!(world.client.cancel(view.task.id).await.unwrap(), cancelled);
    assert_eq!(following.count().await, 2);
    assert!(world.lease().await.is_none());
}

#[tokio::test]
async fn a_running_turn_is_asked_to_cancel_until_it_ends() {
    let world = World::start().await;
    let job = world.job("a").await;
    let heartbeat = batch(&job, 0, Vec::new());
    assert_eq!(world.client.append(job.turn.id, &heartbeat).await.unwrap().directives, []);
    world.client.cancel(job.task.id).await.unwrap();
    for _ in 0..2 {
        let accepted = world.client.append(job.turn.id, &heartbeat).await.unwrap();
        assert_eq!(accepted.directives, [Directive::Cancel]);
        assert!(accepted.until > job.lease.until);
    }
    let ended = world.client.finish(job.turn.id, &end(&job, 0, Outcome::Cancelled)).await.unwrap();
    assert_eq!(ended.state.ended().unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_task_may_leave_the_model_to_the_server() {
    let mut asks = request("x");
    asks.model = String::new();
    let world = World::start_with(|config| config.model = Some("mine/default".into())).await;
    let chosen = world.client.create_task(&asks, "a").await.unwrap();
    assert_eq!(chosen.task.request.model, "mine/default");
    let without = World::start().await.client.create_task(&asks, "a").await.unwrap_err();
    assert_eq!(without.code(), Some("no_model"));
}
