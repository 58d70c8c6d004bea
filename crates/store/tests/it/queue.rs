//! Whose turn is next, and what a waiting person is told.

use legwork_domain::{
    Assignment, Hold, LeaseId, NewTask, Priority, TaskId, Timestamp, TurnId, UserId, WorkerId,
};
use legwork_store::{Claim, Error, Presence, QueueRules, Sent};

use crate::world::{RULES, World, end, request};

const ADA: UserId = UserId::from_u128(1);
const BOB: UserId = UserId::from_u128(2);

impl World {
    async fn people(&self) {
        for (user, name) in [(ADA, "ada"), (BOB, "bob")] {
            self.store.create_user(user, name, &self.act()).await.unwrap();
        }
    }

    async fn hand_over(&self, user: UserId, change: impl FnOnce(&mut NewTask)) -> (TaskId, TurnId) {
        let mut request = request("x", 1);
        change(&mut request);
        let mut act = self.act();
        act.actor.user = user;
        let view = self
            .store
            .create_task(request, Sent { act, key: None, queued_max: None, access: None }, &self.ids(1))
            .await
            .unwrap();
        (view.task.id, view.attempts[0].turns[0].id)
    }

    async fn claim(&self, labels: &[&str], user_turns_max: Option<u32>) -> Option<Assignment> {
        let (id, worker) = (LeaseId::from_u128(self.number()), WorkerId::from_u128(self.number()));
        let labels = labels.iter().map(ToString::to_string).collect();
        let (term, rules) = (self.term(), QueueRules { user_turns_max, ..RULES });
        let claim = Claim { id, worker, machine: None, task: None, labels, rules, term };
        self.store.lease(&claim).await.unwrap()
    }

    async fn at_work(&self, labels: &[&str]) {
        let labels = labels.iter().map(ToString::to_string).collect();
        let worker = Presence {
            id: WorkerId::from_u128(self.number()),
            machine: None,
            labels,
            slots: 1,
            version: "1".into(),
            keeps_ms: None,
        };
        self.store.touch_worker(&worker, self.now()).await.unwrap();
    }

    async fn reason(&self, turn: TurnId, user_turns_max: Option<u32>) -> String {
        self.store
            .turn(turn, QueueRules { user_turns_max, ..RULES }, self.now())
            .await
            .unwrap()
            .queue
            .unwrap()
            .reason
    }
}

pub(crate) async fn people_take_turns(world: World) {
    world.people().await;
    let mut ada = Vec::new();
    for _ in 0..4 {
        ada.push(world.hand_over(ADA, |_| ()).await.0);
    }
    let bob = [world.hand_over(BOB, |_| ()).await.0, world.hand_over(BOB, |_| ()).await.0];
    let mut order = Vec::new();
    while let Some(job) = world.claim(&[], None).await {
        order.push(job.task.id);
    }
    assert_eq!(order, [ada[0], bob[0], ada[1], bob[1], ada[2], ada[3]]);
}

pub(crate) async fn priority_goes_before_age_within_one_person(world: World) {
    world.people().await;
    let low = world.hand_over(ADA, |task| task.priority = Priority::Low).await.0;
    let normal = world.hand_over(ADA, |_| ()).await.0;
    let high = world.hand_over(ADA, |task| task.priority = Priority::High).await.0;
    // Another person's high priority is no reason to wait for longer.
    let bob = world.hand_over(BOB, |task| task.priority = Priority::High).await.0;
    let mut order = Vec::new();
    while let Some(job) = world.claim(&[], None).await {
        order.push(job.task.id);
    }
    assert_eq!(order, [high, bob, normal, low]);
}

pub(crate) async fn a_turn_goes_only_to_a_worker_that_has_its_labels(world: World) {
    world.people().await;
    let gpu = world.hand_over(ADA, |task| task.labels = vec!["gpu".into(), "big".into()]).await.0;
    let plain = world.hand_over(ADA, |_| ()).await.0;
    assert!(world.claim(&["gpu"], None).await.is_some_and(|job| job.task.id == plain));
    assert!(world.claim(&["gpu"], None).await.is_none());
    assert!(world.claim(&["big", "arm", "gpu"], None).await.is_some_and(|job| job.task.id == gpu));
}

pub(crate) async fn a_person_has_no_more_live_turns_than_allowed(world: World) {
    world.people().await;
    for _ in 0..6 {
        world.hand_over(ADA, |_| ()).await;
    }
    let other = world.beside().await;
    // Two servers at the same time.
    let claims =
        (0..6).map(|n| if n % 2 == 0 { world.claim(&[], Some(2)) } else { other.claim(&[], Some(2)) });
    let jobs: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    assert_eq!(jobs.len(), 2);
    world.store.finish(jobs[0].turn.id, end(1, 0, Vec::new()), world.now()).await.unwrap();
    assert!(world.claim(&[], Some(2)).await.is_some());
    assert!(world.claim(&[], Some(2)).await.is_none());
}

pub(crate) async fn a_waiting_person_is_told_why(world: World) {
    world.people().await;
    let first = world.hand_over(ADA, |_| ()).await.1;
    assert_eq!(world.reason(first, None).await, "no worker asks for work");
    world.at_work(&["arm"]).await;
    assert_eq!(world.reason(first, None).await, "waiting for a free slot: next in line");
    let gpu = world.hand_over(ADA, |task| task.labels = vec!["arm".into(), "gpu".into()]).await.1;
    assert_eq!(world.reason(gpu, None).await, "no worker has the label gpu");
    world.claim(&[], None).await.unwrap();
    for _ in 0..3 {
        world.hand_over(BOB, |_| ()).await;
    }
    let last = world.hand_over(ADA, |_| ()).await.1;
    // Before it: the one for a GPU, and of Bob's as many as make him equal.
    assert_eq!(world.reason(last, None).await, "waiting for a free slot: 3 before you");
    assert_eq!(world.reason(last, Some(1)).await, "you have 1 of 1 turns running");
    let view =
        world.store.task(world.store.turn(last, RULES, world.now()).await.unwrap().turn.task).await.unwrap();
    let places = world.store.places(&view, RULES, world.now()).await.unwrap();
    assert_eq!((places[0].turn, &places[0].hold), (last, &Hold::Slot));
    let attempt = view.attempts[0].attempt.id;
    let more = legwork_domain::FollowUp::new("more".into(), Vec::new());
    let turn = TurnId::from_u128(world.number());
    world.store.follow_up(attempt, turn, more, world.sent(None)).await.unwrap();
    assert_eq!(world.reason(turn, None).await, "waiting for the attempt's earlier turn");
    let workers = world.store.workers().await.unwrap().workers;
    assert_eq!((workers.len(), workers[0].labels.as_slice()), (1, ["arm".to_owned()].as_slice()));
    world.store.forget_workers(Timestamp::from_micros(i64::MAX / 2)).await.unwrap();
    assert_eq!(world.store.workers().await.unwrap().workers, []);
}

fn is_refused<T: std::fmt::Debug>(done: Result<T, Error>, word: &str) {
    let Err(Error::Conflict { code, sentence }) = done else { unreachable!("{done:?}") };
    assert_eq!(code, word, "{sentence}");
}

pub(crate) async fn a_person_fills_the_queue_no_further_than_it_may(world: World) {
    let sent = |key| Sent { queued_max: Some(3), ..world.sent(key) };
    let create = async |attempts, key| {
        world.store.create_task(request("x", attempts), sent(key), &world.ids(attempts)).await
    };
    let first = create(2, Some("first")).await.unwrap();
    is_refused(create(2, None).await, Error::QUEUE_FULL);
    create(1, None).await.unwrap();
    is_refused(create(1, None).await, Error::QUEUE_FULL);
    // What is sent again makes nothing, and has its answer.
    assert_eq!(create(2, Some("first")).await.unwrap().task.id, first.task.id);
    let mut others = sent(None);
    others.act.actor.user = legwork_domain::UserId::from_u128(72);
    world.store.create_task(request("y", 3), others, &world.ids(3)).await.unwrap();
    // A retry and a follow-up queue a turn too; one that has begun makes room.
    let attempt = first.attempts[0].attempt.id;
    world.store.cancel_turn(first.attempts[0].turns[0].id, world.now()).await.unwrap();
    create(1, None).await.unwrap();
    let turn = legwork_domain::TurnId::from_u128(world.number());
    let again = legwork_store::Copying { sent: sent(None), ..world.copying(None) };
    let retried = world.store.retry(attempt, turn, legwork_domain::RetryFrom::Left, again).await;
    is_refused(retried, Error::QUEUE_FULL);
    world.lease().await.unwrap();
}

pub(crate) async fn at_the_same_moment_it_fills_the_queue_no_further(world: World) {
    let other = world.beside().await;
    let create = async |store: &legwork_store::Store| {
        let sent = Sent { queued_max: Some(3), ..world.sent(None) };
        store.create_task(request("x", 1), sent, &world.ids(1)).await.is_ok()
    };
    let calls = (0..12).map(|n| create(if n % 2 == 0 { &world.store } else { &other.store }));
    let made = futures::future::join_all(calls).await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 3);
}

pub(crate) async fn uploads_count_until_a_task_names_them(world: World) {
    let blob = |n: u8| -> legwork_domain::BlobId { format!("{n:064x}").parse().unwrap() };
    let (user, other) = (legwork_domain::UserId::LOCAL, legwork_domain::UserId::from_u128(73));
    const KIB: u64 = 1024;
    let room = async |n, bytes, user| {
        world.store.room_for_upload(&blob(n), legwork_store::upload_weight(bytes), user, 200 * KIB).await
    };
    room(1, 200 * KIB, user).await.unwrap();
    is_refused(room(1, 201 * KIB, user).await, Error::UPLOADS_FULL);
    world.store.blob_uploaded(&blob(1), 130 * KIB, user, world.now()).await.unwrap();
    // The smallest counts 64 KiB.
    room(2, 1, user).await.unwrap();
    world.store.blob_uploaded(&blob(2), 1, user, world.now()).await.unwrap();
    is_refused(room(3, 1, user).await, Error::UPLOADS_FULL);
    room(1, 130 * KIB, user).await.unwrap();
    room(3, 1, other).await.unwrap();
    let mut names = request("x", 1);
    names.images = vec![blob(1)];
    world.store.create_task(names, world.sent(None), &world.ids(1)).await.unwrap();
    room(3, 100 * KIB, user).await.unwrap();
}
