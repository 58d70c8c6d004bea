//! Users, roles, tokens and the audit log, over both databases.

use legwork_domain::{
    Access, Environment, EnvironmentId, ExtraRepository, Grant, NewTask, RepositoryId, Role, Scope,
    StoredEnvironment, TaskQuery, Timestamp, Token, TokenId, Trust, UserId, Visible,
};
use legwork_store::{Error, Sent, Thing};

use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::world::{World, request};

const ANNA: UserId = UserId::from_u128(71);

async fn anna(world: &World) {
    world.store.create_user(ANNA, "anna", &world.act()).await.unwrap();
}

fn on(url: &str) -> NewTask {
    let mut request = request("x", 1);
    url.clone_into(&mut request.source.repository);
    request
}

pub(crate) async fn a_repository_becomes_known_by_its_first_task(world: World) {
    let mut made = Vec::new();
    for url in ["/one", "/two", "/one"] {
        made.push(world.store.create_task(on(url), world.sent(None), &world.ids(1)).await.unwrap().task.id);
    }
    let all = world.store.repositories(Visible::All, "", 9).await.unwrap();
    assert_eq!(all.iter().map(|known| known.url.as_str()).collect::<Vec<_>>(), ["/one", "/two"]);
    assert_eq!(world.store.repository_of(Thing::Task(made[2])).await.unwrap(), Some(all[0].id));
    let seen =
        world.store.tasks(Visible::One(all[1].id), UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks;
    assert_eq!(seen.iter().map(|row| row.id).collect::<Vec<_>>(), [made[1]]);
    anna(&world).await;
    let granted = Visible::Granted(ANNA);
    assert_eq!(world.store.tasks(granted, UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks, []);
    let grant = Grant { user: ANNA, repository: Some(all[0].id), role: Role::Viewer };
    world.store.grant(grant, &world.act()).await.unwrap();
    assert_eq!(
        world.store.tasks(granted, UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks.len(),
        2
    );
    assert_eq!(world.store.repositories(granted, "", 9).await.unwrap(), [all[0].clone()]);
    assert_eq!(
        world.store.tasks(Visible::Nothing, UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks,
        []
    );
}

/// Earlier versions took a password in a URL. The worker needs it, and nobody sees it.
pub(crate) async fn an_old_login_in_a_url_is_for_the_worker_alone(world: World) {
    let with_password = on("https://me:hunter2@h.example/a");
    let refused = world.store.create_task(with_password, world.sent(None), &world.ids(1)).await;
    let Err(Error::Invalid(refused)) = refused else { unreachable!("a password was taken") };
    assert!(!refused.contains("hunter2"), "{refused}");
    for url in ["https://h.example/a", "https://h.example/b", "https://h.example/c"] {
        world.store.create_task(on(url), world.sent(None), &world.ids(1)).await.unwrap();
    }
    let mut intruder = Intruder::of(&world).await;
    for (table, column) in [
        ("tasks", "repository"),
        ("tasks", "body"),
        ("listings", "repository"),
        ("listings", "listing"),
        ("repositories", "url"),
    ] {
        let login = "https://me:hunter2@h.example/a";
        let sql =
            format!("UPDATE {table} SET {column} = REPLACE({column}, 'https://h.example/a', '{login}')");
        intruder.does(&sql).await;
    }
    let rows = world.list(&TaskQuery::default()).await;
    let view = world.store.task(rows[2].id).await.unwrap();
    let known = world.store.repositories(Visible::All, "", 9).await.unwrap();
    let changes = world.store.changes(Visible::All, UserId::LOCAL, 0).await.unwrap();
    let shown = format!("{rows:?} {view:?} {known:?} {changes:?}");
    assert!(shown.contains("https://h.example/a") && !shown.contains("hunter2"), "{shown}");
    let mut seen = Vec::new();
    let mut after = String::new();
    while let [one] = &world.store.repositories(Visible::All, &after, 1).await.unwrap()[..] {
        after = one.id.to_string();
        seen.push(one.id);
    }
    seen.sort_unstable();
    let mut all: Vec<_> = known.iter().map(|known| known.id).collect();
    all.sort_unstable();
    assert_eq!(seen, all);
    let leased = world.lease().await.unwrap();
    assert_eq!(leased.task.request.source.repository, "https://me:hunter2@h.example/a");
}

pub(crate) async fn a_key_is_its_senders(world: World) {
    anna(&world).await;
    let mine = world.create("x", Some("key")).await.unwrap();
    let mut sent = world.sent(Some("key"));
    sent.act.actor.user = ANNA;
    let hers = world.store.create_task(request("y", 1), sent, &world.ids(1)).await.unwrap();
    assert_ne!(mine.task.id, hers.task.id);
    assert_eq!((mine.task.created_by, hers.task.created_by), (UserId::LOCAL, ANNA));
}

pub(crate) async fn a_name_is_one_users(world: World) {
    anna(&world).await;
    let taken = world.store.create_user(UserId::from_u128(72), "anna", &world.act()).await;
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
    for name in ["", " anna", "an\nna", &"a".repeat(101)] {
        let refused = world.store.create_user(UserId::from_u128(73), name, &world.act()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{name:?}: {refused:?}");
    }
}

pub(crate) async fn the_local_owner_cannot_be_shut_out(world: World) {
    let act = world.act();
    let lost = [
        world.store.set_disabled(UserId::LOCAL, Some(act.at), &act).await.map(drop),
        world.store.ungrant(UserId::LOCAL, None, &act).await,
        world.store.grant(Grant { user: UserId::LOCAL, repository: None, role: Role::Viewer }, &act).await,
    ];
    assert!(lost.iter().all(|lost| matches!(lost, Err(Error::Invalid(_)))), "{lost:?}");
}

pub(crate) async fn what_is_granted_must_exist(world: World) {
    let grant = |user, repository| Grant { user, repository, role: Role::Viewer };
    let nobody = world.store.grant(grant(ANNA, None), &world.act()).await;
    assert!(matches!(nobody, Err(Error::NotFound { what: "user", .. })), "{nobody:?}");
    anna(&world).await;
    let nowhere = world.store.grant(grant(ANNA, Some(RepositoryId::from_u128(9))), &world.act()).await;
    assert!(matches!(nowhere, Err(Error::NotFound { what: "repository", .. })), "{nowhere:?}");
}

fn token(world: &World) -> Token {
    let now = world.now();
    Token {
        id: TokenId::from_u128(world.number()),
        user: ANNA,
        name: "laptop".into(),
        scope: Scope::User { role: Role::Runner, repository: None },
        trust: Trust::Member,
        created_at: now,
        expires_at: now.plus_ms(1000),
        revoked_at: None,
        last_used_at: None,
    }
}

pub(crate) async fn a_token_opens_until_it_ends(world: World) {
    anna(&world).await;
    let token = token(&world);
    world.store.create_token(&token, "digest", &world.act()).await.unwrap();
    let bearer = world.store.bearer("digest").await.unwrap().unwrap();
    assert_eq!(bearer.token, token);
    assert!(bearer.opens(world.now()) && !bearer.opens(token.expires_at));
    assert!(world.store.bearer("another").await.unwrap().is_none());
    let since = world.now();
    world.store.set_disabled(ANNA, Some(since), &world.act()).await.unwrap();
    assert!(!world.store.bearer("digest").await.unwrap().unwrap().opens(world.now()));
    world.store.set_disabled(ANNA, None, &world.act()).await.unwrap();
    assert!(world.store.bearer("digest").await.unwrap().unwrap().opens(world.now()));
    assert_eq!(world.store.token(token.id).await.unwrap().trust, Trust::Member);
    let bots = Token { id: TokenId::from_u128(world.number()), trust: Trust::Outsider, ..token.clone() };
    world.store.create_token(&bots, "bots", &world.act()).await.unwrap();
    assert_eq!(world.store.bearer("bots").await.unwrap().unwrap().token, bots);
    let told = world.store.audit(None).await.unwrap().entries;
    assert!(told.iter().any(|entry| entry.after.as_ref().is_some_and(|after| after["trust"] == "outsider")));
    let revoked = world.store.revoke_token(token.id, &world.act()).await.unwrap();
    assert_eq!(world.store.revoke_token(token.id, &world.act()).await.unwrap(), revoked);
    assert!(!world.store.bearer("digest").await.unwrap().unwrap().opens(world.now()));
}

pub(crate) async fn a_tokens_use_is_noted_once_a_minute(world: World) {
    anna(&world).await;
    let new = token(&world);
    world.store.create_token(&new, "digest", &world.act()).await.unwrap();
    let mut seen = new.clone();
    for (at, noted) in [(5, 5), (59_000_000, 5), (60_000_005, 60_000_005)] {
        world.store.token_used(&seen, Timestamp::from_micros(at)).await.unwrap();
        seen = world.store.token(new.id).await.unwrap();
        assert_eq!(seen.last_used_at, Some(Timestamp::from_micros(noted)));
    }
}

/// Some changes, each with its entry.
async fn history(world: &World) -> u64 {
    anna(world).await;
    let grant = |role| Grant { user: ANNA, repository: None, role };
    for role in [Role::Viewer, Role::Viewer, Role::Maintainer] {
        world.store.grant(grant(role), &world.act()).await.unwrap();
    }
    world.store.create_token(&token(world), "digest", &world.act()).await.unwrap();
    world.store.ungrant(ANNA, None, &world.act()).await.unwrap();
    world.store.ungrant(ANNA, None, &world.act()).await.unwrap();
    5
}

pub(crate) async fn each_change_is_told_once(world: World) {
    let entries = history(&world).await;
    let page = world.store.audit(None).await.unwrap();
    let told: Vec<_> = page.entries.iter().rev().map(|entry| entry.action.as_str()).collect();
    assert_eq!(told, ["user.create", "grant.set", "grant.set", "token.create", "grant.remove"]);
    let raised = &page.entries[2];
    assert_eq!(raised.before.as_ref().unwrap()["role"], "viewer");
    assert_eq!(raised.after.as_ref().unwrap()["role"], "maintainer");
    let text = serde_json::to_string(&page).unwrap();
    assert!(!text.contains("digest\":\"digest"), "what opens is not told: {text}");
    let verdict = world.store.verify_audit().await.unwrap();
    assert_eq!((verdict.entries, verdict.fault), (entries, None));
    let older = world.store.audit(Some(3)).await.unwrap();
    assert_eq!(older.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(older.next, None);
}

/// Somebody who gets at the database without us.
struct Intruder(sqlx::AnyConnection);

impl Intruder {
    async fn of(world: &World) -> Self {
        Self(sqlx::AnyConnection::connect(&world.place.url()).await.unwrap())
    }

    async fn does(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.0).await.unwrap();
    }

    async fn lines(&mut self) -> Vec<(i64, String, String)> {
        let rows = sqlx::query("SELECT seq, line, digest FROM audit").fetch_all(&mut self.0).await.unwrap();
        rows.iter().map(|row| (row.get("seq"), row.get("line"), row.get("digest"))).collect()
    }

    async fn puts_back(&mut self, lines: &[(i64, String, String)]) {
        self.does("DELETE FROM audit").await;
        for (seq, line, digest) in lines {
            let insert = sqlx::query("INSERT INTO audit (seq, line, digest) VALUES ($1, $2, $3)");
            insert.bind(*seq).bind(line.as_str()).bind(digest.as_str()).execute(&mut self.0).await.unwrap();
        }
    }
}

/// Whatever is done to whichever entry is seen.
pub(crate) async fn no_entry_can_be_tampered_with_unseen(world: World) {
    let entries = history(&world).await;
    let mut intruder = Intruder::of(&world).await;
    let lines = intruder.lines().await;
    for seq in 1..=entries {
        let other = if seq == entries { 1 } else { seq + 1 };
        for tampering in [
            format!("UPDATE audit SET line = REPLACE(line, 'usr_', 'usr-') WHERE seq = {seq}"),
            format!("UPDATE audit SET line = line || ' ' WHERE seq = {seq}"),
            format!("UPDATE audit SET digest = REPLACE(digest, SUBSTR(digest, 1, 1), 'x') WHERE seq = {seq}"),
            format!("DELETE FROM audit WHERE seq = {seq}"),
            format!("UPDATE audit SET seq = 1000 WHERE seq = {seq}"),
            format!("UPDATE audit SET line = (SELECT line FROM audit WHERE seq = {other}) WHERE seq = {seq}"),
        ] {
            intruder.does(&tampering).await;
            let fault = world.store.verify_audit().await.unwrap().fault;
            assert_eq!(fault.map(|fault| fault.seq), Some(seq), "{tampering}");
            intruder.puts_back(&lines).await;
            assert_eq!(world.store.verify_audit().await.unwrap().fault, None);
        }
    }
}

/// The newest entries can be cut off with the head; a head that was kept elsewhere shows it.
pub(crate) async fn a_kept_head_shows_a_cut_log(world: World) {
    let entries = history(&world).await;
    let before = world.store.verify_audit().await.unwrap();
    let mut intruder = Intruder::of(&world).await;
    intruder.does(&format!("DELETE FROM audit WHERE seq = {entries}")).await;
    let cut =
        "UPDATE audit_head SET seq = seq - 1, digest = (SELECT digest FROM audit ORDER BY seq DESC LIMIT 1)";
    intruder.does(cut).await;
    let after = world.store.verify_audit().await.unwrap();
    assert_eq!(after.fault, None);
    assert_ne!(after.head, before.head);
}

pub(crate) async fn a_reset_is_told_with_every_later_lease(world: World) {
    let view = world.create("one", None).await.unwrap();
    assert_eq!(world.lease().await.unwrap().pins.generation, 0);
    let repository =
        world.store.repository_by_url(&view.task.request.source.repository).await.unwrap().unwrap();
    world.store.reset_repository(repository.id, &world.act()).await.unwrap();
    world.create("two", None).await.unwrap();
    assert_eq!(world.lease().await.unwrap().pins.generation, 1);
    world.store.create_task(on("/elsewhere"), world.sent(None), &world.ids(1)).await.unwrap();
    assert_eq!(world.lease().await.unwrap().pins.generation, 0, "of that repository alone");
    let told = world.store.audit(None).await.unwrap().entries;
    assert!(told.iter().any(|entry| entry.action == "repository.reset"));
    let nowhere = RepositoryId::from_u128(999);
    assert!(matches!(world.store.reset_repository(nowhere, &world.act()).await, Err(Error::NotFound { .. })));
}

pub(crate) async fn what_lies_beside_is_for_those_who_may_run_tasks_there(world: World) {
    anna(&world).await;
    let app = world.store.add_repository(RepositoryId::from_u128(801), "/app", &world.act()).await.unwrap();
    let library =
        world.store.add_repository(RepositoryId::from_u128(802), "/library", &world.act()).await.unwrap();
    let extra = ExtraRepository { url: library.url.clone(), reference: None, path: "lib".into() };
    let recipe = |repositories| Environment { repositories, ..Environment::default() };
    let kept = |owner, repositories| StoredEnvironment {
        id: EnvironmentId::from_u128(world.number()),
        repository: app.id,
        name: "default".into(),
        version: 1,
        recipe: recipe(repositories),
        owner,
        secrets: Vec::new(),
        changed_at: world.now(),
        changed_by: ANNA,
    };
    let own = world.store.create_environment(kept(Some(ANNA), vec![extra.clone()]), &world.act()).await;
    assert!(matches!(own, Err(Error::Invalid(_))), "a person's own recipe names none");
    let outside = ExtraRepository { path: "../x".into(), ..extra.clone() };
    let outside = world.store.create_environment(kept(None, vec![outside]), &world.act()).await;
    assert!(matches!(outside, Err(Error::Invalid(_))));
    let team = world.store.create_environment(kept(None, vec![extra.clone()]), &world.act()).await.unwrap();
    let name = team.name.clone();
    let outside = ExtraRepository { path: "/".into(), ..extra.clone() };
    let changed =
        world.store.change_environment(team.id, (name, recipe(vec![outside])), None, &world.act()).await;
    assert!(matches!(changed, Err(Error::Invalid(_))));

    let create = async |request: NewTask, grants: &[(RepositoryId, Role)]| {
        let grant = |(repository, role): &(RepositoryId, Role)| Grant {
            user: ANNA,
            repository: Some(*repository),
            role: *role,
        };
        let access = Access::whole(grants.iter().map(grant).collect());
        let sent = Sent { access: Some(&access), ..world.sent(None) };
        world.store.create_task(request, sent, &world.ids(1)).await
    };
    let both = [(app.id, Role::Runner), (library.id, Role::Runner)];
    let view = create(on("/app"), &both).await.unwrap();
    assert_eq!(view.task.request.environment.repositories, std::slice::from_ref(&extra));
    for grants in [&both[..1], &[both[0], (library.id, Role::Viewer)]] {
        let refused = create(on("/app"), grants).await;
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    }
    let says = NewTask { environment: recipe(vec![extra]), ..on("/library") };
    assert!(matches!(create(says, &both).await, Err(Error::Invalid(_))), "a task's own words name none");
}
