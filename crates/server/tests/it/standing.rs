//! Streams that are open when what their reader may is taken away.

use std::time::Duration;

use legwork_domain::{Role, Scope, TokenDraft, TokenMade, UserDraft, UserId};
use reqwest::Response;

use crate::world::World;

/// Far above the second or two that it takes, and far below never.
const LONG: Duration = Duration::from_secs(20);

async fn reader(world: &World) -> (UserId, TokenMade) {
    let user = world.client.create_user(&UserDraft { name: "anna".into() }).await.unwrap().id;
    world.client.grant(user, None, Role::Viewer).await.unwrap();
    let scope = Scope::User { role: Role::Owner, repository: None };
    let draft = TokenDraft { name: "laptop".into(), scope, user: Some(user), expires_at: None };
    (user, world.client.create_token(&draft).await.unwrap())
}

/// A log that does not end, and the list.
async fn streams(world: &World, token: &TokenMade) -> [Response; 2] {
    let attempt = world.create("x", "key").await.attempts[0].attempt.id;
    let open = async |path: String| {
        let mut answer = world.as_one("GET", &path, &token.secret).send().await.unwrap();
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
