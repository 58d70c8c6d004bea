use futures::StreamExt as _;
use legwork_domain::{
    BlobId, Context, ContextChange, EventKind, Finish, ForkDraft, Outcome, Retry, RetryFrom, Role, Scope,
    State, TaskChange, TaskQuery, Timestamp, TokenDraft, Trust, UserDraft,
};
use serde_json::json;
use std::time::Duration;

use crate::world::{World, asks, end, tell};

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
    let delete = world.http("DELETE", &path).header("if-match", tag).send().await.unwrap();
    assert_eq!(delete.status(), 412);
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
        trust: Trust::Member,
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

/// Whether a blob is on the disk.
fn on_disk(world: &World, blob: &BlobId) -> bool {
    world.data().join("blobs").join(&blob.as_str()[..2]).join(blob.as_str()).exists()
}

#[tokio::test]
async fn a_stream_of_a_task_that_is_deleted_stops_and_does_not_come_back() {
    let world = World::start().await;
    let job = world.job("a").await;
    let path = format!("/v1/attempts/{}/events", job.attempt.id);
    let mut stream = world.http("GET", &path).send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    world.client.delete_task(job.task.id).await.unwrap();
    // The turn is still its worker's, which has not heard of it.
    let rest = tokio::time::timeout(Duration::from_secs(10), stream.collect::<Vec<_>>()).await.unwrap();
    let rest: Vec<u8> = rest.into_iter().flat_map(|bytes| bytes.unwrap()).collect();
    assert!(!String::from_utf8(rest).unwrap().contains("event: end"));
    assert_eq!(world.http("GET", &path).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_a_deleted_task_held_leaves_the_disk_and_a_fork_of_it_stays_whole() {
    let world = World::start_with(|config| config.deleted_kept = Duration::ZERO).await;
    let image = world.client.put_blob("an image of both".into()).await.unwrap();
    let report = world.client.put_blob("a report of one".into()).await.unwrap();
    let job = world.job("a").await;
    let (turn, attempt) = (job.turn.id, job.attempt.id);
    let context = Context { change: ContextChange::Append, entries: vec![json!("said")] };
    let events = vec![
        tell(EventKind::Base {
            turn,
            commit: "c".into(),
            tree: "t".into(),
            name: None,
            image: None,
            repositories: Vec::new(),
        }),
        tell(EventKind::Context { turn, context }),
        tell(EventKind::Snapshot { turn, layers: vec!["/l".into()], live: None, saved: None }),
        tell(EventKind::Artifact { turn, name: "report".into(), blob: report.clone() }),
    ];
    let finish = Finish { events, blobs: vec![report.clone()], ..end(&job, 0, Outcome::NoChange) };
    world.client.finish(turn, &finish).await.unwrap();
    let draft = ForkDraft { turn: 1, input: "On".into(), images: vec![image.clone()] };
    let fork = world.client.fork(attempt, &draft, "f").await.unwrap();
    assert!(on_disk(&world, &image) && on_disk(&world, &report));

    world.client.delete_task(job.task.id).await.unwrap();
    let store = legwork_store::Store::open(&world.data().join("legwork.db")).await.unwrap();
    // A week later, when an upload alone keeps nothing any more.
    let later = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond()).plus_ms(8 * 24 * 3_600_000);
    while store.end_uploads(later).await.unwrap() == legwork_store::Step::More {}
    store.close().await;
    let world = world.restart().await;
    let gone = async {
        while on_disk(&world, &report) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the file of the report is still there");
    assert!(on_disk(&world, &image));
    assert_eq!(world.client.blob(&image).await.unwrap(), "an image of both");
    let leased = world.client.lease(&asks(0, Some(fork.task.id))).await.unwrap().unwrap();
    assert_eq!(leased.turn.images, [image]);
    let resumed = serde_json::to_value(&leased).unwrap().to_string();
    assert!(resumed.contains("said") && resumed.contains("/l"), "{resumed}");
}
