//! Streams that are open when what their reader may is taken away.

use std::time::Duration;

use legwork_domain::{Role, Scope, TokenDraft, TokenMade, Trust, UserDraft, UserId};
use reqwest::{RequestBuilder, Response};

use crate::sessions::{browse, cookie};
use crate::world::{World, asks};

/// Far above the second or two that it takes, and far below never.
const LONG: Duration = Duration::from_secs(20);

async fn reader(world: &World) -> (UserId, TokenMade) {
    let user = world.client.create_user(&UserDraft { name: "anna".into() }).await.unwrap().id;
    world.client.grant(user, None, Role::Viewer).await.unwrap();
    let scope = Scope::User { role: Role::Owner, repository: None };
    let draft =
        TokenDraft { name: "laptop".into(), scope, user: Some(user), expires_at: None, trust: Trust::Member };
    (user, world.client.create_token(&draft).await.unwrap())
}

/// A log that does not end, and the list.
async fn streams(world: &World, token: &TokenMade) -> [Response; 2] {
    streams_of(world, |path| world.as_one("GET", path, &token.secret)).await
}

async fn streams_of(world: &World, asks: impl Fn(&str) -> RequestBuilder) -> [Response; 2] {
    let attempt = world.create("x", "key").await.attempts[0].attempt.id;
    let open = async |path: String| {
        let mut answer = asks(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        // It has begun.
        answer.chunk().await.unwrap().unwrap();
        answer
    };
    [open(format!("/v1/attempts/{attempt}/events")).await, open("/v1/changes?after=0".into()).await]
}

async fn end(streams: [Response; 2]) {
    for mut stream in streams {
        let url = stream.url().clone();
        let read = async { while stream.chunk().await.unwrap().is_some() {} };
        assert!(tokio::time::timeout(LONG, read).await.is_ok(), "{url} is still open");
    }
}

#[tokio::test]
async fn a_revoked_token_closes_them() {
    let world = World::start().await;
    let (_, token) = reader(&world).await;
    let open = streams(&world, &token).await;
    world.client.revoke_token(token.token.id).await.unwrap();
    end(open).await;
}

#[tokio::test]
async fn a_disabled_user_reads_on_in_none() {
    let world = World::start().await;
    let (user, token) = reader(&world).await;
    let open = streams(&world, &token).await;
    world.client.disable_user(user).await.unwrap();
    end(open).await;
}

#[tokio::test]
async fn a_grant_that_was_taken_closes_them() {
    let world = World::start().await;
    let (user, token) = reader(&world).await;
    let open = streams(&world, &token).await;
    world.client.ungrant(user, None).await.unwrap();
    end(open).await;
}

#[tokio::test]
async fn what_another_loses_leaves_them_open() {
    let world = World::start().await;
    let (_, token) = reader(&world).await;
    let [mut log, _] = streams(&world, &token).await;
    let bob = world.client.create_user(&UserDraft { name: "bob".into() }).await.unwrap().id;
    world.client.disable_user(bob).await.unwrap();
    let read = async { while log.chunk().await.unwrap().is_some() {} };
    assert!(tokio::time::timeout(Duration::from_secs(3), read).await.is_err());
}

#[tokio::test]
async fn a_browser_that_logs_out_closes_its_own() {
    let world = World::start().await;
    let (leaves, stays) = (cookie(&world).await, cookie(&world).await);
    let open = streams_of(&world, |path| browse(&world, "GET", path, &leaves)).await;
    let path = format!("/v1/attempts/{}/events", world.create("x", "other").await.attempts[0].attempt.id);
    let mut other = browse(&world, "GET", &path, &stays).send().await.unwrap();
    let origin = format!("http://{}", world.address);
    let left =
        browse(&world, "DELETE", "/v1/session", &leaves).header("origin", origin).send().await.unwrap();
    assert_eq!(left.status(), 204);
    end(open).await;
    let read = async { while other.chunk().await.unwrap().is_some() {} };
    assert!(tokio::time::timeout(Duration::from_secs(3), read).await.is_err(), "that of another browser");
}

#[tokio::test]
async fn a_worker_whose_token_is_revoked_waits_in_vain() {
    let world = World::start().await;
    let draft = TokenDraft {
        name: "rack".into(),
        scope: Scope::Worker,
        user: None,
        expires_at: None,
        trust: Trust::Member,
    };
    let token = world.client.create_token(&draft).await.unwrap();
    let body = serde_json::to_value(asks(30_000, None)).unwrap();
    let waiting = world.as_one("POST", "/v1/leases", &token.secret).json(&body).send();
    let revoked = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.client.revoke_token(token.token.id).await.unwrap();
        // It would be its own.
        world.create("x", "late").await;
    };
    let (answer, ()) = tokio::time::timeout(LONG, async { tokio::join!(waiting, revoked) }).await.unwrap();
    assert_eq!(answer.unwrap().status(), 401);
}
