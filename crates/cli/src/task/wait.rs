use std::time::Duration;

use legwork_domain::{EventKind, TaskView};

use super::{Call, Which, find};
use crate::config::time;
use crate::exit::{Exit, Trouble};
use crate::record::Record;
use crate::run;
use crate::signals::Signals;
use crate::summary;
use crate::text::{DIM, Line};

/// The longest time that can be waited: some years, far below what a clock can hold.
const WAIT_MAX: Duration = Duration::from_secs(100_000_000);

/// Waits until a task is over or needs you, and tells how by the exit code.
///
/// Exit codes: 0 done, 1 failed (also: not over in time), 2 usage, 3 a limit was reached, 4 verification failed, 5 it needs
/// you, 130 cancelled, or interrupted while it waited; the task then goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// Wait no longer than this, for example 30m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<u64>,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let view = find::task(&args.which, call.client).await?;
    let limit = args.timeout.map_or(WAIT_MAX, Duration::from_millis).min(WAIT_MAX);
    let settled = tokio::select! {
        settled = settled(view, call) => settled?,
        () = signals.next() => return Ok(Exit::Interrupted),
        () = tokio::time::sleep(limit) => {
            let what = format!("The task was not over within {}; it goes on.", summary::waited(limit));
            return Err(Trouble::failed(what, "Wait again, or stop it: legwork task cancel").into());
        }
    };
    let records = find::records(&settled, call.client).await?;
    let number = find::attempt(&args.which, &records)?;
    let record = &records[&number];
    let mut lines = summary::outcome(record);
    lines.extend(summary::needs(record, &settled.task));
    let first = Line::default().with(DIM, &settled.task.id.to_string());
    call.answer(&settled, &[vec![first], lines].concat())?;
    Ok(exit(record))
}

/// What the exit code of `run` would be.
fn exit(record: &Record) -> Exit {
    match &record.ended {
        Some(ended) => Exit::of(ended),
        None if record.parked.is_some() => Exit::NeedsYou,
        None => Exit::Failed,
    }
}

/// The task once nothing more happens without a person.
async fn settled(mut view: TaskView, call: &Call<'_>) -> anyhow::Result<TaskView> {
    let mut events = run::read(call.client, &view);
    while !run::settled(&view) {
        // The next change of a state; at the end of all logs the loop's condition holds.
        while let Some(event) = events.recv().await {
            if matches!(event?.kind, EventKind::State { .. }) {
                break;
            }
        }
        view = call.client.task(view.task.id).await?;
    }
    Ok(view)
}
