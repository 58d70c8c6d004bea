//! Tasks are named, put away, done again and deleted.

use std::cell::Cell;

use legwork_domain::{
    BlobId, ContextChange, EventKind, Failure, FollowUp, ForkDraft, ListChange, Outcome, Priority, RetryFrom,
    Role, State, TaskChange, TaskQuery, TaskView, Timestamp, TurnId, UserId, Visible,
};
use legwork_store::{Copying, Error, Gone, Step, Thing};

use crate::world::{World, batch, end, request, tell};

fn titled(title: &str) -> TaskChange {
    TaskChange { title: Some(title.into()), archived: None }
}

fn archived(archived: bool) -> TaskChange {
    TaskChange { title: None, archived: Some(archived) }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Conflict { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn blob(n: u8) -> BlobId {
    format!("{n:064x}").parse().unwrap()
}

impl World {
    async fn retry(&self, view: &TaskView, from: RetryFrom, key: Option<&str>) -> Result<TurnId, Error> {
        let id = TurnId::from_u128(self.number());
        let turn = self.store.retry(view.attempts[0].attempt.id, id, from, self.copying(key)).await?;
        Ok(turn.id)
    }

    /// A task whose turn has left files and history, and failed.
    pub(crate) async fn failed(&self) -> TaskView {
        let view = self.create("x", None).await.unwrap();
        let turn = self.lease().await.unwrap().turn.id;
        let context = legwork_domain::Context { change: ContextChange::Append, entries: vec![1.into()] };
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
        ];
        let mut end = end(1, 0, events);
        end.ended.outcome = Outcome::Failed { reason: Failure::Model };
        self.store.finish(turn, end, self.now()).await.unwrap();
        view
    }

    async fn purge(&self) -> usize {
        let mut steps = 0;
        while self.store.purge(self.now(), self.now()).await.unwrap() == Step::More {
            steps += 1;
        }
        steps
    }

    /// The blobs that are removed now.
    async fn collect(&self) -> Vec<BlobId> {
        let mut gone = Vec::new();
        for blob in self.store.unused_blobs().await.unwrap() {
            let removed = Cell::new(false);
            let removal = async {
                removed.set(true);
                Gone::Yes
            };
            self.store.collect_blob(&blob, removal).await.unwrap();
            if removed.get() {
                gone.push(blob);
            }
        }
        assert_eq!(self.store.unused_blobs().await.unwrap(), []);
        gone
    }
}

pub(crate) async fn a_name_and_a_place_are_a_version(world: World) {
    let id = world.create("Fix it", None).await.unwrap().task.id;
    let change = async |change: TaskChange, seen: Option<&[u64]>| {
        world.store.change_task(id, &change, seen, world.now()).await
    };
    let named = change(titled("Mend 100% of it"), Some(&[1])).await.unwrap();
    assert_eq!((named.title.as_str(), named.version), ("Mend 100% of it", 2));
    let late = change(archived(true), Some(&[1])).await.unwrap_err();
    assert_eq!(code(&late), "other_version", "somebody was faster");
    let away = change(archived(true), Some(&[2])).await.unwrap();
    assert_eq!(away.version, 3);
    assert_eq!(change(archived(true), None).await.unwrap(), away, "nothing differs");
    assert_eq!(world.store.task(id).await.unwrap().task, away);
    assert_eq!(world.list(&TaskQuery::default()).await, []);
    let query = TaskQuery { title: Some("100% OF".into()), ..TaskQuery::default() };
    let all = TaskQuery { archived: legwork_domain::Archived::Only, ..query.clone() };
    assert_eq!(world.list(&all).await[0].archived_at, away.archived_at);
    // The row stays what people made of it while its turns go on.
    world.lease().await.unwrap();
    change(archived(false), None).await.unwrap();
    assert_eq!(world.list(&query).await[0].title, "Mend 100% of it");
    let wrong = world.store.change_task(id, &titled("a\nb"), None, world.now()).await.unwrap_err();
    assert!(matches!(wrong, Error::Invalid(_)));
}

pub(crate) async fn a_retry_goes_on_from_what_is_left(world: World) {
    let view = world.failed().await;
    let again = world.retry(&view, RetryFrom::Left, Some("k")).await.unwrap();
    assert_eq!(world.retry(&view, RetryFrom::Left, Some("k")).await.unwrap(), again);
    assert_eq!(code(&world.retry(&view, RetryFrom::Left, None).await.unwrap_err()), "turn_open");
    let job = world.lease().await.unwrap();
    assert_eq!((job.turn.id, job.turn.number, job.turn.input.as_str()), (again, 2, "x"));
    assert_eq!((job.history.len(), job.layers.as_slice()), (1, ["/l".to_owned()].as_slice()));
    world.store.finish(again, end(1, 0, Vec::new()), world.now()).await.unwrap();
    assert_eq!(code(&world.retry(&view, RetryFrom::Left, None).await.unwrap_err()), "nothing_to_retry");
    world.check(view.attempts[0].attempt.id).await;
}

pub(crate) async fn a_fresh_retry_has_neither_files_nor_history(world: World) {
    let view = world.failed().await;
    let again = world.retry(&view, RetryFrom::Fresh, None).await.unwrap();
    let job = world.lease().await.unwrap();
    assert_eq!((job.turn.id, job.pins.commit.as_deref()), (again, Some("c")));
    assert!(job.history.is_empty() && job.layers.is_empty() && job.live.is_none());
    world.check(view.attempts[0].attempt.id).await;
    assert_eq!(world.store.violations(world.now(), 9).await.unwrap(), []);
}

pub(crate) async fn a_deleted_task_is_hidden_at_once(world: World) {
    let view = world.create("x", Some("key")).await.unwrap();
    let (task, attempt) = (view.task.id, view.attempts[0].attempt.id);
    let turn = world.lease().await.unwrap().turn.id;
    let before = world.store.last_change().await.unwrap();
    assert_eq!(world.store.delete_task(task, None, &world.act()).await.unwrap(), [attempt]);
    for thing in [Thing::Task(task), Thing::Attempt(attempt), Thing::Turn(turn)] {
        assert!(matches!(world.store.repository_of(thing).await, Err(Error::NotFound { .. })));
    }
    let missing = |error| matches!(error, Error::NotFound { .. });
    assert!(missing(world.store.task(task).await.unwrap_err()));
    assert!(missing(world.store.delete_task(task, None, &world.act()).await.unwrap_err()));
    assert!(missing(world.store.change_task(task, &titled("y"), None, world.now()).await.unwrap_err()));
    assert_eq!(code(&world.create("x", Some("key")).await.unwrap_err()), "task_deleted");
    assert_eq!(world.list(&TaskQuery::default()).await, []);
    let changes = world.store.changes(Visible::All, UserId::LOCAL, before).await.unwrap().changes;
    assert!(matches!(changes[..], [(_, ListChange::Gone { task: gone })] if gone == task));
    let entry = world.store.audit(None).await.unwrap().entries.swap_remove(0);
    assert_eq!((entry.action.as_str(), entry.target), ("task.delete", task.to_string()));
    assert!(!world.store.backfill_list().await.unwrap(), "it does not come back");
    // Its worker is told to stop; until it has, nothing is taken away.
    let told = world.append(turn, batch(1, 0, Vec::new())).await.unwrap();
    assert!(told.cancel_requested_at.is_some());
    assert_eq!(world.purge().await, 0);
    world.store.finish(turn, end(1, 0, Vec::new()), world.now()).await.unwrap();
    assert!(world.purge().await > 0);
    assert_eq!(world.log(attempt).await, []);
    assert_eq!(world.store.violations(world.now(), 9).await.unwrap(), []);
    assert_ne!(world.create("x", Some("key")).await.unwrap().task.id, task, "the key is free again");
}

pub(crate) async fn words_that_came_too_late_do_not_wake_a_deleted_task(world: World) {
    let view = world.create("x", None).await.unwrap();
    let attempt = view.attempts[0].attempt.id;
    let turn = world.lease().await.unwrap().turn.id;
    let message = legwork_domain::MessageId::from_u128(world.number());
    world.store.steer(attempt, message, "more".into(), world.sent(None)).await.unwrap();
    world.store.delete_task(view.task.id, None, &world.act()).await.unwrap();
    let ended = world.store.finish(turn, end(1, 0, Vec::new()), world.now()).await.unwrap();
    assert!(matches!(ended.state, State::Finished(_)));
    assert!(world.lease().await.is_none());
}

pub(crate) async fn a_long_log_goes_in_parts(world: World) {
    let view = world.create("x", None).await.unwrap();
    let other = world.create("y", None).await.unwrap();
    let turn = world.lease_of(Some(view.task.id)).await.unwrap().turn.id;
    for first in 0..3 {
        let events = (0..900).map(|_| crate::world::updated(1, "x")).collect();
        world.append(turn, batch(1, first * 900, events)).await.unwrap();
    }
    world.store.finish(turn, end(1, 2700, Vec::new()), world.now()).await.unwrap();
    let deleted = world.act();
    world.store.delete_task(view.task.id, None, &deleted).await.unwrap();
    let early = Timestamp::from_micros(deleted.at.micros() - 1);
    assert_eq!(world.store.purge(early, world.now()).await.unwrap(), Step::Done, "it is kept for its time");
    // Three of the log, whose last is not full, and one for the rest.
    assert_eq!(world.purge().await, 4);
    assert_eq!(world.log(other.attempts[0].attempt.id).await.len(), 1);
}

pub(crate) async fn a_blob_goes_when_nothing_uses_it(world: World) {
    let mut asks = request("x", 1);
    asks.images = vec![blob(1), blob(2)];
    let first = world.store.create_task(asks.clone(), world.sent(None), &world.ids(1)).await.unwrap();
    asks.images = vec![blob(2)];
    world.store.create_task(asks, world.sent(None), &world.ids(1)).await.unwrap();
    world.store.delete_task(first.task.id, None, &world.act()).await.unwrap();
    world.purge().await;
    assert_eq!(world.collect().await, [blob(1)], "another task names the other");
    // An upload that no task names is kept for its time.
    world.store.hold_blob(&blob(3), world.now()).await.unwrap();
    world.store.blob_uploaded(&blob(3), 9, UserId::LOCAL, world.now()).await.unwrap();
    world.pass_ms(25 * 60 * 60 * 1000);
    assert_eq!(world.store.end_uploads(world.now()).await.unwrap(), Step::More);
    assert_eq!(world.collect().await, []);
    world.pass_ms(7 * 24 * 60 * 60 * 1000);
    assert_eq!(world.store.end_uploads(world.now()).await.unwrap(), Step::More);
    assert_eq!(world.store.end_uploads(world.now()).await.unwrap(), Step::Done);
    // Somebody stores it anew just before it would go.
    world.store.hold_blob(&blob(3), world.now()).await.unwrap();
    assert_eq!(world.collect().await, []);
}

pub(crate) async fn nobody_reads_the_blobs_of_a_deleted_task(world: World) {
    let user = UserId::from_u128(world.number());
    let user_record = world.store.create_user(user, "ada", &world.act()).await.unwrap();
    let mut asks = request("x", 1);
    (asks.images, asks.priority) = (vec![blob(1)], Priority::High);
    let view = world.store.create_task(asks, world.sent(None), &world.ids(1)).await.unwrap();
    let repository = world.store.repository_of(Thing::Task(view.task.id)).await.unwrap();
    let grant = legwork_domain::Grant { user: user_record.id, repository, role: Role::Viewer };
    world.store.grant(grant, &world.act()).await.unwrap();
    let reads = async || world.store.may_read_blob(&blob(1), user, Visible::Granted(user)).await.unwrap();
    assert!(reads().await);
    world.store.delete_task(view.task.id, None, &world.act()).await.unwrap();
    assert!(!reads().await);
}

pub(crate) async fn a_fork_starts_with_what_its_turn_ended_with(world: World) {
    let view = world.failed().await;
    let attempt = view.attempts[0].attempt.id;
    let again = world.retry(&view, RetryFrom::Left, None).await.unwrap();
    world.lease().await.unwrap();
    let context = legwork_domain::Context { change: ContextChange::Append, entries: vec![2.into()] };
    let later = vec![
        tell(EventKind::Snapshot {
            turn: again,
            layers: vec!["/m".into()],
            live: Some("s".into()),
            saved: None,
        }),
        tell(EventKind::Context { turn: again, context }),
    ];
    world.store.finish(again, end(1, 0, later), world.now()).await.unwrap();
    let fork = async |turn, key| {
        let draft = ForkDraft { turn, input: "Another way".into(), images: Vec::new() };
        world.store.fork(attempt, draft, world.copying(key), &world.ids(1)).await
    };
    let first = fork(1, Some("k")).await.unwrap();
    assert_eq!(fork(1, Some("k")).await.unwrap().task.id, first.task.id);
    assert_eq!((first.task.title.as_str(), first.attempts.len()), ("Another way", 1));
    // Two after the base and its own entry: the snapshot that the turn left.
    let point = first.task.forked_from.unwrap();
    assert_eq!(point.attempt, attempt);
    let line = &world.log(attempt).await[usize::try_from(point.seq).unwrap() - 1];
    assert!(matches!(&line.kind, EventKind::Snapshot { layers, .. } if layers == &["/l"]));
    let second = fork(2, None).await.unwrap();
    world.store.delete_task(view.task.id, None, &world.act()).await.unwrap();
    world.purge().await;
    let job = world.lease_of(Some(first.task.id)).await.unwrap();
    assert_eq!(
        (job.turn.number, job.turn.input.as_str(), job.pins.commit.as_deref()),
        (1, "Another way", Some("c"))
    );
    assert_eq!((job.history.len(), job.layers_at, job.layers[0].as_str(), job.live), (1, 1, "/l", None));
    // What a lost worker's sandbox left is found by its name, by any number of attempts.
    let job = world.lease_of(Some(second.task.id)).await.unwrap();
    assert_eq!((job.history.len(), job.layers_at, job.layers[0].as_str()), (2, 1, "/m"));
    assert_eq!(job.live.as_deref(), Some("s"));
    world.check(second.attempts[0].attempt.id).await;
    assert_eq!(world.store.violations(world.now(), 9).await.unwrap(), []);
}

pub(crate) async fn what_is_no_point_of_a_log_is_not_forked_at(world: World) {
    let view = world.create("x", None).await.unwrap();
    let fork = async |turn, input: &str| {
        let draft = ForkDraft { turn, input: input.into(), images: Vec::new() };
        world
            .store
            .fork(view.attempts[0].attempt.id, draft, world.copying(None), &world.ids(1))
            .await
            .unwrap_err()
    };
    assert_eq!(code(&fork(1, "y").await), "turn_open");
    world.store.cancel(view.task.id, world.now()).await.unwrap();
    assert_eq!(code(&fork(1, "y").await), "no_snapshot");
    assert!(matches!(fork(2, "y").await, Error::NotFound { .. }));
    assert!(matches!(fork(1, " ").await, Error::Invalid(_)));
}

pub(crate) async fn files_that_no_worker_keeps_are_not_forked_at(world: World) {
    const KEPT_MS: i64 = 3_600_000;
    let view = world.failed().await;
    let fork = async || {
        let draft = ForkDraft { turn: 1, input: "y".into(), images: Vec::new() };
        world.store.fork(view.attempts[0].attempt.id, draft, world.copying(None), &world.ids(1)).await
    };
    let says = async |keeps_ms| {
        let id = legwork_domain::WorkerId::from_u128(world.number());
        let worker = legwork_store::Presence {
            id,
            machine: None,
            labels: Vec::new(),
            slots: 1,
            version: String::new(),
            keeps_ms,
        };
        world.store.touch_worker(&worker, world.now()).await.unwrap();
    };
    says(Some(1)).await;
    says(Some(KEPT_MS.unsigned_abs())).await;
    fork().await.unwrap();
    world.pass_ms(KEPT_MS + 1000);
    assert_eq!(code(&fork().await.unwrap_err()), "files_gone");
    says(None).await;
    fork().await.unwrap();
}

pub(crate) async fn one_key_at_the_same_time_has_one_effect(world: World) {
    let view = world.failed().await;
    let attempt = view.attempts[0].attempt.id;
    let servers = [&world, &world.beside().await];
    let key = |name| servers[0].copying(Some(name));
    let retries = (0..8).map(|n| {
        let id = TurnId::from_u128(world.number());
        servers[n % 2].store.retry(attempt, id, RetryFrom::Left, key("retry"))
    });
    let retries = futures::future::join_all(retries).await;
    let first = retries[0].as_ref().unwrap();
    assert!(retries.iter().all(|turn| turn.as_ref().is_ok_and(|turn| turn.id == first.id)), "{retries:?}");
    let more = FollowUp::new("more".into(), Vec::new());
    let follow_ups = (0..8).map(|n| {
        let id = TurnId::from_u128(world.number());
        servers[n % 2].store.follow_up(attempt, id, more.clone(), world.sent(Some("follow")))
    });
    let turns = futures::future::join_all(follow_ups).await;
    let first = turns[0].as_ref().unwrap();
    assert!(turns.iter().all(|turn| turn.as_ref().is_ok_and(|turn| turn.id == first.id)), "{turns:?}");
    let forks = (0..8).map(|n| {
        let draft = ForkDraft { turn: 1, input: "Another way".into(), images: Vec::new() };
        let (server, ids) = (servers[n % 2], world.ids(1));
        async move { server.store.fork(attempt, draft, server.copying(Some("fork")), &ids).await }
    });
    let forks = futures::future::join_all(forks).await;
    let first = forks[0].as_ref().unwrap();
    assert!(
        forks.iter().all(|fork| fork.as_ref().is_ok_and(|fork| fork.task.id == first.task.id)),
        "{forks:?}"
    );
}

pub(crate) async fn what_is_copied_passes_through_the_redactor(world: World) {
    let view = world.failed().await;
    let attempt = view.attempts[0].attempt.id;
    let redact = |value: &mut serde_json::Value| {
        let clean = value.to_string().replace("\"x\"", "\"clean\"").replace("\"/l\"", "\"/clean\"");
        *value = serde_json::from_str(&clean).unwrap();
    };
    let copying = Copying { sent: world.sent(None), redact: &redact };
    let turn = TurnId::from_u128(world.number());
    let again = world.store.retry(attempt, turn, RetryFrom::Left, copying).await.unwrap();
    assert_eq!(again.input, "clean");
    let draft = ForkDraft { turn: 1, input: "Another way".into(), images: Vec::new() };
    let fork = world.store.fork(attempt, draft, copying, &world.ids(1)).await.unwrap();
    let log = world.log(fork.attempts[0].attempt.id).await;
    let layers = log.iter().find_map(|event| match &event.kind {
        EventKind::Snapshot { layers, .. } => Some(layers.clone()),
        _ => None,
    });
    assert_eq!(layers, Some(vec!["/clean".to_owned()]));
}
