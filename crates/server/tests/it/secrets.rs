//! No registered secret in any event, log, error, artifact or URL: canaries go in by every way and come out by none.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_domain::{
    BlobId, Context, ContextChange, EnvironmentId, EventKind, ItemId, NewEvent, NewTask, Outcome,
    RepositoryDraft, SecretAt, StoredEnvironment, Timestamp,
};
use legwork_server::{Deep, deep_look};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{World, asks, batch, delta, end, request, tell};

/// No other text of the tests is like it.
const CANARY: &str = "canary-\"7f3a\"\n-of the/mine+42";

const NAME: &str = "DEPLOY_TOKEN";

async fn environment(world: &World, recipe: &Value) -> EnvironmentId {
    let repository = world.client.create_repository(&RepositoryDraft { url: "/r".into() }).await.unwrap().id;
    let path = format!("/v1/repositories/{repository}/environments");
    let body = json!({"name": "main", "recipe": recipe});
    let made = world.http("POST", &path).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    made.json::<StoredEnvironment>().await.unwrap().id
}

async fn keep(world: &World, environment: EnvironmentId, name: &str, value: &str) -> u16 {
    let path = format!("/v1/environments/{environment}/secrets/{name}");
    world.http("PUT", &path).json(&json!({"value": value})).send().await.unwrap().status().as_u16()
}

/// Every file below, whole.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The value as any sink could show it.
fn shapes() -> Vec<String> {
    let in_json = serde_json::to_string(CANARY).unwrap();
    vec![
        CANARY.to_owned(),
        in_json[1..in_json.len() - 1].to_owned(),
        STANDARD.encode(CANARY)[..20].to_owned(),
        hex::encode(CANARY),
        "canary-%227f3a".to_owned(),
    ]
}

async fn text(world: &World, path: &str) -> String {
    world.http("GET", path).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_canary_that_goes_in_comes_out_nowhere() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    assert_eq!(keep(&world, environment, NAME, CANARY).await, 204);
    let encoded = STANDARD.encode(format!("user:{CANARY}"));
    let mut task = NewTask { labels: vec![], ..request(&format!("Use {CANARY} and {encoded}")) };
    task.environment.variables.insert("TOKEN".into(), CANARY.into());
    let view = world.client.create_task(&task, "k").await.unwrap();
    assert_eq!(
        view.task.title,
        format!("Use [redacted:{NAME}] and {}", view.task.title.split(" and ").nth(1).unwrap())
    );
    let job = world.client.lease(&crate::world::asks(0, Some(view.task.id))).await.unwrap().unwrap();
    let artifact: BlobId = world.client.put_blob(bytes::Bytes::from_static(b"harmless")).await.unwrap();
    let (turn, item) = (job.turn.id, ItemId::new(1));
    let context = json!({"role": "assistant", "content": [{"text": CANARY}]});
    let events: Vec<NewEvent> = [
        EventKind::ItemUpdated { item, delta: format!("echo {CANARY}") },
        EventKind::Artifact { turn, name: format!("{CANARY}.txt"), blob: artifact },
        EventKind::Context {
            turn,
            context: legwork_domain::Context {
                change: legwork_domain::ContextChange::Append,
                entries: vec![context],
            },
        },
    ]
    .map(tell)
    .into();
    world.append(&job, 0, events).await;
    let mut last = end(&job, 3, Outcome::Failed { reason: legwork_domain::Failure::Internal });
    last.ended.sentence = format!("The command `curl -H {CANARY}` failed: {}", hex::encode(CANARY));
    world.client.finish(turn, &last).await.unwrap();

    let mut shown = text(&world, &format!("/v1/tasks/{}", view.task.id)).await;
    shown += &text(&world, "/v1/tasks").await;
    shown += &text(&world, &format!("/v1/attempts/{}/events", job.attempt.id)).await;
    shown += &text(&world, "/v1/audit").await;
    shown += &text(&world, &format!("/v1/environments/{environment}")).await;
    // Errors quote what came.
    shown += &text(&world, "/v1/nothing/canary-%227f3a%22%0A-of%20the%2Fmine%2B42").await;
    let refused = json!({"prompt": "x", CANARY: 1, "source": {"repository": "/r"}, "model": "a/b"});
    shown += &world.http("POST", "/v1/tasks").json(&refused).send().await.unwrap().text().await.unwrap();
    assert!(shown.matches(&format!("[redacted:{NAME}]")).count() >= 8, "{shown}");
    for shape in shapes() {
        assert!(!shown.contains(&shape), "{shape} is shown in {shown}");
    }
    let world = world.restart().await;
    let disk = bytes_below(&world.data());
    for shape in shapes() {
        assert!(!holds(&disk, &shape), "{shape} is on disk");
    }
    assert!(holds(&disk, &format!("[redacted:{NAME}]")));
}

#[tokio::test]
async fn a_canary_that_is_cut_in_two_passes_in_no_pieces() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    keep(&world, environment, NAME, "a-cut-canary-value").await;
    let job = world.job("a").await;
    world.append(&job, 0, vec![delta("it is a-cut-"), delta("canary")]).await;
    let second = batch(&job, 2, vec![delta("-value, I say"), delta(" twice")]);
    for _ in 0..2 {
        world.client.append(job.turn.id, &second).await.unwrap();
    }
    world.client.finish(job.turn.id, &end(&job, 4, Outcome::NoChange)).await.unwrap();
    let log = text(&world, &format!("/v1/attempts/{}/events", job.attempt.id)).await;
    let lines = log.lines().filter_map(|line| line.strip_prefix("data: "));
    let told: String = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["delta"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(told, format!("it is [redacted:{NAME}], I say twice"));
}

#[tokio::test]
async fn a_blob_that_holds_a_canary_is_refused_wherever_it_stands() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    keep(&world, environment, NAME, CANARY).await;
    let large = "x".repeat(200_000);
    for (bytes, offset) in [
        (format!("{CANARY}{large}"), 0),
        (format!("{large}{CANARY}"), 200_000),
        (format!("{large}{}{large}", hex::encode(CANARY)), 200_000),
    ] {
        let refused = world.client.put_blob(bytes.into()).await.unwrap_err();
        let problem = refused.problem().unwrap();
        assert_eq!(problem.code, "secret_in_blob");
        assert_eq!(problem.secret, Some(SecretAt { name: NAME.to_owned(), offset }));
    }
    // Cut by the chunks of the body.
    let chunks =
        [&large[..], &CANARY[..9], &CANARY[9..]].map(|part| Ok::<_, std::io::Error>(part.to_owned()));
    let digest = hex::encode(Sha256::digest(format!("{large}{CANARY}")));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer = world.http("PUT", &format!("/v1/blobs/{digest}")).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    world.client.put_blob(large.into()).await.unwrap();
    assert!(!holds(&bytes_below(&world.data()), &CANARY[..8]));
}

#[tokio::test]
async fn a_secret_is_looked_for_from_its_first_to_its_last_day() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    let title = async |world: &World, key: &str| world.create("say changing-value now", key).await.task.title;
    assert_eq!(title(&world, "a").await, "say changing-value now");
    keep(&world, environment, NAME, "changing-value").await;
    assert_eq!(title(&world, "b").await, format!("say [redacted:{NAME}] now"));
    let world = world.restart().await;
    assert_eq!(title(&world, "c").await, format!("say [redacted:{NAME}] now"));
    keep(&world, environment, NAME, "another-value").await;
    assert_eq!(title(&world, "d").await, "say changing-value now");
    keep(&world, environment, NAME, "changing-value").await;
    let path = format!("/v1/environments/{environment}");
    assert_eq!(world.http("DELETE", &path).send().await.unwrap().status(), 204);
    assert_eq!(title(&world, "e").await, "say changing-value now");
}

#[tokio::test]
async fn a_server_with_another_key_does_not_start() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    keep(&world, environment, NAME, CANARY).await;
    let (data, world) = (world.data(), world);
    world.shutdown.cancel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = legwork_server::Config::new(data, "token".into());
    config.key = Some(legwork_server::Key::from_text(&"00".repeat(32)).unwrap());
    let refused = legwork_server::serve(listener, config, tokio_util::sync::CancellationToken::new()).await;
    assert!(matches!(refused, Err(legwork_server::Error::Key(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_no_secret_is_refused() {
    let world = World::start().await;
    let environment = environment(&world, &json!({})).await;
    for (name, value, status) in [
        (NAME, "short", 422),
        (NAME, &"x".repeat(8193), 422),
        ("1ST", "long enough", 422),
        ("A-B", "long enough", 422),
        (NAME, "long enough", 204),
    ] {
        assert_eq!(keep(&world, environment, name, value).await, status, "{name} {value}");
    }
    assert_eq!(keep(&world, EnvironmentId::from_u128(1), NAME, "long enough").await, 404);
}

#[tokio::test]
async fn a_task_is_made_from_a_stored_recipe_as_it_is_then() {
    let world = World::start().await;
    let recipe = json!({"setup": "make deps", "variables": {"A": "stored", "B": "stored"}});
    let id = environment(&world, &recipe).await;
    let mut task = request("x");
    task.environment_id = Some(id);
    task.environment.variables.insert("A".into(), "said".into());
    let view = world.client.create_task(&task, "k").await.unwrap();
    let made = &view.task.request.environment;
    assert_eq!(made.setup.as_deref(), Some("make deps"));
    assert_eq!((made.variables["A"].as_str(), made.variables["B"].as_str()), ("said", "stored"));
    // A change is a new version, and only for what comes later.
    let path = format!("/v1/environments/{id}");
    let change = |tag: &'static str| {
        world
            .http("PUT", &path)
            .header("if-match", tag)
            .json(&json!({"name": "main", "recipe": {"setup": "other"}}))
    };
    assert_eq!(change("\"7\"").send().await.unwrap().status(), 412);
    let remove = world.http("DELETE", &path).header("if-match", "\"7\"").send().await.unwrap();
    assert_eq!(remove.status(), 412);
    let changed = change("\"8\", \"1\"").send().await.unwrap();
    assert_eq!((changed.status().as_u16(), changed.headers()["etag"].to_str().unwrap()), (200, "\"2\""));
    assert_eq!(world.client.create_task(&task, "k").await.unwrap(), view);
    let later = world.client.create_task(&task, "later").await.unwrap();
    assert_eq!(later.task.request.environment.setup.as_deref(), Some("other"));
    let first: StoredEnvironment =
        serde_json::from_str(&text(&world, &format!("{path}?version=1")).await).unwrap();
    assert_eq!((first.version, first.recipe.setup.as_deref()), (1, Some("make deps")));
    // It is for its own repository alone, and shows nothing of a host.
    task.source.repository = "/another".into();
    assert_eq!(world.client.create_task(&task, "n").await.unwrap_err().code(), Some("not_found"));
    let mounts = json!({"name": "main", "recipe": {"mounts": [{"host": "/etc", "inside": "/x"}]}});
    assert_eq!(world.http("PUT", &path).json(&mounts).send().await.unwrap().status(), 422);
    assert!(first.changed_at > Timestamp::from_micros(0));
}

/// The log that it stands in was written before anybody knew that it is a secret.
#[tokio::test]
async fn a_secret_that_was_registered_later_is_copied_nowhere() {
    let world = World::start().await;
    let task = world.create(&format!("use {CANARY}"), "a").await.task.id;
    let job = world.client.lease(&asks(0, Some(task))).await.unwrap().unwrap();
    let turn = job.turn.id;
    let entries = vec![json!({"content": CANARY})];
    let context = Context { change: ContextChange::Append, entries };
    let events = vec![
        tell(EventKind::Context { turn, context }),
        tell(EventKind::Snapshot { turn, layers: vec!["/l".into()], live: None, saved: None }),
    ];
    world.append(&job, 0, events).await;
    world.client.finish(turn, &end(&job, 2, Outcome::Cancelled)).await.unwrap();
    let environment = environment(&world, &json!({})).await;
    assert_eq!(keep(&world, environment, NAME, CANARY).await, 204);
    let attempt = job.attempt.id;
    let fork = json!({"turn": 1, "input": "Another way"});
    let fork = world.http("POST", &format!("/v1/attempts/{attempt}/fork")).json(&fork).send().await.unwrap();
    assert_eq!(fork.status(), 201);
    let fork: serde_json::Value = fork.json().await.unwrap();
    let copy = fork["attempts"][0]["id"].as_str().or(fork["attempts"][0]["attempt"]["id"].as_str()).unwrap();
    let retry = world.http("POST", &format!("/v1/attempts/{attempt}/retry")).json(&json!({"from": "left"}));
    let retry = retry.send().await.unwrap();
    assert_eq!(retry.status(), 201);
    let log = text(&world, &format!("/v1/attempts/{copy}/events?follow=false")).await;
    let retried = retry.text().await.unwrap();
    for told in [fork.to_string(), log, retried] {
        assert!(shapes().iter().all(|shape| !told.contains(shape)), "{told}");
        assert!(!told.contains("use ") || told.contains(&format!("[redacted:{NAME}]")), "{told}");
    }
    // The old log has it still, which the deep look says; it needs no more than the key beside the database.
    let deep = Deep { data: world.data(), database: None, secrets: Vec::new(), key: None };
    let found = deep_look(deep).await.unwrap().violations;
    assert!(found.len() == 1 && found[0].to_string().starts_with(&format!("I12 {attempt}")), "{found:?}");
}

#[tokio::test]
async fn a_key_that_does_not_open_a_secret_is_a_finding() {
    let world = World::start().await;
    let id = environment(&world, &json!({})).await;
    assert!((200..300).contains(&keep(&world, id, NAME, CANARY).await));
    let look = |key| deep_look(Deep { data: world.data(), database: None, secrets: Vec::new(), key });
    assert_eq!(look(None).await.unwrap().violations, []);
    let other = legwork_server::Key::from_text(&"ab".repeat(32)).unwrap();
    let findings = look(Some(other)).await.unwrap();
    let [violation] = &findings.violations[..] else { unreachable!("{findings:?}") };
    assert_eq!(violation.subject, id.to_string());
    assert!(violation.detail.contains(NAME) && violation.detail.contains("does not open it"), "{violation}");
    assert!(!violation.detail.contains("canary"), "{violation}");
    std::fs::remove_file(world.data().join("secret.key")).unwrap();
    let without = look(None).await.unwrap().violations;
    assert!(without.len() == 1 && without[0].detail.contains("there is no key"), "{without:?}");
}
