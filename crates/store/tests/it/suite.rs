//! The suite: what the store promises, whatever database it has.

use legwork_domain::{
    Context, ContextChange, Ended, EventKind, Failure, Finish, ItemId, ItemStatus, Outcome, State, TRIES_MAX,
    TaskQuery, Timestamp, Topic, Transition, UserId, Visible, Waiting, Webhook, WebhookId,
};
use legwork_store::{Error, Expected, PAGE_BYTES_MAX};
use serde_json::json;

use crate::world::{LEASE_MS, World, batch, completed, end, moving, request, started, tell, updated};

pub(crate) async fn a_new_task_is_queued_and_told(world: World) {
    let request = request("# Fix it\nall of it", 3);
    let view = world.store.create_task(request.clone(), world.sent(None), &world.ids(3)).await.unwrap();
    assert_eq!(view.task.title, "Fix it");
    assert_eq!(view.task.request, request);
    assert_eq!(view.attempts.iter().map(|view| view.attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(world.store.task(view.task.id).await.unwrap(), view);
    for attempt in &view.attempts {
        assert_eq!(attempt.turns.len(), 1);
        let log = world.check(attempt.attempt.id).await;
        let queued = EventKind::State { turn: attempt.turns[0].id, state: State::Queued };
        assert_eq!(log.into_iter().map(|event| event.kind).collect::<Vec<_>>(), [queued]);
        assert!(!world.store.log_end(attempt.attempt.id).await.unwrap().finished);
    }
}

pub(crate) async fn a_wrong_task_is_refused_with_a_sentence(world: World) {
    let refused = world.create(" ", None).await;
    assert!(matches!(refused, Err(Error::Invalid(sentence)) if sentence.starts_with("The prompt is empty")));
    let refused = world.create("x", Some("")).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert!(world.lease().await.is_none());
}

pub(crate) async fn one_key_makes_one_task(world: World) {
    let first = world.create("one", Some("key")).await.unwrap();
    assert_eq!(world.create("one", Some("key")).await.unwrap(), first);
    assert!(matches!(world.create("two", Some("key")).await, Err(Error::KeyReused)));
    assert_ne!(world.create("one", Some("other")).await.unwrap().task.id, first.task.id);
    assert_ne!(world.create("one", None).await.unwrap().task.id, first.task.id);
    // The answer is the task as it is now, not as it was.
    let cancelled = world.store.cancel(first.task.id, world.now()).await.unwrap();
    assert_eq!(world.create("one", Some("key")).await.unwrap(), cancelled);
}

pub(crate) async fn one_key_at_the_same_time_makes_one_task(world: World) {
    let servers = [&world, &world.beside().await];
    let calls =
        (0..8).map(|n| async move { servers[n % 2].create("one", Some("key")).await.unwrap().task.id });
    let ids = futures::future::join_all(calls).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.list(&TaskQuery::default()).await.len(), 1);
}

pub(crate) async fn tasks_are_listed_newest_first_in_pages(world: World) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.create(&format!("task {n}"), None).await.unwrap().task.id);
    }
    ids.reverse();
    let (mut seen, mut query) = (Vec::new(), TaskQuery { limit: Some(2), ..TaskQuery::default() });
    loop {
        let page = world.store.tasks(Visible::All, UserId::LOCAL, &query).await.unwrap();
        assert!(page.tasks.len() <= 2);
        seen.extend(page.tasks.iter().map(|row| row.id));
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

pub(crate) async fn the_oldest_turn_is_leased_first_and_once(world: World) {
    let first = world.create("first", None).await.unwrap();
    let second = world.create("second", None).await.unwrap();
    let (a, b) = (world.lease().await.unwrap(), world.lease().await.unwrap());
    assert_eq!((a.task.id, b.task.id), (first.task.id, second.task.id));
    assert_eq!((a.lease.epoch, a.turn.tries, a.next_item), (1, 1, 1));
    assert_eq!(a.turn.state, State::Leased { lease: a.lease });
    assert!(world.lease().await.is_none());
}

pub(crate) async fn a_lease_can_be_for_one_task_alone(world: World) {
    let other = world.create("other", None).await.unwrap();
    let mine = world.create("mine", None).await.unwrap();
    assert_eq!(world.lease_of(Some(mine.task.id)).await.unwrap().task.id, mine.task.id);
    assert!(world.lease_of(Some(mine.task.id)).await.is_none());
    assert_eq!(world.lease().await.unwrap().task.id, other.task.id);
}

pub(crate) async fn a_turn_goes_its_way(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let (turn, attempt) = (job.turn.id, job.attempt.id);
    world.append(turn, moving(1, 0, Transition::Prepare)).await.unwrap();
    world.append(turn, moving(1, 0, Transition::Run)).await.unwrap();
    world
        .append(turn, batch(1, 0, vec![started(turn, 1), updated(1, "a"), completed(turn, 1)]))
        .await
        .unwrap();
    world.append(turn, moving(1, 3, Transition::Wait { on: Waiting::Model })).await.unwrap();
    world.append(turn, moving(1, 3, Transition::Run)).await.unwrap();
    let ended = world.store.finish(turn, end(1, 3, vec![updated(1, "b")]), world.now()).await.unwrap();
    assert!(ended.state.ended().is_some());
    let words: Vec<_> = world.check(attempt).await.iter().map(|event| word(&event.kind)).collect();
    let expected = [
        "queued",
        "leased",
        "preparing",
        "running",
        "item",
        "item",
        "item",
        "waiting",
        "running",
        "item",
        "finished",
    ];
    assert_eq!(words, expected);
    assert!(world.store.log_end(attempt).await.unwrap().finished);
}

fn word(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::State { state, .. } => state.name(),
        _ => "item",
    }
}

pub(crate) async fn a_repeated_batch_is_stored_once(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let turn = job.turn.id;
    let mut whole = batch(1, 0, vec![started(turn, 1), completed(turn, 1)]);
    whole.transition = Some(Transition::Prepare);
    for _ in 0..3 {
        world.append(turn, whole.clone()).await.unwrap();
    }
    // A worker that joins what it is unsure of with what is new loses and doubles nothing.
    world.append(turn, batch(1, 1, vec![completed(turn, 1), started(turn, 2)])).await.unwrap();
    world.append(turn, batch(1, 0, vec![started(turn, 1)])).await.unwrap();
    // The repeat of a move that the turn has left behind is still the repeat of a stored batch.
    world.append(turn, moving(1, 3, Transition::Run)).await.unwrap();
    world.append(turn, whole).await.unwrap();
    let log = world.check(job.attempt.id).await;
    assert_eq!(log.len(), 2 + 3 + 2);
}

pub(crate) async fn a_gap_is_refused(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let refused = world.append(job.turn.id, batch(1, 1, vec![updated(1, "b")])).await;
    assert!(matches!(refused, Err(Error::Gap { first: 1, expected: 0 })), "{refused:?}");
    // A heartbeat may overtake the batch before it.
    world.append(job.turn.id, batch(1, 9, Vec::new())).await.unwrap();
    assert_eq!(world.check(job.attempt.id).await.len(), 2);
}

pub(crate) async fn a_heartbeat_renews_the_lease_and_is_no_news(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    world.pass_ms(LEASE_MS - 1000);
    let turn = world.append(job.turn.id, batch(1, 0, Vec::new())).await.unwrap();
    assert!(turn.state.lease().unwrap().until > job.lease.until);
    world.pass_ms(LEASE_MS - 1000);
    assert_eq!(world.store.expire(world.now()).await.unwrap(), []);
    assert_eq!(world.check(job.attempt.id).await.len(), 2);
}

pub(crate) async fn a_stale_epoch_writes_nothing(world: World) {
    world.create("x", None).await.unwrap();
    let old = world.lease().await.unwrap();
    let turn = old.turn.id;
    world.pass_ms(LEASE_MS + 1);
    assert_eq!(world.store.expire(world.now()).await.unwrap().len(), 1);
    for leased_again in [false, true] {
        if leased_again {
            assert_eq!(world.lease().await.unwrap().lease.epoch, 2);
        }
        let before = (world.log(old.attempt.id).await, world.store.task(old.task.id).await.unwrap());
        for stale in [
            world.append(turn, batch(1, 0, vec![started(turn, 1)])).await,
            world.append(turn, batch(1, 0, Vec::new())).await,
            world.append(turn, moving(1, 0, Transition::Prepare)).await,
            world.store.finish(turn, end(1, 0, Vec::new()), world.now()).await,
            world.store.advance(turn, Expected::Epoch(1), Transition::Expire, world.now()).await,
        ] {
            assert!(matches!(stale, Err(Error::StaleEpoch { epoch: 1, .. })), "{stale:?}");
        }
        assert_eq!((world.log(old.attempt.id).await, world.store.task(old.task.id).await.unwrap()), before);
    }
}

pub(crate) async fn a_lost_worker_leaves_no_item_open(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let turn = job.turn.id;
    let events = vec![started(turn, 1), started(turn, 2), completed(turn, 1), started(turn, 3)];
    world.append(turn, batch(1, 0, events)).await.unwrap();
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    let log = world.check(job.attempt.id).await;
    let interrupted: Vec<ItemId> = log
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ItemCompleted { item } if item.status == ItemStatus::Interrupted => Some(item.id),
            _ => None,
        })
        .collect();
    assert_eq!(interrupted, [ItemId::new(2), ItemId::new(3)]);
    assert_eq!(world.lease().await.unwrap().next_item, 4);
}

pub(crate) async fn the_last_try_ends_the_turn(world: World) {
    let view = world.create("x", None).await.unwrap();
    for _ in 0..TRIES_MAX {
        world.lease().await.unwrap();
        world.pass_ms(LEASE_MS + 1);
        world.store.expire(world.now()).await.unwrap();
    }
    assert!(world.lease().await.is_none());
    let view = world.store.task(view.task.id).await.unwrap();
    let ended = view.attempts[0].turns[0].state.ended().cloned().unwrap();
    assert_eq!(ended.outcome, Outcome::Failed { reason: Failure::WorkerLost });
    world.check(view.attempts[0].attempt.id).await;
}

pub(crate) async fn the_next_worker_gets_what_the_log_holds(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let turn = job.turn.id;
    let context = |change, words: &[&str]| {
        let entries = words.iter().map(|word| serde_json::json!({ "word": word })).collect();
        tell(EventKind::Context { turn, context: Context { change, entries } })
    };
    let base = |commit: &str| {
        tell(EventKind::Base {
            turn,
            commit: commit.into(),
            tree: "t".into(),
            name: None,
            image: None,
            repositories: Vec::new(),
        })
    };
    let layers = |name: &str, live: Option<&str>| {
        let layers = vec!["base".into(), name.into()];
        tell(EventKind::Snapshot { turn, layers, live: live.map(Into::into), saved: None })
    };
    let events = vec![
        base("c1"),
        context(ContextChange::Append, &["lost"]),
        layers("one", None),
        context(ContextChange::Replace, &["a"]),
        started(turn, 7),
        context(ContextChange::Append, &["b"]),
        layers("two", Some("sandbox")),
        context(ContextChange::Append, &["c"]),
    ];
    world.append(turn, batch(1, 0, events)).await.unwrap();
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    let next = world.lease().await.unwrap();
    assert_eq!(next.history, ["a", "b", "c"].map(|word| serde_json::json!({ "word": word })));
    assert_eq!(next.pins.commit.as_deref(), Some("c1"));
    assert_eq!(next.layers, ["base", "two"]);
    assert_eq!((next.layers_at, next.live.as_deref()), (2, Some("sandbox")));
    assert_eq!((next.next_item, next.lease.epoch, next.turn.tries), (8, 2, 2));
}

pub(crate) async fn the_same_end_twice_is_one_end(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let turn = job.turn.id;
    let last = end(1, 0, vec![started(turn, 1)]);
    let ended = world.store.finish(turn, last.clone(), world.now()).await.unwrap();
    assert_eq!(world.store.finish(turn, last.clone(), world.now()).await.unwrap(), ended);
    let mut other = last;
    other.ended = Ended::nothing(Outcome::Cancelled, "No.", Timestamp::from_micros(1));
    assert!(matches!(world.store.finish(turn, other, world.now()).await, Err(Error::StaleEpoch { .. })));
    // queued, leased, started, completed as interrupted, finished
    assert_eq!(world.check(job.attempt.id).await.len(), 5);
}

pub(crate) async fn terminal_is_final(world: World) {
    let view = world.create("x", None).await.unwrap();
    let turn = world.lease().await.unwrap().turn.id;
    world.store.finish(turn, end(1, 0, Vec::new()), world.now()).await.unwrap();
    let before = world.store.task(view.task.id).await.unwrap();
    assert_eq!(world.store.cancel(view.task.id, world.now()).await.unwrap(), before);
    for transition in [Transition::Cancel, Transition::Expire, Transition::Run] {
        let refused = world.store.advance(turn, Expected::Any, transition, world.now()).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    world.pass_ms(10 * LEASE_MS);
    assert_eq!(world.store.expire(world.now()).await.unwrap(), []);
    assert!(world.lease().await.is_none());
    assert_eq!(world.store.task(view.task.id).await.unwrap(), before);
}

pub(crate) async fn a_cancel_ends_what_is_queued_and_asks_what_runs(world: World) {
    let request = request("x", 2);
    let view = world.store.create_task(request, world.sent(None), &world.ids(2)).await.unwrap();
    let job = world.lease().await.unwrap();
    let cancelled = world.store.cancel(view.task.id, world.now()).await.unwrap();
    let states: Vec<_> = cancelled.attempts.iter().map(|view| view.turns[0].state.name()).collect();
    assert_eq!(states, ["leased", "finished"]);
    assert_eq!(world.store.cancel(view.task.id, world.now()).await.unwrap(), cancelled);
    let turn = world.append(job.turn.id, batch(1, 0, Vec::new())).await.unwrap();
    assert!(turn.cancel_requested_at.is_some());
    // The worker dies instead of obeying: the turn is not tried again.
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    assert!(world.lease().await.is_none());
    for attempt in &view.attempts {
        world.check(attempt.attempt.id).await;
    }
}

pub(crate) async fn an_alarm_is_audited_and_told_once_and_stops_the_task(world: World) {
    let webhook = Webhook {
        id: WebhookId::from_u128(world.number()),
        owner: UserId::LOCAL,
        url: "https://alarms.example/".into(),
        topics: vec![Topic::TaskAlarm],
        repository: None,
        created_at: world.now(),
        disabled_at: None,
        disabled_because: None,
        overlap_until: None,
    };
    world.store.create_webhook(&webhook, "sealed", &world.act()).await.unwrap();
    let view = world.store.create_task(request("x", 3), world.sent(None), &world.ids(3)).await.unwrap();
    let (job, other) = (world.lease().await.unwrap(), world.lease().await.unwrap());
    let before = world.store.audit(None).await.unwrap().entries.len();
    let outcome = Outcome::Failed { reason: Failure::Decoy };
    let ended = Ended::nothing(outcome, "The decoy is in the patch.", Timestamp::from_micros(9));
    let finish = Finish { ended, ..end(1, 0, Vec::new()) };
    for _ in 0..2 {
        world.store.finish(job.turn.id, finish.clone(), world.now()).await.unwrap();
    }

    let audit = world.store.audit(None).await.unwrap().entries;
    assert_eq!(audit.len(), before + 1);
    assert_eq!((audit[0].action.as_str(), &audit[0].target), ("task.alarm", &view.task.id.to_string()));
    let told = audit[0].after.as_ref().unwrap();
    assert_eq!(
        (&told["turn"], &told["sentence"]),
        (&json!(job.turn.id), &json!("The decoy is in the patch."))
    );
    let deliveries = world.store.deliveries(webhook.id, None).await.unwrap().deliveries;
    assert_eq!(deliveries.iter().map(|delivery| delivery.topic).collect::<Vec<_>>(), [Topic::TaskAlarm]);
    // One of the others is asked to stop, the third ends before anybody had it.
    assert!(
        world.append(other.turn.id, batch(1, 0, Vec::new())).await.unwrap().cancel_requested_at.is_some()
    );
    assert!(world.lease().await.is_none());
    for attempt in &view.attempts {
        world.check(attempt.attempt.id).await;
    }
}

pub(crate) async fn a_worker_cannot_write_what_is_not_its_own(world: World) {
    world.create("x", None).await.unwrap();
    world.create("y", None).await.unwrap();
    let (mine, other) = (world.lease().await.unwrap(), world.lease().await.unwrap());
    let turn = mine.turn.id;
    let state = tell(EventKind::State { turn, state: State::Queued });
    for events in [
        vec![state],
        vec![started(other.turn.id, 1)],
        vec![started(turn, 1), started(turn, 1)],
        vec![updated(1, "x"); 1001],
    ] {
        let refused = world.append(turn, batch(1, 0, events)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let refused = world.append(turn, moving(1, 0, Transition::Expire)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(world.check(mine.attempt.id).await.len(), 2);
}

pub(crate) async fn a_page_is_bounded_by_bytes(world: World) {
    world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let large = "x".repeat(PAGE_BYTES_MAX / 2);
    let events = (0..8).map(|_| updated(1, &large)).collect();
    world.append(job.turn.id, batch(1, 0, events)).await.unwrap();
    let page = world.store.events(job.attempt.id, 2, 500).await.unwrap();
    assert_eq!(page.iter().map(|line| line.seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(world.check(job.attempt.id).await.len(), 10);
}

pub(crate) async fn what_is_not_there_is_not_found(world: World) {
    let view = world.create("x", None).await.unwrap();
    let nothing = world.number();
    let (task, turn) =
        (legwork_domain::TaskId::from_u128(nothing), legwork_domain::TurnId::from_u128(nothing));
    assert!(matches!(world.store.task(task).await, Err(Error::NotFound { what: "task", .. })));
    assert!(matches!(world.store.cancel(task, world.now()).await, Err(Error::NotFound { what: "task", .. })));
    assert!(matches!(
        world.append(turn, batch(1, 0, Vec::new())).await,
        Err(Error::NotFound { what: "turn", .. })
    ));
    let attempt = legwork_domain::AttemptId::from_u128(nothing);
    assert!(matches!(world.store.log_end(attempt).await, Err(Error::NotFound { what: "attempt", .. })));
    assert_eq!(world.store.events(view.attempts[0].attempt.id, u64::MAX, 9).await.unwrap(), []);
}
