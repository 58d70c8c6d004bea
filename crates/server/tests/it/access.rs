//! Users, roles and tokens as their owners see them.

use legwork_client::Client;
use legwork_domain::{
    NewTask, RepositoryDraft, Role, Scope, Steer, TaskQuery, TokenDraft, TokenMade, Trust, UserDraft, UserId,
    Via,
};
use serde_json::{Value, json};

use crate::world::{World, request};

fn draft(scope: Scope) -> TokenDraft {
    TokenDraft { name: "laptop".into(), scope, user: None, expires_at: None, trust: Trust::Member }
}

fn whole(role: Role) -> Scope {
    Scope::User { role, repository: None }
}

/// A new user with a role on everything, and a token of it.
async fn user(world: &World, name: &str, role: Role) -> (UserId, TokenMade, Client) {
    let id = world.client.create_user(&UserDraft { name: name.into() }).await.unwrap().id;
    world.client.grant(id, None, role).await.unwrap();
    let made =
        world.client.create_token(&TokenDraft { user: Some(id), ..draft(whole(Role::Owner)) }).await.unwrap();
    let client = world.client_of(&made.secret);
    (id, made, client)
}

#[tokio::test]
async fn a_user_works_with_its_token_until_it_is_shut_out() {
    let world = World::start().await;
    let (anna, made, client) = user(&world, "anna", Role::Runner).await;
    let me = client.me().await.unwrap();
    assert_eq!((me.user.id, me.via), (anna, Via::Token { token: made.token.id }));
    let view = client.create_task(&request("x"), "key").await.unwrap();
    assert_eq!(view.task.created_by, anna);
    world.client.disable_user(anna).await.unwrap();
    assert_eq!(client.me().await.unwrap_err().code(), Some("unauthorized"));
    world.client.enable_user(anna).await.unwrap();
    client.me().await.unwrap();
    client.revoke_token(made.token.id).await.unwrap();
    assert_eq!(client.me().await.unwrap_err().code(), Some("unauthorized"));
    let seen = world.client.tokens(Some(anna)).await.unwrap().tokens;
    assert!(seen[0].revoked_at.is_some() && seen[0].last_used_at.is_some());
    assert_eq!(world.client.verify_audit().await.unwrap().fault, None);
}

#[tokio::test]
async fn only_an_owner_names_files_of_a_workers_machine_as_models() {
    let world = World::start().await;
    let (_, _, runner) = user(&world, "anna", Role::Maintainer).await;
    let (_, _, owner) = user(&world, "bob", Role::Owner).await;
    let scripted = NewTask { model: "scripted//etc/passwd".into(), ..request("x") };
    assert_eq!(runner.create_task(&scripted, "a").await.unwrap_err().code(), Some("forbidden"));
    assert_eq!(runner.tasks(&TaskQuery::default()).await.unwrap().tasks, []);
    owner.create_task(&scripted, "a").await.unwrap();
}

#[tokio::test]
async fn two_people_may_use_the_same_key() {
    let world = World::start().await;
    let (_, _, anna) = user(&world, "anna", Role::Runner).await;
    let hers = anna.create_task(&request("hers"), "key").await.unwrap();
    let mine = world.create("mine", "key").await;
    assert_ne!(hers.task.id, mine.task.id);
}

#[tokio::test]
async fn nobody_gets_no_token() {
    let world = World::start().await;
    let nobody = Some(UserId::from_u128(7));
    let refused = world.client.create_token(&TokenDraft { user: nobody, ..draft(Scope::Worker) }).await;
    assert_eq!(refused.unwrap_err().code(), Some("not_found"));
}

#[tokio::test]
async fn a_token_makes_none_that_is_stronger() {
    let world = World::start().await;
    let (_, _, anna) = user(&world, "anna", Role::Owner).await;
    let weak = anna.create_token(&draft(whole(Role::Viewer))).await.unwrap();
    let weak_client = world.client_of(&weak.secret);
    for scope in [whole(Role::Runner), whole(Role::Owner), Scope::Worker] {
        let refused = weak_client.create_token(&draft(scope)).await.unwrap_err();
        assert_eq!(refused.code(), Some("forbidden"), "{scope:?}");
    }
    let refused = weak_client.create_task(&request("x"), "k").await.unwrap_err();
    assert_eq!(refused.code(), Some("forbidden"));
    // A weak token that is lost cannot shut its user out, but can end itself.
    let strong = anna.create_token(&draft(whole(Role::Owner))).await.unwrap();
    let refused = weak_client.revoke_token(strong.token.id).await.unwrap_err();
    assert_eq!(refused.code(), Some("forbidden"));
    weak_client.revoke_token(weak.token.id).await.unwrap();
}

#[tokio::test]
async fn a_token_for_one_repository_sees_no_other() {
    let world = World::start().await;
    let (here, there) = (world.create("x", "a").await, {
        let mut task = request("x");
        task.source.repository = "/there".into();
        world.client.create_task(&task, "b").await.unwrap()
    });
    let known = world.client.repositories(None).await.unwrap().repositories;
    let repository = known.iter().find(|known| known.url == "/r").unwrap().id;
    let scope = Scope::User { role: Role::Runner, repository: Some(repository) };
    let client = world.client_of(&world.client.create_token(&draft(scope)).await.unwrap().secret);
    let listed: Vec<_> =
        client.tasks(&TaskQuery::default()).await.unwrap().tasks.iter().map(|row| row.id).collect();
    assert_eq!(listed, [here.task.id]);
    assert_eq!(client.task(there.task.id).await.unwrap_err().code(), Some("not_found"));
    assert_eq!(client.repositories(None).await.unwrap().repositories.len(), 1);
    client.create_task(&request("y"), "c").await.unwrap();
    assert_eq!(client.create_task(&there.task.request, "d").await.unwrap_err().code(), Some("not_found"));
}

#[tokio::test]
async fn a_blob_is_read_by_its_uploader_and_by_those_who_see_its_task() {
    let world = World::start().await;
    let place = world.client.create_repository(&RepositoryDraft { url: "/r".into() }).await.unwrap().id;
    let mut people = Vec::new();
    for name in ["anna", "otto"] {
        let (id, _, client) = user(&world, name, Role::Viewer).await;
        world.client.ungrant(id, None).await.unwrap();
        world.client.grant(id, Some(place), Role::Runner).await.unwrap();
        people.push((id, client));
    }
    let [(_, anna), (otto_id, otto)] = people.try_into().unwrap_or_else(|_| unreachable!());
    let image = anna.put_blob(bytes::Bytes::from_static(b"an image")).await.unwrap();
    anna.blob(&image).await.unwrap();
    assert_eq!(otto.blob(&image).await.unwrap_err().code(), Some("not_found"));
    let mut task = request("look");
    task.images = vec![image.clone()];
    // Nor can he have a model describe it to him.
    assert_eq!(otto.create_task(&task, "k").await.unwrap_err().code(), Some("blob_missing"));
    anna.create_task(&task, "k").await.unwrap();
    otto.blob(&image).await.unwrap();
    world.client.ungrant(otto_id, Some(place)).await.unwrap();
    assert_eq!(otto.blob(&image).await.unwrap_err().code(), Some("not_found"));
}

#[tokio::test]
async fn what_one_person_leaves_lying_has_a_bound() {
    let world = World::start_with(|config| {
        config.user_uploads_bytes_max = 128 * 1024;
        config.user_queue_max = 2;
    })
    .await;
    let (_, made, client) = user(&world, "anna", Role::Runner).await;
    for bytes in ["one", "two"] {
        client.put_blob(bytes.into()).await.unwrap();
    }
    let refused = client.put_blob("three".into()).await.unwrap_err();
    assert_eq!(refused.code(), Some("too_many_uploads"), "{refused}");
    client.put_blob("one".into()).await.unwrap();
    for key in ["a", "b"] {
        client.create_task(&request("x"), key).await.unwrap();
    }
    let body = serde_json::to_string(&request("x")).unwrap();
    let call =
        world.as_one("POST", "/v1/tasks", &made.secret).header("content-type", "application/json").body(body);
    let refused = call.send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"60".parse().unwrap()));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too_many_queued");
    assert!(problem["detail"].as_str().unwrap().contains("Nothing was stored."), "{problem}");
}

#[tokio::test]
async fn what_is_under_way_counts_as_if_it_were_there() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const KIB: usize = 1024;
    let world = World::start_with(|config| config.user_uploads_bytes_max = 128 * KIB as u64).await;
    let (_, made, client) = user(&world, "anna", Role::Runner).await;
    let mut slow = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "PUT /v1/blobs/{} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        "0".repeat(64),
        made.secret,
        100 * KIB
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The server wants the bytes, so it has counted them.
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    let refused = client.put_blob("one".into()).await.unwrap_err();
    assert_eq!(refused.code(), Some("too_many_uploads"), "{refused}");
    drop(slow);
    // Once the server has noticed that nothing comes any more.
    for _ in 0..500 {
        if client.put_blob("one".into()).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("what broke off still counts");
}

#[tokio::test]
async fn what_lies_beside_a_checkout_is_for_those_who_may_run_tasks_there() {
    let world = World::start().await;
    let record = async |url: &str| {
        world.client.create_repository(&RepositoryDraft { url: url.into() }).await.unwrap().id
    };
    let (place, library) = (record("/r").await, record("/library").await);
    let mut people = Vec::new();
    for name in ["anna", "otto"] {
        let (id, _, client) = user(&world, name, Role::Viewer).await;
        world.client.ungrant(id, None).await.unwrap();
        world.client.grant(id, Some(place), Role::Runner).await.unwrap();
        people.push((id, client));
    }
    let [(anna_id, anna), (_, otto)] = people.try_into().unwrap_or_else(|_| unreachable!());
    world.client.grant(anna_id, Some(library), Role::Runner).await.unwrap();
    let recipe = serde_json::json!({"name": "default", "recipe": {"repositories": [{"url": "/library", "path": "lib"}]}});
    let draft = serde_json::from_value(recipe).unwrap();
    world.client.create_environment(place, &draft).await.unwrap();
    let view = anna.create_task(&request("x"), "a").await.unwrap();
    assert_eq!(otto.create_task(&request("x"), "o").await.unwrap_err().code(), Some("not_found"));
    // Nor can he have the agent of her task read it to him.
    let attempt = view.attempts[0].attempt.id;
    let more = legwork_domain::FollowUp::new("Read it to me".into(), Vec::new());
    assert_eq!(otto.follow_up(attempt, &more, "o").await.unwrap_err().code(), Some("not_found"));
    anna.follow_up(attempt, &more, "a2").await.unwrap();
}

#[tokio::test]
async fn an_outsiders_token_makes_outsiders_tasks_and_nothing_that_members_use() {
    let world = World::start().await;
    let (_, _, anna) = user(&world, "anna", Role::Owner).await;
    let bots = TokenDraft { trust: Trust::Outsider, ..draft(whole(Role::Runner)) };
    for wrong in [whole(Role::Maintainer), Scope::Worker] {
        let refused = anna.create_token(&TokenDraft { scope: wrong, ..bots.clone() }).await.unwrap_err();
        assert_eq!(refused.code(), Some("invalid"), "{wrong:?}");
    }
    let made = anna.create_token(&bots).await.unwrap();
    assert_eq!(made.token.trust, Trust::Outsider);
    let bot = world.client_of(&made.secret);
    assert_eq!(
        (bot.me().await.unwrap().trust, anna.me().await.unwrap().trust),
        (Trust::Outsider, Trust::Member)
    );

    let task = bot.create_task(&request("x"), "k").await.unwrap();
    assert_eq!(task.task.request.trust, Trust::Outsider, "the request says nothing of it");
    let more = Steer { text: "and this".into() };
    let refused = bot.steer(task.attempts[0].attempt.id, &more, "s").await.unwrap_err();
    assert_eq!(refused.code(), Some("no_live_turn"));

    // A weaker one for outsiders, and none for members.
    bot.create_token(&TokenDraft { scope: whole(Role::Viewer), ..bots.clone() }).await.unwrap();
    let refused = bot.create_token(&draft(whole(Role::Viewer))).await.unwrap_err();
    assert_eq!(refused.code(), Some("forbidden"));
    let weak = anna.create_token(&draft(whole(Role::Viewer))).await.unwrap();
    assert_eq!(bot.revoke_token(weak.token.id).await.unwrap_err().code(), Some("forbidden"));

    // Its user's own recipes are part of its user's own tasks.
    let repository = world.client.repositories(None).await.unwrap().repositories[0].id;
    let recipes = format!("/v1/repositories/{repository}/environments");
    let own = json!({"name": "own", "audience": "personal"});
    let hers = anna.create_token(&draft(whole(Role::Runner))).await.unwrap().secret;
    let call = async |method, path: &str, body: &Value, token: &str| {
        world.as_one(method, path, token).json(body).send().await.unwrap()
    };
    assert_eq!(call("POST", &recipes, &own, &made.secret).await.status(), 403);
    let kept = call("POST", &recipes, &own, &hers).await.json::<Value>().await.unwrap();
    let recipe = format!("/v1/environments/{}", kept["id"].as_str().unwrap());
    let secret = (format!("{recipe}/secrets/KEY"), json!({"value": "a long value"}));
    assert_eq!(call("PUT", &recipe, &own, &made.secret).await.status(), 403);
    assert_eq!(call("PUT", &secret.0, &secret.1, &made.secret).await.status(), 403);
    assert_eq!(call("DELETE", &recipe, &json!({}), &made.secret).await.status(), 403);
    assert_eq!(call("GET", &recipe, &json!({}), &made.secret).await.status(), 200);
    assert_eq!(call("PUT", &secret.0, &secret.1, &hers).await.status(), 204);
}
