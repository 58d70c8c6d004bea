use legwork_domain::{AttemptView, Outcome, Retry, RetryFrom};
use uuid::Uuid;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::text::Line;

/// Has the work of a task that failed, was cancelled or reached a limit done again.
///
/// A new turn with the same words goes on from the files and the history that are left, or starts afresh.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id or its last characters.
    task: String,
    /// The attempt, where there are several. Default: all whose work failed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    attempt: Option<u8>,
    /// Start from a fresh checkout and without history.
    #[arg(long)]
    fresh: bool,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let which = Which { task: Some(args.task.clone()), attempt: args.attempt };
    let view = find::task(&which, call.client).await?;
    let attempts = match args.attempt {
        Some(number) => vec![find::id_of(&view, number)?],
        None => view.attempts.iter().filter(|attempt| failed(attempt)).map(|view| view.attempt.id).collect(),
    };
    if attempts.is_empty() {
        let what = "No attempt of the task failed, was cancelled or reached a limit; nothing was queued.";
        let mend = format!("Say what else to do: legwork task send {} \"…\"", find::short(view.task.id));
        return Err(Trouble::usage(what, mend).into());
    }
    let from = if args.fresh { RetryFrom::Fresh } else { RetryFrom::Left };
    let (mut turns, mut lines) = (Vec::new(), Vec::new());
    for attempt in attempts {
        let turn = call.client.retry(attempt, Retry { from }, &Uuid::now_v7().to_string()).await?;
        lines.push(Line::of(&format!("Queued as turn {}.", turn.number)));
        turns.push(turn);
    }
    call.list(&turns, &lines)?;
    find::tell_who_works(view.task.id, call);
    Ok(Exit::Done)
}

/// Whether the attempt's last turn did not do what it was asked.
fn failed(attempt: &AttemptView) -> bool {
    let outcome = attempt.turns.last().and_then(|turn| turn.state.ended()).map(|ended| ended.outcome);
    matches!(outcome, Some(Outcome::Failed { .. } | Outcome::Cancelled | Outcome::LimitReached { .. }))
}
