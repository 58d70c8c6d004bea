use legwork_domain::{Day, UsageBy, UsageRow};

use crate::call::Call;
use crate::exit::Exit;
use crate::people;
use crate::table;
use crate::text::{DIM, Line, dollars, duration, thousands};

/// Days that a report covers if nobody says: the last four weeks and today.
const DAYS: i32 = 28;

/// What was spent.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One row a day, user or task.
    #[arg(long, value_name = "day|user|task", value_parser = by, default_value = "day")]
    by: UsageBy,
    /// The first day, as 2026-11-25 in UTC. Default: four weeks ago.
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// The last day. Default: today.
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
}

fn by(text: &str) -> Result<UsageBy, String> {
    match text {
        "day" => Ok(UsageBy::Day),
        "user" => Ok(UsageBy::User),
        "task" => Ok(UsageBy::Task),
        _ => Err("it is day, user or task".to_owned()),
    }
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let today = Day::from(people::now());
    let from = args.from.unwrap_or(Day::from_days(today.days() - DAYS));
    let report = call.client.usage(args.by, from, args.to.unwrap_or(today)).await?;
    let rows = report.rows.iter().map(row).collect();
    let heads = ["WHOSE", "COST", "TOKENS", "TIME"];
    call.list(&report.rows, &table::fitted(&heads, rows, table::columns()))
}

fn row(row: &UsageRow) -> Vec<Line> {
    let whose = row.day.map_or_else(|| row.spender.to_string(), |day| day.to_string());
    vec![
        Line::of(&whose),
        Line::of(&dollars(row.spent.cost_microusd)),
        Line::of(&thousands(row.spent.tokens)),
        Line::default().with(DIM, &duration(row.spent.wall_ms)),
    ]
}
