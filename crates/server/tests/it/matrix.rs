//! Every endpoint of the description, called by everyone: one table.
//!
//! Each cell is a real call on things that were made for it alone, so no call meets what another left. A route that is
//! new has no row yet, and the test fails until somebody has looked at its row and accepted it.

use std::fmt::Write as _;

use legwork_client::Client;
use legwork_domain::{
    Actor, DeliveryList, Grant, RepositoryDraft, RepositoryId, Role, Scope, TaskView, Timestamp, Token,
    TokenDraft, TokenId, Trust, User, UserDraft, UserId, WebhookCreated,
};
use legwork_store::{Act, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::{World, asks, request};

/// The repository of [`request`].
const REPOSITORY: &str = "/r";

/// Who calls: a name and a token.
struct Callers(Vec<(&'static str, String)>);

/// One call of the description.
struct Operation {
    method: String,
    path: String,
    id: String,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let description = legwork_server::openapi();
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                id: operation["operationId"].as_str().unwrap().to_owned(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    operations
}

fn draft(name: &str, scope: Scope, user: Option<UserId>) -> TokenDraft {
    TokenDraft { name: name.into(), scope, user, expires_at: None, trust: Trust::Member }
}

const WHOLE: Scope = Scope::User { role: Role::Owner, repository: None };

impl Callers {
    async fn of(world: &World) -> Self {
        let owner = &world.client;
        let repository =
            owner.create_repository(&RepositoryDraft { url: REPOSITORY.into() }).await.unwrap().id;
        let elsewhere =
            owner.create_repository(&RepositoryDraft { url: "/elsewhere".into() }).await.unwrap().id;
        let mut callers = vec![("anonymous", String::new())];
        for (name, place, role) in [
            ("other", Some(elsewhere), Role::Owner),
            ("viewer", Some(repository), Role::Viewer),
            ("runner", Some(repository), Role::Runner),
            ("maintainer", Some(repository), Role::Maintainer),
            ("owner", Some(repository), Role::Owner),
            ("owner of all", None, Role::Owner),
        ] {
            let user = owner.create_user(&UserDraft { name: name.into() }).await.unwrap().id;
            owner.grant(user, place, role).await.unwrap();
            callers.push((name, owner.create_token(&draft(name, WHOLE, Some(user))).await.unwrap().secret));
        }
        let revoked = owner.create_token(&draft("revoked", WHOLE, None)).await.unwrap();
        owner.revoke_token(revoked.token.id).await.unwrap();
        callers.push(("revoked", revoked.secret));
        callers.push(("expired", expired(world).await));
        let worker = owner.create_token(&draft("worker", Scope::Worker, None)).await.unwrap();
        callers.push(("worker", worker.secret));
        // Of somebody who may everything.
        let scope = Scope::User { role: Role::Runner, repository: None };
        let outsiders = TokenDraft { trust: Trust::Outsider, ..draft("outsider", scope, None) };
        callers.push(("outsider", owner.create_token(&outsiders).await.unwrap().secret));
        Self(callers)
    }
}

/// The API makes no token that has ended, so it is written beside the server.
async fn expired(world: &World) -> String {
    let store = Store::open(&world.data().join("legwork.db")).await.unwrap();
    let secret = format!("lw_{}", "e".repeat(64));
    let token = Token {
        id: TokenId::from_u128(1),
        user: UserId::LOCAL,
        name: "expired".into(),
        scope: WHOLE,
        trust: Trust::Member,
        created_at: Timestamp::from_micros(1),
        expires_at: Timestamp::from_micros(2),
        revoked_at: None,
        last_used_at: None,
    };
    let act = Act { actor: Actor::PROCESS, at: Timestamp::from_micros(1) };
    store.create_token(&token, &hex::encode(Sha256::digest(&secret)), &act).await.unwrap();
    secret
}

/// What one call is about, made for it.
struct Things<'a> {
    world: &'a World,
    number: usize,
    repository: RepositoryId,
}

impl Things<'_> {
    fn client(&self) -> &Client {
        &self.world.client
    }

    async fn task(&self) -> TaskView {
        self.world.create("x", &format!("{}", self.number)).await
    }

    async fn user(&self) -> User {
        let name = format!("user {}", self.number);
        self.client().create_user(&UserDraft { name }).await.unwrap()
    }

    async fn environment(&self) -> String {
        let path = format!("/v1/repositories/{}/environments", self.repository);
        let body = json!({"name": format!("environment {}", self.number)});
        let made = self.world.http("POST", &path).json(&body).send().await.unwrap();
        made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn blob(&self) -> String {
        let bytes = format!("blob {}", self.number);
        hex::encode(Sha256::digest(bytes))
    }

    async fn webhook(&self) -> String {
        let draft = json!({"url": "http://192.0.2.1/", "repository": self.repository});
        let made = self.world.http("POST", "/v1/webhooks").json(&draft).send().await.unwrap();
        made.json::<WebhookCreated>().await.unwrap().webhook.id.to_string()
    }

    async fn delivery(&self) -> String {
        let webhook = self.webhook().await;
        self.task().await;
        let path = format!("/v1/webhooks/{webhook}/deliveries");
        let listed = self.world.http("GET", &path).send().await.unwrap();
        listed.json::<DeliveryList>().await.unwrap().deliveries[0].id.to_string()
    }

    /// The path with the ids of things that are there.
    async fn path(&self, operation: &Operation) -> String {
        let mut path = operation.path.clone();
        while let Some((before, rest)) = path.clone().split_once('{') {
            let (name, after) = rest.split_once('}').unwrap();
            let id = match name {
                "task" | "spender" => self.task().await.task.id.to_string(),
                "attempt" => self.task().await.attempts[0].attempt.id.to_string(),
                "worker" => legwork_domain::WorkerId::from_u128(1).to_string(),
                "turn" => self.task().await.attempts[0].turns[0].id.to_string(),
                "user" => self.user().await.id.to_string(),
                "token" => {
                    let token = self.client().create_token(&draft("t", WHOLE, None)).await.unwrap();
                    token.token.id.to_string()
                }
                "repository" => self.repository.to_string(),
                "webhook" => self.webhook().await,
                "delivery" => self.delivery().await,
                "environment" => self.environment().await,
                "name" => "SECRET".to_owned(),
                "period" => "total".to_owned(),
                "sha256" => self.blob().await,
                other => panic!("say here what a {other} is"),
            };
            path = format!("{before}{id}{after}");
        }
        match operation.id.as_str() {
            "follow_events" => path + "?follow=false",
            _ => path,
        }
    }

    /// A body that nothing is wrong with.
    fn body(&self, operation: &Operation) -> Value {
        match operation.id.as_str() {
            "create_task" => json!(request("x")),
            "lease_turn" => json!(asks(0, Some(legwork_domain::TaskId::from_u128(1)))),
            "append_events" => json!({"epoch": 9, "first": 0, "events": []}),
            "finish_turn" => {
                let ended = legwork_domain::Ended::nothing(
                    legwork_domain::Outcome::NoChange,
                    "Done.",
                    Timestamp::from_micros(1),
                );
                json!({"epoch": 9, "first": 0, "events": [], "ended": ended})
            }
            "reserve" => json!({"epoch": 9, "tokens": 1}),
            "follow_up" => json!({"input": "x"}),
            "fork" => json!({"turn": 1, "input": "x"}),
            "change_task" => json!({"title": format!("new {}", self.number)}),
            "steer" => json!({"text": "x"}),
            "answer" => json!({"reply": "answer", "item": "item_1", "text": "x"}),
            "set_budget" => json!({"tokens": 5}),
            "create_user" | "create_environment" | "change_environment" => {
                json!({"name": format!("new {}", self.number)})
            }
            "set_user_role" | "set_grant" => json!({"role": "viewer"}),
            "create_token" => json!({"name": "t", "scope": {"for": "user", "role": "viewer"}}),
            "put_secret" => json!({"value": format!("a value {}", self.number)}),
            "create_link" | "retry" | "rotate_webhook" => json!({}),
            "log_in" => json!({"link": "lwl_nonsense"}),
            "create_webhook" => json!({"url": "http://192.0.2.1/"}),
            "change_webhook" => json!({"topics": ["turn.finished"]}),
            "create_repository" => json!({"url": format!("/{}", self.number)}),
            other => panic!("say here what a body of {other} is"),
        }
    }

    async fn call(&self, operation: &Operation, token: &str) -> u16 {
        let path = self.path(operation).await;
        let mut call = self.world.as_one(&operation.method, &path, token);
        match operation.id.as_str() {
            "get_blob" => drop(self.client().put_blob(format!("blob {}", self.number).into()).await.unwrap()),
            "show_budget" => {
                let set = self.world.http("PUT", &path).json(&json!({"tokens": 5})).send().await.unwrap();
                assert_eq!(set.status(), 200);
            }
            "retry" => {
                let attempt = path.split('/').nth(3).unwrap().parse().unwrap();
                let task = self.client().attempt(attempt).await.unwrap().attempt.task;
                self.client().cancel(task).await.unwrap();
            }
            _ => {}
        }
        call = match (operation.id.as_str(), operation.has_body) {
            ("put_blob", _) => call.body(format!("blob {}", self.number)),
            (_, true) => call.json(&self.body(operation)),
            (_, false) => call,
        };
        call.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn who_may_do_what() {
    let world = World::start().await;
    let callers = Callers::of(&world).await;
    let repositories = world.client.repositories(None).await.unwrap().repositories;
    let repository = repositories.iter().find(|known| known.url == REPOSITORY).unwrap().id;
    let mut table = format!("{:64}", "");
    for (name, _) in &callers.0 {
        write!(table, " {name:>12}").unwrap();
    }
    let mut number = 0;
    for operation in operations() {
        write!(table, "\n{:64}", format!("{:6} {}", operation.method, operation.path)).unwrap();
        for (name, token) in &callers.0 {
            number += 1;
            let things = Things { world: &world, number, repository };
            let status = things.call(&operation, token).await;
            assert!(status < 500, "{} by {name}: {status}", operation.id);
            write!(table, " {status:>12}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// Who may not know of a thing hears what it would hear if there were none.
#[tokio::test]
async fn what_is_hidden_looks_like_what_is_not_there() {
    let world = World::start().await;
    let callers = Callers::of(&world).await;
    let other = &callers.0.iter().find(|(name, _)| *name == "other").unwrap().1;
    let task = world.create("x", "a").await;
    let (attempt, id) = (task.attempts[0].attempt.id, task.task.id);
    let repository = world.client.repositories(None).await.unwrap().repositories[1].id;
    for (there, prefix) in [
        (id.to_string(), "/v1/tasks/"),
        (attempt.to_string(), "/v1/attempts/"),
        (repository.to_string(), "/v1/repositories/"),
    ] {
        let tail = if prefix.contains("attempts") { "/events" } else { "" };
        let absent = format!("{}_{}", there.split_once('_').unwrap().0, "7".repeat(26));
        let mut said = Vec::new();
        for id in [&there, &absent] {
            let answer = world.as_one("GET", &format!("{prefix}{id}{tail}"), other).send().await.unwrap();
            assert_eq!(answer.status(), 404);
            said.push(answer.text().await.unwrap().replace(id, "ID"));
        }
        assert_eq!(said[0], said[1]);
    }
    let grants = world.client.grants(repository).await.unwrap().grants;
    assert!(grants.iter().all(|grant: &Grant| grant.repository == Some(repository)));
}

/// A task on a repository that one may not see is refused in the same words whether it is on record or not.
#[tokio::test]
async fn a_strangers_task_tells_nothing_of_repositories() {
    let world = World::start().await;
    let callers = Callers::of(&world).await;
    let other = &callers.0.iter().find(|(name, _)| *name == "other").unwrap().1;
    let mut said = Vec::new();
    for url in [REPOSITORY, "/never-seen"] {
        let mut task = request("x");
        task.source.repository = url.into();
        let answer = world.as_one("POST", "/v1/tasks", other).json(&task).send().await.unwrap();
        said.push((answer.status().as_u16(), answer.text().await.unwrap()));
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0].0, 404);
}
