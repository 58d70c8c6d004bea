//! What people say to attempts: follow-ups, steers, answers.

use legwork_domain::{
    Author, Context, ContextChange, Decision, DiffStat, EventKind, FollowUp, Item, ItemBody, ItemId,
    ItemStatus, MessageBody, MessageId, NewEvent, Outcome, Patch, Reply, State, Timestamp, Transition, Turn,
    TurnId, Waiting,
};
use legwork_store::{Error, FOLLOW_UPS_MAX};

use crate::world::{LEASE_MS, World, batch, completed, end, moving, started, tell};

fn again(input: &str) -> FollowUp {
    FollowUp::new(input.into(), Vec::new())
}

impl World {
    async fn follow_up(&self, attempt: legwork_domain::AttemptId, input: &str) -> Result<Turn, Error> {
        let id = TurnId::from_u128(self.number());
        self.store.follow_up(attempt, id, again(input), self.sent(None)).await
    }

    async fn steer(&self, attempt: legwork_domain::AttemptId, words: &str) -> Result<MessageId, Error> {
        let id = MessageId::from_u128(self.number());
        self.store.steer(attempt, id, words.into(), self.sent(None)).await.map(|message| message.id)
    }

    async fn answer(&self, attempt: legwork_domain::AttemptId, reply: Reply) -> Result<MessageId, Error> {
        let id = MessageId::from_u128(self.number());
        self.store.answer(attempt, id, reply, self.sent(None)).await.map(|message| message.id)
    }

    async fn unheard(&self, turn: TurnId, epoch: u64) -> Vec<MessageId> {
        let heartbeat = batch(epoch, 0, Vec::new());
        let recorded = self.store.append(turn, heartbeat, self.term()).await.unwrap();
        recorded.messages.iter().map(|message| message.id).collect()
    }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Conflict { code, .. } => code,
        _ => "another",
    }
}

fn item(turn: TurnId, n: u32, status: ItemStatus, body: ItemBody) -> Item {
    let ended_at = (status != ItemStatus::InProgress).then(|| Timestamp::from_micros(8));
    Item { id: ItemId::new(n), turn, status, started_at: Timestamp::from_micros(7), ended_at, body }
}

fn asked(turn: TurnId, n: u32) -> NewEvent {
    let body = ItemBody::Question { text: "Which?".into(), options: vec!["a".into()], answer: None };
    tell(EventKind::ItemStarted { item: item(turn, n, ItemStatus::InProgress, body) })
}

fn shown(turn: TurnId, n: u32, message: MessageId) -> NewEvent {
    let body = ItemBody::Message { role: Author::User, text: "x".into(), message: Some(message) };
    tell(EventKind::ItemStarted { item: item(turn, n, ItemStatus::InProgress, body) })
}

fn reply(n: u32, text: &str) -> Reply {
    Reply::Answer { item: ItemId::new(n), text: text.into() }
}

pub(crate) async fn a_follow_up_waits_for_the_turns_before_it_and_goes_on_from_them(world: World) {
    let view = world.create("first", None).await.unwrap();
    let attempt = view.attempts[0].attempt.id;
    let second = world.follow_up(attempt, "second").await.unwrap();
    let third = world.follow_up(attempt, "third").await.unwrap();
    assert_eq!((second.number, third.number), (2, 3));
    let job = world.lease().await.unwrap();
    assert!(world.lease().await.is_none(), "only the first is ready");
    let turn = job.turn.id;
    let context = Context { change: ContextChange::Append, entries: vec!["h".into()] };
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
    ];
    world.append(turn, batch(1, 0, events)).await.unwrap();
    // The middle one is taken out; the last one still waits for the first.
    world.store.cancel_turn(second.id, world.now()).await.unwrap();
    assert!(world.lease().await.is_none());
    world.store.finish(turn, end(1, 2, Vec::new()), world.now()).await.unwrap();
    assert!(!world.store.log_end(attempt).await.unwrap().finished);
    let next = world.lease().await.unwrap();
    assert_eq!((next.turn.id, next.turn.input.as_str()), (third.id, "third"));
    assert_eq!((next.history.len(), next.pins.commit.as_deref()), (1, Some("c")));
    world.store.finish(next.turn.id, end(1, 0, Vec::new()), world.now()).await.unwrap();
    // One more on an attempt that was over is ready at once.
    let last = world.follow_up(attempt, "last").await.unwrap();
    assert_eq!(world.lease().await.unwrap().turn.id, last.id);
    world.check(attempt).await;
}

pub(crate) async fn the_queue_of_an_attempt_is_bounded_and_its_keys_are_kept(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    let first = world
        .store
        .follow_up(attempt, TurnId::from_u128(900), again("a"), world.sent(Some("k")))
        .await
        .unwrap();
    let same = world
        .store
        .follow_up(attempt, TurnId::from_u128(901), again("a"), world.sent(Some("k")))
        .await
        .unwrap();
    assert_eq!(first, same);
    let other =
        world.store.follow_up(attempt, TurnId::from_u128(902), again("b"), world.sent(Some("k"))).await;
    assert!(matches!(other, Err(Error::KeyReused)));
    for _ in 1..FOLLOW_UPS_MAX {
        world.follow_up(attempt, "more").await.unwrap();
    }
    assert_eq!(code(&world.follow_up(attempt, "too much").await.unwrap_err()), "too_many_turns");
    assert!(matches!(world.follow_up(attempt, " ").await, Err(Error::Invalid(_))));
    let nothing = legwork_domain::AttemptId::from_u128(7);
    assert!(matches!(world.follow_up(nothing, "x").await, Err(Error::NotFound { what: "attempt", .. })));
}

pub(crate) async fn follow_ups_at_the_same_time_get_their_own_numbers(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    let (here, there) = (&world, world.beside().await);
    let calls =
        (0..8).map(|n| if n % 2 == 0 { here.follow_up(attempt, "x") } else { there.follow_up(attempt, "x") });
    let turns = futures::future::join_all(calls).await;
    let mut numbers: Vec<u32> =
        turns.into_iter().filter_map(|turn| turn.ok().map(|turn| turn.number)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..2 + numbers.len() as u32).collect::<Vec<_>>());
    assert!(numbers.len() >= 2, "{numbers:?}");
    world.check(attempt).await;
}

pub(crate) async fn a_steer_is_said_until_the_log_shows_it(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    assert_eq!(code(&world.steer(attempt, "early").await.unwrap_err()), "no_live_turn");
    let turn = world.lease().await.unwrap().turn.id;
    let said = world.steer(attempt, "and the docs").await.unwrap();
    let later = world.steer(attempt, "and more").await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.unheard(turn, 1).await, [said, later]);
    }
    world.append(turn, batch(1, 0, vec![shown(turn, 1, said)])).await.unwrap();
    assert_eq!(world.unheard(turn, 1).await, [later]);
    // The next worker hears the rest, and only that.
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    world.steer(attempt, "between two workers").await.unwrap();
    let next = world.lease().await.unwrap();
    let words: Vec<_> = next.messages.iter().map(|message| message.body.clone()).collect();
    let steer = |text: &str| MessageBody::Steer { text: text.into() };
    assert_eq!(words, [steer("and more"), steer("between two workers")]);
    world.check(attempt).await;
}

pub(crate) async fn a_steer_that_came_too_late_becomes_a_turn(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    let job = world.lease().await.unwrap();
    world.steer(attempt, "one").await.unwrap();
    world.steer(attempt, "two").await.unwrap();
    world.store.finish(job.turn.id, end(1, 0, Vec::new()), world.now()).await.unwrap();
    let next = world.lease().await.unwrap();
    assert_eq!((next.turn.number, next.turn.input.as_str()), (2, "one\n\ntwo"));
    // What a person stopped is not begun again.
    world.steer(attempt, "three").await.unwrap();
    let mut cancelled = end(1, 0, Vec::new());
    cancelled.ended.outcome = Outcome::Cancelled;
    world.store.finish(next.turn.id, cancelled, world.now()).await.unwrap();
    assert!(world.lease().await.is_none());
    world.check(attempt).await;
}

pub(crate) async fn an_answer_ends_the_question_and_wakes_the_turn(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    let turn = world.lease().await.unwrap().turn.id;
    world
        .append(turn, batch(1, 0, vec![started(turn, 1), completed(turn, 1), asked(turn, 2)]))
        .await
        .unwrap();
    let patch = Patch {
        blob: "a".repeat(64).parse().unwrap(),
        base_commit: "c".into(),
        tree: "t".into(),
        stat: DiffStat::default(),
    };
    let park = Transition::Park { on: Waiting::Input, patch: Some(patch.clone()) };
    world.append(turn, moving(1, 3, park)).await.unwrap();
    assert_eq!(world.store.patch(attempt).await.unwrap(), Some(patch));
    assert!(world.lease().await.is_none());
    assert!(matches!(world.answer(attempt, reply(9, "b")).await, Err(Error::NotFound { what: "item", .. })));
    assert!(matches!(world.answer(attempt, reply(1, "b")).await, Err(Error::Conflict { .. })), "it is over");
    let wrong = Reply::Decision { item: ItemId::new(2), decision: Decision::Approved };
    assert!(matches!(world.answer(attempt, wrong).await, Err(Error::Invalid(_))));
    let said = world.answer(attempt, reply(2, "b")).await.unwrap();
    assert_eq!(code(&world.answer(attempt, reply(2, "c")).await.unwrap_err()), "answered");
    let job = world.lease().await.unwrap();
    assert_eq!((job.turn.id, job.messages[0].id), (turn, said));
    // The worker ends the item as well; the log has one end.
    let body = ItemBody::Question { text: "Which?".into(), options: Vec::new(), answer: Some("b".into()) };
    let heard = tell(EventKind::ItemCompleted { item: item(turn, 2, ItemStatus::Completed, body) });
    world.append(turn, batch(2, 0, vec![heard, started(turn, 3)])).await.unwrap();
    assert_eq!(world.unheard(turn, 2).await, []);
    world.append(turn, batch(2, 2, vec![completed(turn, 3)])).await.unwrap();
    world.check(attempt).await;
}

pub(crate) async fn an_answer_that_meets_the_worker_on_its_way_is_not_lost(world: World) {
    let attempt = world.create("x", None).await.unwrap().attempts[0].attempt.id;
    let turn = world.lease().await.unwrap().turn.id;
    world.append(turn, batch(1, 0, vec![asked(turn, 1)])).await.unwrap();
    let said = world.answer(attempt, reply(1, "b")).await.unwrap();
    assert_eq!(world.unheard(turn, 1).await, [said]);
    let park = Transition::Park { on: Waiting::Input, patch: None };
    let parked = world.append(turn, moving(1, 1, park)).await.unwrap();
    assert_eq!(parked.state, State::Queued, "it is woken at once");
    let job = world.lease().await.unwrap();
    assert_eq!(job.messages[0].id, said);
    world.store.cancel(job.task.id, world.now()).await.unwrap();
    let mut cancelled = end(2, 0, Vec::new());
    cancelled.ended.outcome = Outcome::Cancelled;
    world.store.finish(turn, cancelled, world.now()).await.unwrap();
    assert_eq!(code(&world.answer(attempt, reply(1, "c")).await.unwrap_err()), "turn_over");
    world.check(attempt).await;
}

pub(crate) async fn a_question_that_nobody_answered_ends_with_its_turn(world: World) {
    let view = world.create("x", None).await.unwrap();
    let turn = world.lease().await.unwrap().turn.id;
    world.append(turn, batch(1, 0, vec![asked(turn, 1)])).await.unwrap();
    world.append(turn, moving(1, 1, Transition::Park { on: Waiting::Input, patch: None })).await.unwrap();
    world.store.cancel(view.task.id, world.now()).await.unwrap();
    world.check(view.attempts[0].attempt.id).await;
}
