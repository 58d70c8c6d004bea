use legwork_domain::{Day, UsageBy, UsageRow};

use crate::call::Call;
use crate::exit::Exit;
use crate::table;
use crate::text::{DIM, Line, dollars, duration, thousands};

/// Days that a report covers if nobody says: the last four weeks and today.
const DAYS: i64 = 28;

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
