//! State changes told to receivers that take them, fail, stall, redirect or leave.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use legwork_client::Error;
use legwork_domain::{
    Actor, DeliveryList, DeliveryState, Outcome, RepositoryDraft, Role, Scope, Timestamp, TokenDraft, Trust,
    UserDraft, WEBHOOK_OVERLAP_MS_MAX, Webhook, WebhookCreated, WebhookId, WebhookRotation,
};
use legwork_store::{Act, EARLIER_SECRETS_MAX, Store};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::receiver::{Call, Mood, Receiver};
use crate::world::{World, end};

async fn hook(world: &World, receiver: &Receiver, topics: &[&str]) -> WebhookCreated {
    let request = world.http("POST", "/v1/webhooks").json(&json!({ "url": receiver.url, "topics": topics }));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

async fn deliveries(world: &World, hook: &Webhook) -> DeliveryList {
    world
        .http("GET", &format!("/v1/webhooks/{}/deliveries", hook.id))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// The newest delivery once it is so; its receipt is written after the receiver was heard.
async fn until(world: &World, hook: &Webhook, state: DeliveryState, tries: u32) -> legwork_domain::Delivery {
    let settled = async {
        loop {
            let newest = deliveries(world, hook).await.deliveries.swap_remove(0);
            if newest.state == state && newest.tries == tries && newest.last_at.is_some() {
                return newest;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap()
}

fn signature(secret: &str, call: &Call) -> String {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    hmac.update(format!("{}.{}.{}", call.id, call.timestamp, call.body).as_bytes());
    format!("v1,{}", BASE64.encode(hmac.finalize().into_bytes()))
}

/// The files of the database that hold a text.
fn files_with(world: &World, text: &str) -> Vec<String> {
    let files = std::fs::read_dir(world.data()).unwrap().map(|file| file.unwrap().path());
    let holds = |path: &std::path::PathBuf| {
        path.is_file() && std::fs::read(path).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
    };
    files.filter(holds).map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn each_state_change_is_told_once_and_signed() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Takes).await;
    let made = hook(&world, &receiver, &[]).await;
    let job = world.job("a").await;
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::NoChange)).await.unwrap();
    let calls = receiver.calls(3).await;
    let bodies: Vec<Value> = calls.iter().map(Call::json).collect();
    let topics: Vec<&str> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
    assert_eq!(topics, ["task.created", "turn.started", "turn.finished"]);
    let task = job.task.id.to_string();
    assert_eq!(
        bodies[0]["data"],
        json!({ "task": task, "title": "x", "state": "queued", "links": { "task": format!("/v1/tasks/{task}") } })
    );
    assert_eq!(bodies[2]["data"]["outcome"], "no_change");
    assert_eq!(bodies[2]["data"]["turn"], job.turn.id.to_string());
    for call in &calls {
        assert_eq!(call.signature, signature(&made.secret, call));
    }
    assert_eq!(files_with(&world, &made.secret), [""; 0]);
    until(&world, &made.webhook, DeliveryState::Delivered, 1).await;
    let log = deliveries(&world, &made.webhook).await.deliveries;
    assert_eq!(
        log.iter().rev().map(|delivery| delivery.id.to_string()).collect::<Vec<_>>(),
        calls.iter().map(|call| call.id.clone()).collect::<Vec<_>>()
    );
    // Shown once: no later answer has it.
    let shown = world
        .http("GET", &format!("/v1/webhooks/{}", made.webhook.id))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!shown.contains("whsec_") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_under_its_id_also_after_a_restart() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Answers(500)).await;
    let made = hook(&world, &receiver, &["task.created"]).await;
    world.create("x", "a").await;
    let failed = until(&world, &made.webhook, DeliveryState::Pending, 1).await;
    assert_eq!((failed.last_status, failed.due_at > failed.last_at), (Some(500), true));
    receiver.becomes(Mood::Takes);
    let world = world.restart().await;
    let calls = receiver.calls(2).await;
    assert_eq!((&calls[0].id, &calls[0].body), (&calls[1].id, &calls[1].body));
    until(&world, &made.webhook, DeliveryState::Delivered, 2).await;
}

#[tokio::test]
async fn a_stalled_receiver_holds_up_nobody_and_a_restart_sends_again() {
    let world = World::start().await;
    let (stalls, takes) = (Receiver::start(Mood::Stalls).await, Receiver::start(Mood::Takes).await);
    let stalled = hook(&world, &stalls, &[]).await;
    hook(&world, &takes, &[]).await;
    let job = world.job("a").await;
    takes.calls(2).await;
    assert_eq!(stalls.calls(1).await.len(), 1, "one at a time");
    stalls.becomes(Mood::Takes);
    // The server dies in the middle of the try.
    let world = world.restart().await;
    let calls = stalls.calls(3).await;
    assert_eq!(calls.iter().filter(|call| call.id == calls[0].id).count(), 2);
    until(&world, &stalled.webhook, DeliveryState::Delivered, 1).await;
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::NoChange)).await.unwrap();
    takes.calls(3).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::start().await;
    let elsewhere = Receiver::start(Mood::Takes).await;
    let receiver = Receiver::start(Mood::Redirects(elsewhere.url.clone())).await;
    let made = hook(&world, &receiver, &["task.created"]).await;
    world.create("x", "a").await;
    let failed = until(&world, &made.webhook, DeliveryState::Pending, 1).await;
    assert_eq!(failed.last_status, Some(302));
    assert!(failed.last_error.unwrap().contains("redirects are not followed"));
    assert_eq!(elsewhere.so_far(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_somebody_says_otherwise() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Answers(410)).await;
    let made = hook(&world, &receiver, &["task.created"]).await;
    world.create("x", "a").await;
    let given_up = until(&world, &made.webhook, DeliveryState::GivenUp, 1).await;
    let path = format!("/v1/webhooks/{}", made.webhook.id);
    let shown: Webhook = world.http("GET", &path).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown.disabled_because.as_deref(), Some("The receiver answered 410 Gone."));
    // Not told, and not written down to be told.
    world.create("x", "b").await;
    assert_eq!(deliveries(&world, &made.webhook).await.deliveries.len(), 1);
    let replay = format!("/v1/deliveries/{}/replay", given_up.id);
    assert_eq!(world.http("POST", &replay).send().await.unwrap().status(), 409);
    receiver.becomes(Mood::Takes);
    let enabled = world.http("PATCH", &path).json(&json!({ "enabled": true })).send().await.unwrap();
    assert_eq!(enabled.json::<Webhook>().await.unwrap().disabled_at, None);
    assert_eq!(world.http("POST", &replay).send().await.unwrap().status(), 200);
    let calls = receiver.calls(2).await;
    assert_eq!(calls[0].id, calls[1].id);
    until(&world, &made.webhook, DeliveryState::Delivered, 1).await;
    assert_eq!(world.http("DELETE", &path).send().await.unwrap().status(), 204);
    assert_eq!(world.http("GET", &path).send().await.unwrap().status(), 404);
    assert_eq!(world.http("POST", &replay).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn hooks_into_the_house_and_odd_urls_are_refused() {
    let world = World::start().await;
    for url in ["ftp://h/", "https://u:p@h/", "nowhere", "https://h/#part"] {
        let answer = world.http("POST", "/v1/webhooks").json(&json!({ "url": url })).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{url}");
    }
    let made = world.http("POST", "/v1/webhooks").json(&json!({ "url": "http://[::1]:1/" }));
    let made: WebhookCreated = made.send().await.unwrap().json().await.unwrap();
    world.create("x", "a").await;
    let refused = until(&world, &made.webhook, DeliveryState::Pending, 1).await;
    assert!(refused.last_error.unwrap().contains("private network"));
}

#[tokio::test]
async fn a_webhook_hears_what_its_owner_sees_and_no_more() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Answers(500)).await;
    let owner = &world.client;
    let seen = owner.create_repository(&RepositoryDraft { url: "/r".into() }).await.unwrap().id;
    let user = owner.create_user(&UserDraft { name: "u".into() }).await.unwrap().id;
    owner.grant(user, Some(seen), Role::Runner).await.unwrap();
    let scope = Scope::User { role: Role::Runner, repository: None };
    let draft =
        TokenDraft { name: "t".into(), scope, user: Some(user), expires_at: None, trust: Trust::Member };
    let token = owner.create_token(&draft).await.unwrap().secret;
    let request = world.as_one("POST", "/v1/webhooks", &token).json(&json!({ "url": receiver.url }));
    let made: WebhookCreated = request.send().await.unwrap().json().await.unwrap();
    let mut hidden = crate::world::request("x");
    hidden.source.repository = "/hidden".into();
    owner.create_task(&hidden, "a").await.unwrap();
    let told = world.create("x", "b").await.task.id;
    let failed = until(&world, &made.webhook, DeliveryState::Pending, 1).await;
    assert_eq!((deliveries(&world, &made.webhook).await.deliveries.len(), failed.task), (1, told));
    // What is on its way is not sent to somebody who may no longer see it.
    owner.ungrant(user, Some(seen)).await.unwrap();
    world.http("POST", &format!("/v1/deliveries/{}/replay", failed.id)).send().await.unwrap();
    let kept = until(&world, &made.webhook, DeliveryState::GivenUp, 1).await;
    assert!(kept.last_error.unwrap().contains("may not see"));
    assert_eq!(receiver.so_far(), 1);
}

#[tokio::test]
async fn for_an_overlap_deliveries_are_signed_by_the_secret_before_too() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Takes).await;
    let made = hook(&world, &receiver, &["task.created"]).await;
    let id = made.webhook.id;
    let rotate = async |overlap_ms| world.client.rotate_webhook(id, WebhookRotation { overlap_ms }).await;
    let second = rotate(3_600_000).await.unwrap();
    assert!(second.webhook.overlap_until > Some(second.webhook.created_at));
    world.create("x", "a").await;
    let call = receiver.calls(1).await.swap_remove(0);
    let both = [signature(&second.secret, &call), signature(&made.secret, &call)].join(" ");
    assert_eq!(call.signature, both);
    // An overlap that is over, without anybody's doing.
    let third = rotate(1).await.unwrap();
    world.create("x", "b").await;
    let call = receiver.calls(2).await.swap_remove(1);
    assert_eq!(call.signature, [signature(&third.secret, &call), signature(&made.secret, &call)].join(" "));
    // One that leaked.
    let last = rotate(0).await.unwrap();
    world.create("x", "c").await;
    let call = receiver.calls(3).await.swap_remove(2);
    assert_eq!(call.signature, signature(&last.secret, &call));
    for secret in [&made.secret, &second.secret, &third.secret, &last.secret] {
        assert_eq!(files_with(&world, secret), [""; 0]);
    }
}

#[tokio::test]
async fn secrets_that_sign_are_few_and_overlaps_are_short() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Takes).await;
    let id = hook(&world, &receiver, &[]).await.webhook.id;
    let rotate = async |overlap_ms| world.client.rotate_webhook(id, WebhookRotation { overlap_ms }).await;
    for _ in 0..EARLIER_SECRETS_MAX {
        rotate(WEBHOOK_OVERLAP_MS_MAX).await.unwrap();
    }
    let code = |refused| match refused {
        Err(Error::Refused { problem, .. }) => (problem.status, problem.code.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(rotate(1000).await), (409, "secrets_overlap".into()));
    assert_eq!(code(rotate(WEBHOOK_OVERLAP_MS_MAX + 1).await).0, 422);
    rotate(0).await.unwrap();
    rotate(1000).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_was_kept_in_plain_is_sealed_at_the_start() {
    let world = World::start().await;
    let receiver = Receiver::start(Mood::Takes).await;
    let plain = "whsec_cGxhaW4tcGxhaW4tcGxhaW4tcGxhaW4tcGxhaW4=";
    let at = Timestamp::from_micros(1);
    let webhook = Webhook {
        id: WebhookId::from_u128(7),
        owner: world.client.me().await.unwrap().user.id,
        url: receiver.url.clone(),
        topics: Vec::new(),
        repository: None,
        created_at: at,
        disabled_at: None,
        disabled_because: None,
        overlap_until: None,
    };
    let store = Store::open(&world.data().join("legwork.db")).await.unwrap();
    store.create_webhook(&webhook, plain, &Act { actor: Actor::PROCESS, at }).await.unwrap();
    store.close().await;
    assert_ne!(files_with(&world, plain), [""; 0], "it is to be found in plain");
    let world = world.restart().await;
    world.create("x", "a").await;
    let call = receiver.calls(1).await.swap_remove(0);
    assert_eq!(call.signature, signature(plain, &call));
    let world = world.restart().await;
    world.client.me().await.unwrap();
    assert_eq!(files_with(&world, plain), [""; 0]);
}
