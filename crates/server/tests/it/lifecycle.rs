use legwork_domain::{
    Outcome, Retry, RetryFrom, Role, Scope, State, TaskChange, TaskQuery, TokenDraft, UserDraft,
};
use serde_json::json;
use std::time::Duration;

use crate::world::{World, end};

#[tokio::test]
async fn a_change_is_made_from_the_version_that_was_seen() {
    let world = World::start().await;
    let task = world.create("Fix it", "a").await.task;
    let path = format!("/v1/tasks/{}", task.id);
    let tag = world.http("GET", &path).send().await.unwrap().headers()["etag"].clone();
    let change = async |tag: &str, body: serde_json::Value| {
        let call = world.http("PATCH", &path).header("if-match", tag).json(&body);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("etag").cloned())
    };
    let (status, next) = change(tag.to_str().unwrap(), json!({"title": "Mend it"})).await;
    assert_eq!((status, next.is_some_and(|next| next != tag)), (200, true));
    assert_eq!(change(tag.to_str().unwrap(), json!({"archived": true})).await.0, 412);
    assert_eq!(change("*", json!({"archived": true})).await.0, 200);
    assert_eq!(change("*", json!({"title": " "})).await.0, 422);
    let refused = world.client.change_task(task.id, &TaskChange::default(), Some(1)).await.unwrap_err();
    assert_eq!(refused.code(), Some("other_version"));
    let shown = world.client.task(task.id).await.unwrap().task;
    assert_eq!((shown.title.as_str(), shown.archived_at.is_some()), ("Mend it", true));
    assert_eq!(world.client.tasks(&TaskQuery::default()).await.unwrap().tasks, []);
}

#[tokio::test]
async fn a_deleted_task_is_gone_for_everybody_and_later_for_good() {
    let world = World::start_with(|config| config.deleted_kept = Duration::ZERO).await;
    let job = world.job("a").await;
    let (task, attempt) = (job.task.id, job.attempt.id);
    let path = format!("/v1/tasks/{task}");
    // Who may hand tasks over and stop them may not delete them.
    let repository = world.client.repositories(None).await.unwrap().repositories[0].id;
    let runner = world.client.create_user(&UserDraft { name: "runner".into() }).await.unwrap().id;
    world.client.grant(runner, Some(repository), Role::Runner).await.unwrap();
    let draft = TokenDraft {
        name: "t".into(),
        scope: Scope::User { role: Role::Owner, repository: None },
        user: Some(runner),
        expires_at: None,
    };
    let token = world.client.create_token(&draft).await.unwrap().secret;
    assert_eq!(world.as_one("DELETE", &path, &token).send().await.unwrap().status(), 403);
    world.client.delete_task(task).await.unwrap();
    for path in [path.clone(), format!("/v1/attempts/{attempt}"), format!("/v1/attempts/{attempt}/events")] {
        assert_eq!(world.http("GET", &path).send().await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(world.client.delete_task(task).await.unwrap_err().code(), Some("not_found"));
    let audit = world.http("GET", "/v1/audit").send().await.unwrap().text().await.unwrap();
    assert!(audit.contains("task.delete") && audit.contains(&task.to_string()));
    // Its worker hears of it, and its end is still taken.
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::Cancelled)).await.unwrap();
    // What it held goes with the first look after a start.
    let world = world.restart().await;
    let store = legwork_store::Store::open(&world.data().join("legwork.db")).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !store.events(attempt, 0, 1).await.unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "its log is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_failed_is_done_again() {
    let world = World::start().await;
    let view = world.create("x", "a").await;
    let attempt = view.attempts[0].attempt.id;
    let left = Retry { from: RetryFrom::Left };
    let open = world.client.retry(attempt, left, "open").await.unwrap_err();
    assert_eq!(open.code(), Some("turn_open"));
    world.client.cancel(view.task.id).await.unwrap();
    let turn = world.client.retry(attempt, left, "b").await.unwrap();
    assert_eq!((turn.number, turn.input.as_str(), &turn.state), (2, "x", &State::Queued));
    assert_eq!(world.client.retry(attempt, left, "b").await.unwrap().id, turn.id);
    assert_eq!(world.lease().await.unwrap().turn.id, turn.id);
}
