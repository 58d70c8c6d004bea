//! How far those are trusted who hand tasks over and speak to them.

use legwork_domain::{
    Access, EventKind, FollowUp, ForkDraft, Grant, Item, ItemBody, ItemId, ItemStatus, MessageId, NewTask,
    Reply, RetryFrom, Role, TaskId, Timestamp, Transition, Trust, TurnId, UserId, Waiting,
};
use legwork_store::{Copying, Error, Sent};

use crate::world::{World, batch, moving, request, tell};

/// What a token for outsiders leaves of an owner's role.
fn outsiders() -> Access {
    Access::whole(vec![Grant { user: UserId::LOCAL, repository: None, role: Role::Owner }])
        .lowered_by(Trust::Outsider)
}

impl World {
    async fn trust(&self, task: TaskId) -> Trust {
        self.store.task(task).await.unwrap().task.request.trust
    }
}

fn code<T>(said: &Result<T, Error>) -> &'static str {
    match said {
        Err(Error::Conflict { code, .. }) => code,
        Err(Error::KeyReused) => "key_reused",
        Err(_) => "another",
        Ok(_) => "done",
    }
}

pub(crate) async fn trust_falls_and_never_rises(world: World) {
    let outsiders = NewTask { trust: Trust::Outsider, ..request("x", 1) };
    let view = world.store.create_task(outsiders, world.sent(None), &world.ids(1)).await.unwrap();
    let follow = async |attempt, trust| {
        let next = FollowUp { trust, ..FollowUp::new("more".into(), Vec::new()) };
        let id = TurnId::from_u128(world.number());
        world.store.follow_up(attempt, id, next, world.sent(None)).await.unwrap();
    };
    let trust = async |task| world.store.task(task).await.unwrap().task.request.trust;
    follow(view.attempts[0].attempt.id, Trust::Member).await;
    assert_eq!(trust(view.task.id).await, Trust::Outsider);
    assert_eq!(world.lease().await.unwrap().task.request.trust, Trust::Outsider, "the lease says so");
    let view = world.store.create_task(request("x", 1), world.sent(None), &world.ids(1)).await.unwrap();
    follow(view.attempts[0].attempt.id, Trust::Member).await;
    assert_eq!(trust(view.task.id).await, Trust::Member);
    follow(view.attempts[0].attempt.id, Trust::Outsider).await;
    assert_eq!(trust(view.task.id).await, Trust::Outsider);
}

pub(crate) async fn all_that_comes_with_an_outsiders_token_is_an_outsiders(world: World) {
    let access = outsiders();
    let sent = |key| Sent { access: Some(&access), ..world.sent(key) };
    let create = async |sent: Sent<'_>| world.store.create_task(request("x", 1), sent, &world.ids(1)).await;
    let made = create(sent(Some("a"))).await.unwrap();
    assert_eq!(
        (made.task.request.trust, world.trust(made.task.id).await),
        (Trust::Outsider, Trust::Outsider)
    );
    assert_eq!(create(sent(Some("a"))).await.unwrap().task.id, made.task.id);
    assert_eq!(code(&create(world.sent(Some("a"))).await), "key_reused", "a member's is another task");
    world.store.cancel(made.task.id, world.now()).await.unwrap();

    let members = world.failed().await;
    let (task, attempt) = (members.task.id, members.attempts[0].attempt.id);
    let copying = || Copying { sent: sent(None), redact: &|_| () };
    let draft = ForkDraft { turn: 1, input: "Another way".into(), images: Vec::new() };
    let fork = world.store.fork(attempt, draft.clone(), copying(), &world.ids(1)).await.unwrap();
    assert_eq!((world.trust(fork.task.id).await, world.trust(task).await), (Trust::Outsider, Trust::Member));
    let fork = world.store.fork(attempt, draft, world.copying(None), &world.ids(1)).await.unwrap();
    assert_eq!(world.trust(fork.task.id).await, Trust::Member);
    let turn = TurnId::from_u128(world.number());
    world.store.retry(attempt, turn, RetryFrom::Left, copying()).await.unwrap();
    assert_eq!(world.lease_of(Some(task)).await.unwrap().task.request.trust, Trust::Outsider);

    let members = world.create("y", None).await.unwrap();
    let (turn, next) = (TurnId::from_u128(world.number()), FollowUp::new("more".into(), Vec::new()));
    world.store.follow_up(members.attempts[0].attempt.id, turn, next, sent(None)).await.unwrap();
    assert_eq!(world.trust(members.task.id).await, Trust::Outsider);
}

pub(crate) async fn an_outsiders_words_reach_no_turn_that_a_worker_has_as_a_members(world: World) {
    let access = outsiders();
    let sent = || Sent { access: Some(&access), ..world.sent(None) };
    let message = || MessageId::from_u128(world.number());
    let view = world.create("x", None).await.unwrap();
    let (task, attempt) = (view.task.id, view.attempts[0].attempt.id);
    let steer = async || world.store.steer(attempt, message(), "and this".into(), sent()).await;
    let answer = async || {
        let reply = Reply::Answer { item: ItemId::new(1), text: "b".into() };
        world.store.answer(attempt, message(), reply, sent()).await
    };

    let turn = world.lease().await.unwrap().turn.id;
    let item = Item {
        id: ItemId::new(1),
        turn,
        status: ItemStatus::InProgress,
        started_at: Timestamp::from_micros(7),
        ended_at: None,
        body: ItemBody::Question { text: "Which?".into(), options: Vec::new(), answer: None },
    };
    world.append(turn, batch(1, 0, vec![tell(EventKind::ItemStarted { item })])).await.unwrap();
    assert_eq!((code(&steer().await), code(&answer().await)), ("members_turn", "members_turn"));
    assert_eq!(world.trust(task).await, Trust::Member, "what was refused changes nothing");

    let next = FollowUp::new("more".into(), Vec::new());
    world.store.follow_up(attempt, TurnId::from_u128(world.number()), next, sent()).await.unwrap();
    assert_eq!(world.trust(task).await, Trust::Outsider);
    assert_eq!(
        (code(&steer().await), code(&answer().await)),
        ("members_turn", "members_turn"),
        "it still has all"
    );

    world.append(turn, moving(1, 1, Transition::Park { on: Waiting::Input, patch: None })).await.unwrap();
    answer().await.unwrap();
    assert_eq!(world.lease().await.unwrap().task.request.trust, Trust::Outsider);
    steer().await.unwrap();
    world.check(attempt).await;
}
