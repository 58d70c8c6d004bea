use legwork_domain::{Allowance, Budget, Period, Spender};

use crate::call::Call;
use crate::config::{money, time, tokens};
use crate::exit::Exit;
use crate::people;
use crate::table;
use crate::task::top_up;
use crate::text::{DIM, GOOD, Line};

/// What can be done with budgets.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Lists budgets and what is spent of them.
    Ls,
    /// Sets a budget, or raises or lowers it. Tasks that waited for room in it go on.
    Set {
        /// Whose and over which time.
        #[command(flatten)]
        of: Of,
        /// What may be spent.
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Takes a budget away.
    Rm(Of),
}

/// Whose budget, and over which time.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// server, a user by name or id, or a task's id.
    spender: String,
    /// Over which time: day (UTC) or total.
    #[arg(long, value_name = "PERIOD", value_parser = period, default_value = "day")]
    per: Period,
}

/// What may be spent; what is not given has no limit.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct LimitArgs {
    /// US dollars, for example 20.
    #[arg(long, value_name = "DOLLARS", value_parser = money)]
    cost: Option<u64>,
    /// Tokens, for example 2M.
    #[arg(long, value_name = "TOKENS", value_parser = tokens)]
    tokens: Option<u64>,
    /// Time under a worker, for example 8h.
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<u64>,
}

fn period(text: &str) -> Result<Period, String> {
    match text {
        "day" => Ok(Period::Day),
        "total" => Ok(Period::Total),
        _ => Err("it is day or total".to_owned()),
    }
}

pub(super) async fn run(verb: &Verb, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls => {
            let budgets = call.client.budgets(None).await?.budgets;
            let rows = budgets.iter().map(row).collect();
            call.list(&budgets, &table::fitted(&["WHOSE", "PER", "SPENT"], rows, table::columns()))
        }
        Verb::Set { of, limit } => {
            let limit = Allowance { cost_microusd: limit.cost, tokens: limit.tokens, wall_ms: limit.time };
            let budget = call.client.set_budget(spender(of, call).await?, of.per, &limit).await?;
            call.answer(&budget, &[top_up::line(&budget)])
        }
        Verb::Rm(of) => {
            let spender = spender(of, call).await?;
            call.client.remove_budget(spender, of.per).await?;
            let gone = serde_json::json!({ "spender": spender, "period": of.per });
            call.answer(
                &gone,
                &[Line::default().with(GOOD, "It is gone: nothing is limited by it any more.")],
            )
        }
    }
}

async fn spender(of: &Of, call: &Call<'_>) -> anyhow::Result<Spender> {
    match of.spender.parse() {
        Ok(spender) => Ok(spender),
        Err(_) => Ok(Spender::User(people::user(&of.spender, call.client).await?.id)),
    }
}

fn row(budget: &Budget) -> Vec<Line> {
    vec![
        Line::of(&budget.spender.to_string()),
        Line::default().with(DIM, budget.period.name()),
        top_up::line(budget),
    ]
}
