//! Budgets: nothing is spent beyond them, and what waits for one goes on when it can.

use std::sync::Arc;

use legwork_domain::{
    Allowance, Bounds, Day, EventKind, FollowUp, Outcome, Period, Reservation, Reserved, Spender, State,
    Transition, TurnId, Usage, UsageBy, UserId, Waiting,
};
use legwork_store::{Error, UsageQuery};

use crate::world::{LEASE_MS, World, batch, end, moving, request, tell};

const TOTAL: Period = Period::Total;

fn tokens(limit: u64) -> Allowance {
    Allowance { tokens: Some(limit), ..Allowance::default() }
}

fn wish(epoch: u64, tokens: u64) -> Reservation {
    Reservation { epoch, lease: None, tokens, cost_microusd: Some(0) }
}

fn used(input_tokens: u64, cost: u64) -> Usage {
    Usage { input_tokens, cost_microusd: Some(cost), ..Usage::default() }
}

impl World {
    async fn ask(&self, turn: legwork_domain::TurnId, tokens: u64) -> Reserved {
        self.store.reserve(turn, &wish(1, tokens), self.now()).await.unwrap()
    }

    async fn spend(&self, turn: legwork_domain::TurnId, first: u64, usage: Usage) {
        let event = tell(EventKind::Usage { turn, usage });
        self.append(turn, batch(1, first, vec![event])).await.unwrap();
    }

    async fn spent(&self, spender: Spender, period: Period) -> (u64, u64) {
        let budget = self.store.budget(spender, period, self.now()).await.unwrap();
        (budget.spent.tokens, budget.reserved.tokens)
    }
}

pub(crate) async fn a_reservation_is_settled_by_what_was_spent(world: World) {
    let task = world.create("x", None).await.unwrap().task.id;
    let job = world.lease().await.unwrap();
    assert_eq!(job.spending, Bounds::Free);
    let (turn, payer) = (job.turn.id, Spender::Task(task));
    world.store.set_budget(payer, TOTAL, tokens(100), world.now()).await.unwrap();
    let told = tell(EventKind::Usage { turn, usage: used(10, 3) });
    let recorded = world.store.append(turn, batch(1, 0, vec![told]), world.term()).await.unwrap();
    assert_eq!(recorded.bounds, Some(Bounds::Budgeted), "a budget that came later is heard of");
    assert_eq!(world.ask(turn, 90).await, Reserved::Granted);
    // The next one takes its place.
    assert_eq!(world.ask(turn, 80).await, Reserved::Granted);
    assert_eq!(world.spent(payer, TOTAL).await, (10, 80));
    world.spend(turn, 1, used(60, 9)).await;
    assert_eq!(world.spent(payer, TOTAL).await, (60, 0));
    assert!(matches!(world.ask(turn, 41).await, Reserved::Refused { budget } if budget.limit == tokens(100)));
    assert_eq!(world.ask(turn, 40).await, Reserved::Granted);
    world.pass_ms(5000);
    world.store.finish(turn, end(1, 2, Vec::new()), world.now()).await.unwrap();
    let budget = world.store.budget(payer, TOTAL, world.now()).await.unwrap();
    assert_eq!((budget.spent.tokens, budget.spent.cost_microusd, budget.reserved.tokens), (60, 9, 0));
    assert!((5000..6000).contains(&budget.spent.wall_ms), "{budget:?}");
}

pub(crate) async fn all_budgets_that_apply_are_asked(world: World) {
    let mut request = request("x", 1);
    request.budget = Some(Allowance { cost_microusd: Some(100), ..Allowance::default() });
    let task = world.store.create_task(request, world.sent(None), &world.ids(1)).await.unwrap().task.id;
    let job = world.lease().await.unwrap();
    assert_eq!(job.spending, Bounds::Budgeted);
    let turn = job.turn.id;
    world.store.set_budget(Spender::User(UserId::LOCAL), Period::Day, tokens(50), world.now()).await.unwrap();
    world.store.set_budget(Spender::Server, Period::Day, tokens(40), world.now()).await.unwrap();
    let refusal = |reserved| match reserved {
        Reserved::Refused { budget } => Some((budget.spender, budget.period)),
        _ => None,
    };
    assert_eq!(refusal(world.ask(turn, 45).await), Some((Spender::Server, Period::Day)));
    let dear = Reservation { epoch: 1, lease: None, tokens: 1, cost_microusd: Some(101) };
    assert_eq!(
        refusal(world.store.reserve(turn, &dear, world.now()).await.unwrap()),
        Some((Spender::Task(task), TOTAL))
    );
    let unpriced = Reservation { cost_microusd: None, ..dear };
    let reserved = world.store.reserve(turn, &unpriced, world.now()).await.unwrap();
    assert!(matches!(reserved, Reserved::Unpriced { budget } if budget.spender == Spender::Task(task)));
    assert_eq!(world.store.budgets(None, world.now()).await.unwrap().budgets.len(), 3);
    let stale = Reservation { epoch: 2, ..dear };
    assert!(matches!(world.store.reserve(turn, &stale, world.now()).await, Err(Error::StaleEpoch { .. })));
}

pub(crate) async fn many_at_once_reserve_no_more_than_there_is(world: World) {
    let world = Arc::new(world);
    world.store.set_budget(Spender::Server, TOTAL, tokens(100), world.now()).await.unwrap();
    let mut turns = Vec::new();
    for n in 0..20 {
        world.create(&n.to_string(), None).await.unwrap();
        turns.push(world.lease().await.unwrap().turn.id);
    }
    // Two servers over one database.
    let other = world.place.open().await;
    let calls = turns.iter().enumerate().map(|(n, turn)| {
        let (store, world, turn) =
            (if n % 2 == 0 { world.store.clone() } else { other.clone() }, Arc::clone(&world), *turn);
        tokio::spawn(async move {
            store.reserve(turn, &wish(1, 30), world.now()).await.unwrap() == Reserved::Granted
        })
    });
    let granted = futures::future::join_all(calls)
        .await
        .into_iter()
        .filter(|granted| *granted.as_ref().unwrap())
        .count();
    assert_eq!(granted, 3);
    assert_eq!(world.spent(Spender::Server, TOTAL).await, (0, 90));
}

pub(crate) async fn a_raised_budget_wakes_what_waits_for_it(world: World) {
    let owner = Spender::User(UserId::LOCAL);
    world.store.set_budget(owner, TOTAL, tokens(10), world.now()).await.unwrap();
    let mut turns = Vec::new();
    for n in 0..2 {
        world.create(&n.to_string(), None).await.unwrap();
        let turn = world.lease().await.unwrap().turn.id;
        assert!(matches!(world.ask(turn, 50).await, Reserved::Refused { .. }));
        let park = Transition::Park { on: Waiting::Budget, patch: None };
        world.append(turn, moving(1, 0, park)).await.unwrap();
        turns.push(turn);
    }
    assert_eq!(world.store.wake_funded(world.now()).await.unwrap(), []);
    world.store.set_budget(owner, TOTAL, tokens(99), world.now()).await.unwrap();
    let woken = world.store.wake_funded(world.now()).await.unwrap();
    assert_eq!(
        woken.iter().map(|turn| turn.id).collect::<Vec<_>>(),
        turns[..1],
        "there is room for one alone"
    );
    assert_eq!(woken[0].state, State::Queued);
    assert_eq!(world.spent(owner, TOTAL).await, (0, 50), "and it is reserved");
    assert_eq!(world.store.wake_funded(world.now()).await.unwrap(), []);
    let job = world.lease().await.unwrap();
    assert_eq!(world.store.reserve(job.turn.id, &wish(2, 50), world.now()).await.unwrap(), Reserved::Granted);
    // A lost worker's reservation is given back, so the other one goes on.
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    let woken = world.store.wake_funded(world.now()).await.unwrap();
    assert_eq!(woken.iter().map(|turn| turn.id).collect::<Vec<_>>(), turns[1..]);
}

pub(crate) async fn a_new_day_is_a_new_budget(world: World) {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    world.store.set_budget(Spender::Server, Period::Day, tokens(100), world.now()).await.unwrap();
    world.create("x", None).await.unwrap();
    let turn = world.lease().await.unwrap().turn.id;
    world.spend(turn, 0, used(100, 1)).await;
    assert!(matches!(world.ask(turn, 1).await, Reserved::Refused { .. }));
    world.append(turn, moving(1, 1, Transition::Park { on: Waiting::Budget, patch: None })).await.unwrap();
    world.pass_ms(DAY_MS);
    assert_eq!(world.store.wake_funded(world.now()).await.unwrap().len(), 1);
    assert_eq!(world.spent(Spender::Server, Period::Day).await, (0, 1));
}

pub(crate) async fn what_was_spent_is_reported(world: World) {
    let task = world.create("x", None).await.unwrap().task.id;
    world.create("y", None).await.unwrap();
    for usage in [used(100, 7), used(50, 20)] {
        let job = world.lease().await.unwrap();
        world.spend(job.turn.id, 0, usage).await;
        world.store.finish(job.turn.id, end(1, 1, Vec::new()), world.now()).await.unwrap();
    }
    let today = Day::from(world.now());
    let report = async |by, day, user| {
        let query = UsageQuery { by, from: day, to: day, user };
        let rows = world.store.usage(&query).await.unwrap().rows;
        rows.into_iter().map(|row| (row.spender, row.day, row.spent.tokens)).collect::<Vec<_>>()
    };
    assert_eq!(report(UsageBy::Day, today, None).await, [(Spender::Server, Some(today), 150)]);
    let local = UserId::LOCAL;
    assert_eq!(report(UsageBy::User, today, None).await, [(Spender::User(local), None, 150)]);
    let tasks = report(UsageBy::Task, today, Some(local)).await;
    assert_eq!((tasks.len(), tasks[1]), (2, (Spender::Task(task), None, 100)));
    assert_eq!(report(UsageBy::Task, today, Some(UserId::from_u128(5))).await, []);
    assert_eq!(report(UsageBy::Day, Day::from_days(today.days() + 1), None).await, []);
}

pub(crate) async fn an_end_tells_what_was_spent_over_all_leases(world: World) {
    let task = world.create("x", None).await.unwrap().task.id;
    let turn = world.lease().await.unwrap().turn.id;
    world.spend(turn, 0, used(5, 1)).await;
    world.append(turn, moving(1, 1, Transition::Release)).await.unwrap();
    let cancelled = world.store.cancel(task, world.now()).await.unwrap();
    let ended = cancelled.attempts[0].turns[0].state.ended().unwrap().clone();
    assert_eq!((ended.outcome, ended.usage), (Outcome::Cancelled, used(5, 1)));
}

pub(crate) async fn who_asks_for_a_turn_pays_for_it(world: World) {
    let view = world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    world.spend(job.turn.id, 0, used(100, 1)).await;
    world.store.finish(job.turn.id, end(1, 1, Vec::new()), world.now()).await.unwrap();
    let bob = UserId::from_u128(7);
    let mut sent = world.sent(None);
    sent.act.actor.user = bob;
    let more = FollowUp::new("more".into(), Vec::new());
    let turn = TurnId::from_u128(world.number());
    world.store.follow_up(view.attempts[0].attempt.id, turn, more, sent).await.unwrap();
    let job = world.lease().await.unwrap();
    world.spend(job.turn.id, 0, used(50, 1)).await;
    let today = Day::from(world.now());
    let query = UsageQuery { by: UsageBy::User, from: today, to: today, user: None };
    let mut rows = world.store.usage(&query).await.unwrap().rows;
    rows.sort_by_key(|row| row.spent.tokens);
    let rows: Vec<_> = rows.into_iter().map(|row| (row.spender, row.spent.tokens)).collect();
    assert_eq!(rows, [(Spender::User(bob), 50), (Spender::User(UserId::LOCAL), 100)]);
}
