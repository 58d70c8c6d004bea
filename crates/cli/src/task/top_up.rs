use legwork_domain::{Allowance, Budget, Period, Spender};

use super::{Call, Which, find};
use crate::config::{money, time, tokens};
use crate::exit::{Exit, Trouble};
use crate::text::{DIM, Line, dollars, duration, thousands};

/// Adds to what a task may spend in all. If it waits for that, it goes on.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("more").required(true).multiple(true))]
pub(super) struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// More US dollars, for example 2.50.
    #[arg(long, value_name = "DOLLARS", value_parser = money, group = "more")]
    cost: Option<u64>,
    /// More tokens, for example 200k.
    #[arg(long, value_name = "TOKENS", value_parser = tokens, group = "more")]
    tokens: Option<u64>,
    /// More time under a worker, for example 30m.
    #[arg(long, value_name = "TIME", value_parser = time, group = "more")]
    time: Option<u64>,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let id = find::task(&args.which, call.client).await?.task.id;
    let spender = Spender::Task(id);
    let budgets = call.client.budgets(Some(spender)).await?.budgets;
    let Some(budget) = budgets.into_iter().find(|budget| budget.period == Period::Total) else {
        let what = format!("{id} has no budget of its own, so there is none to add to.");
        let mend = "If it waits, it is for the budget of its user or of the server: legwork admin budget ls";
        return Err(Trouble::usage(what, mend).into());
    };
    let limit = args.on_top_of(budget.limit)?;
    let budget = call.client.set_budget(spender, Period::Total, &limit).await?;
    call.answer(&budget, &[line(&budget)])
}

impl Args {
    /// The larger budget. What had no limit gets none.
    fn on_top_of(&self, limit: Allowance) -> Result<Allowance, Trouble> {
        let larger = |limit: Option<u64>, more: Option<u64>, what: &str| match (limit, more) {
            (Some(limit), more) => Ok(Some(limit.saturating_add(more.unwrap_or(0)))),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Trouble::usage(
                format!("The task's budget does not limit its {what}, so there is nothing to add to."),
                "Leave that option out.",
            )),
        };
        Ok(Allowance {
            cost_microusd: larger(limit.cost_microusd, self.cost, "cost")?,
            tokens: larger(limit.tokens, self.tokens, "tokens")?,
            wall_ms: larger(limit.wall_ms, self.time, "time")?,
        })
    }
}

/// What may be spent and what was.
pub(crate) fn line(budget: &Budget) -> Line {
    let Budget { limit, spent, .. } = budget;
    let of = [
        limit.cost_microusd.map(|most| format!("{} of {}", dollars(spent.cost_microusd), dollars(most))),
        limit.tokens.map(|most| format!("{} of {} tokens", thousands(spent.tokens), thousands(most))),
        limit.wall_ms.map(|most| format!("{} of {}", duration(spent.wall_ms), duration(most))),
    ];
    let text = of.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Line::default().with(DIM, "spent ").then(Line::of(&text))
}
