//! Budgets over HTTP: set, refused, topped up, reported.

use legwork_domain::{
    Allowance, Bounds, Day, Directive, EventBatch, EventKind, Period, Reservation, Reserved, Spender, State,
    Timestamp, Transition, Usage, UsageBy, Waiting,
};

use crate::world::{World, asks, batch, tell};

const WISH: Reservation = Reservation { epoch: 1, lease: None, tokens: 50, cost_microusd: None };

fn tokens(limit: u64) -> Allowance {
    Allowance { tokens: Some(limit), ..Allowance::default() }
}

#[tokio::test]
async fn a_turn_without_budget_waits_for_a_larger_one_and_goes_on() {
    let world = World::start().await;
    let job = world.job("a").await;
    assert_eq!(job.spending, Bounds::Free);
    let payer = Spender::Task(job.task.id);
    let budget = world.client.set_budget(payer, Period::Total, &tokens(100)).await.unwrap();
    assert_eq!((budget.limit, budget.spent.tokens), (tokens(100), 0));
    let usage = Usage { input_tokens: 70, ..Usage::default() };
    let spent = batch(&job, 0, vec![tell(EventKind::Usage { turn: job.turn.id, usage })]);
    let accepted = world.client.append(job.turn.id, &spent).await.unwrap();
    assert_eq!(accepted.directives, [Directive::Reserve]);
    let refused = world.client.reserve(job.turn.id, &WISH).await.unwrap();
    assert!(matches!(refused, Reserved::Refused { budget } if budget.spent.tokens == 70));
    let park = Transition::Park { on: Waiting::Budget, patch: None };
    let parking = EventBatch { transition: Some(park), ..batch(&job, 1, Vec::new()) };
    world.client.append(job.turn.id, &parking).await.unwrap();
    // A worker that waits for work hears of the larger budget.
    let waiting = asks(20_000, None);
    let larger = tokens(120);
    let raising = world.client.set_budget(payer, Period::Total, &larger);
    let (next, raised) = tokio::join!(world.client.lease(&waiting), raising);
    let next = next.unwrap().unwrap();
    assert_eq!((next.turn.id, next.spending, next.turn.usage), (job.turn.id, Bounds::Budgeted, usage));
    assert_eq!(raised.unwrap().limit, tokens(120));
    let again = Reservation { epoch: 2, ..WISH };
    assert_eq!(world.client.reserve(job.turn.id, &again).await.unwrap(), Reserved::Granted);
    let today = Day::from(Timestamp::from_micros(jiff::Timestamp::now().as_microsecond()));
    let report = world.client.usage(UsageBy::Task, Day::from_days(today.days() - 1), today).await.unwrap();
    assert_eq!(
        report.rows.iter().map(|row| (row.spender, row.spent.tokens)).collect::<Vec<_>>(),
        [(payer, 70)]
    );
}

#[tokio::test]
async fn a_budget_is_set_shown_and_taken_away() {
    let world = World::start().await;
    let path = "/v1/budgets/server/day";
    assert_eq!(world.http("GET", path).send().await.unwrap().status(), 404);
    let nothing = world.client.set_budget(Spender::Server, Period::Day, &Allowance::default()).await;
    assert_eq!(nothing.unwrap_err().code(), Some("invalid"));
    let budget = world.client.set_budget(Spender::Server, Period::Day, &tokens(5)).await.unwrap();
    assert_eq!(world.client.budgets(None).await.unwrap().budgets, [budget]);
    assert_eq!(world.client.budgets(Some(Spender::Server)).await.unwrap().budgets, [budget]);
    assert_eq!(world.http("GET", path).send().await.unwrap().status(), 200);
    for _ in 0..2 {
        world.client.remove_budget(Spender::Server, Period::Day).await.unwrap();
    }
    assert_eq!(world.client.budgets(None).await.unwrap().budgets, []);
    for wrong in ["/v1/budgets/turn_0/day", "/v1/budgets/server/week"] {
        assert_eq!(world.http("GET", wrong).send().await.unwrap().status(), 404, "{wrong}");
    }
    assert!(matches!(world.job("a").await.turn.state, State::Leased { .. }));
}
