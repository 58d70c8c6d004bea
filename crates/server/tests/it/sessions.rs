//! Browsers: links, cookies, and who may make a browser do what.

use legwork_domain::{Actor, LinkMade, Timestamp, UserId};
use legwork_server::{Door, Rate, Rates};
use legwork_store::{Act, Opening, Store};
use reqwest::RequestBuilder;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::World;

async fn link(world: &World) -> String {
    let made: LinkMade =
        world.http("POST", "/v1/links").json(&json!({})).send().await.unwrap().json().await.unwrap();
    let (page, link) = made.url.split_once("/login#").unwrap();
    assert_eq!(page, format!("http://{}", world.address));
    link.to_owned()
}

fn log_in(world: &World, link: &str) -> RequestBuilder {
    world.as_one("POST", "/v1/session", "").json(&json!({"link": link}))
}

/// A browser's cookie, as it sends it.
pub(crate) async fn cookie(world: &World) -> String {
    let answer = log_in(world, &link(world).await).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let header = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(header.ends_with("; HttpOnly; SameSite=Lax"), "{header}");
    header.split(';').next().unwrap().to_owned()
}

pub(crate) fn browse(world: &World, method: &str, path: &str, cookie: &str) -> RequestBuilder {
    world.as_one(method, path, "").header("cookie", cookie)
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_link_opens_one_session() {
    let world = World::start().await;
    let link = link(&world).await;
    let answer = log_in(&world, &link).send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let me = browse(&world, "GET", "/v1/me", &cookie).send().await.unwrap();
    let me: serde_json::Value = me.json().await.unwrap();
    assert_eq!((&me["via"], &me["user"]["name"]), (&json!("session"), &json!("local")));
    let again = log_in(&world, &link).send().await.unwrap();
    assert_eq!(again.status(), 401);
    assert!(again.text().await.unwrap().contains("link_spent"));
    assert_eq!(status(log_in(&world, "lwl_nonsense")).await, 401);
    let actions: Vec<_> =
        world.client.audit(None).await.unwrap().entries.into_iter().map(|e| e.action).collect();
    assert_eq!(actions, ["session.open", "link.create"]);
}

#[tokio::test]
async fn a_browser_changes_something_from_our_own_pages_alone() {
    let world = World::start().await;
    let cookie = cookie(&world).await;
    let ours = format!("http://{}", world.address);
    let post = || browse(&world, "POST", "/v1/users", &cookie);
    for (n, (origin, taken)) in
        [(Some(ours.as_str()), 201), (None, 403), (Some("null"), 403), (Some("http://evil.example"), 403)]
            .into_iter()
            .enumerate()
    {
        let mut request = post().json(&json!({"name": format!("user {n}")}));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(status(request).await, taken, "{origin:?}");
    }
    // A page of another site cannot log anybody in either.
    let foreign = log_in(&world, &link(&world).await).header("origin", "http://evil.example");
    assert_eq!(status(foreign).await, 403);
    // A form of another site can send no JSON.
    let form = post().header("origin", ours).header("content-type", "text/plain").body(r#"{"name":"x"}"#);
    assert_eq!(status(form).await, 415);
}

#[tokio::test]
async fn who_logs_out_is_out() {
    let world = World::start().await;
    let (one, two) = (cookie(&world).await, cookie(&world).await);
    let ours = format!("http://{}", world.address);
    let out = browse(&world, "DELETE", "/v1/session", &one).header("origin", ours).send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(status(browse(&world, "GET", "/v1/me", &one)).await, 401);
    assert_eq!(status(browse(&world, "GET", "/v1/me", &two)).await, 200);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_old_or_its_user_is_shut_out() {
    let world = World::start().await;
    world.client.me().await.unwrap();
    let store = Store::open(&world.data().join("legwork.db")).await.unwrap();
    let user = UserId::from_u128(5);
    let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let act = |user, at| Act { actor: Actor { user, ..Actor::PROCESS }, at };
    store.create_user(user, "anna", &act(UserId::LOCAL, now)).await.unwrap();
    let day_ms = 24 * 60 * 60 * 1000;
    for (secret, opened, ends, taken) in [
        ("fresh", now, now.plus_ms(day_ms), 200),
        ("idle", now.plus_ms(-day_ms), now.plus_ms(day_ms), 401),
        ("old", now, now, 401),
    ] {
        let digest = hex::encode(Sha256::digest(secret));
        store.open_session(Opening { digest: &digest, expires_at: ends }, &act(user, opened)).await.unwrap();
        assert_eq!(
            status(browse(&world, "GET", "/v1/me", &format!("legwork={secret}"))).await,
            taken,
            "{secret}"
        );
    }
    world.client.disable_user(user).await.unwrap();
    assert_eq!(status(browse(&world, "GET", "/v1/me", "legwork=fresh")).await, 401);
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused_before_all_else() {
    let world = World::start().await;
    for (host, taken) in [("127.0.0.1:1", 200), ("localhost", 200), ("rebound.evil.example", 421)] {
        assert_eq!(status(world.http("GET", "/v1/tasks").header("host", host)).await, taken, "{host}");
        assert_eq!(status(world.as_one("GET", "/v1/health", "").header("host", host)).await, taken, "{host}");
    }
    let door = Door { hosts: vec!["legwork.lan".into()], ..Door::default() };
    let world = World::start_with(|config| config.door = door).await;
    assert_eq!(status(world.http("GET", "/v1/tasks").header("host", "legwork.lan:80")).await, 200);
}

#[tokio::test]
async fn who_tries_tokens_is_slowed_down() {
    let few = Rate { burst: 3.try_into().unwrap(), per_second: 1.try_into().unwrap() };
    let rates = Rates { strangers: few, ..Rates::default() };
    let world = World::start_with(|config| config.door.rates = rates).await;
    for _ in 0..3 {
        assert_eq!(status(world.as_one("GET", "/v1/tasks", "lw_guess")).await, 401);
    }
    let answer = world.as_one("GET", "/v1/tasks", "lw_guess").send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(status(log_in(&world, "lwl_guess")).await, 429);
    // What opens is looked at first: whoever has it comes in past those who guess.
    let link = world.client.create_link(&legwork_domain::LinkDraft { user: None }).await.unwrap();
    let secret = link.url.split('#').nth(1).unwrap();
    assert_eq!(status(log_in(&world, secret)).await, 204);
    assert_eq!(status(world.as_one("GET", "/login", "")).await, 200);
    // Who has a token is none of them, and health is for all.
    world.client.tasks(&legwork_domain::TaskQuery::default()).await.unwrap();
    assert_eq!(status(world.as_one("GET", "/v1/health", "")).await, 200);
}

#[tokio::test]
async fn strangers_behind_a_trusted_proxy_are_told_apart() {
    let few = Rate { burst: 2.try_into().unwrap(), per_second: 1.try_into().unwrap() };
    let rates = Rates { strangers: few, ..Rates::default() };
    for (trusted_proxies, other) in [(vec!["127.0.0.0/8".parse().unwrap()], 401), (Vec::new(), 429)] {
        let world = World::start_with(|config| {
            config.door.rates = rates;
            config.door.trusted_proxies = trusted_proxies;
        })
        .await;
        let from = |address: &str| {
            let call = world.as_one("GET", "/v1/tasks", "lw_guess");
            status(call.header("x-forwarded-for", format!("203.0.113.9, {address}")))
        };
        for taken in [401, 401, 429] {
            assert_eq!(from("192.0.2.1").await, taken);
        }
        assert_eq!(from("192.0.2.2").await, other);
    }
}

#[tokio::test]
async fn a_browser_that_nobody_is_logged_in_with_is_shown_the_way() {
    let world = World::start().await;
    let visit = |path: &str, accept: &str| {
        let call = world.as_one("GET", path, "").header("accept", accept.to_owned());
        async move { call.send().await.unwrap() }
    };
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    for path in ["/", "/docs", "/nowhere"] {
        let page = visit(path, html).await;
        assert_eq!((page.status().as_u16(), page.url().path()), (200, "/login"), "{path}");
        assert!(page.text().await.unwrap().contains("Legwork"));
    }
    // Programs, and the API in a browser's address bar, get a problem.
    for (path, accept) in [("/", "*/*"), ("/", "application/json"), ("/v1/tasks", html)] {
        let problem = visit(path, accept).await;
        assert_eq!(problem.status(), 401, "{path} {accept}");
        assert_eq!(problem.headers()["content-type"], "application/problem+json");
    }
    let home = world.http("GET", "/").header("accept", html).send().await.unwrap();
    assert_eq!((home.status().as_u16(), home.url().path()), (200, "/docs"));
}

#[tokio::test]
async fn the_page_that_logs_in_is_there_for_strangers() {
    let world = World::start().await;
    let page = world.as_one("GET", "/login", "").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(page.text().await.unwrap().contains("location.hash"));
}
