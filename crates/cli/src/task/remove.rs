use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use legwork_domain::TaskView;
use serde_json::json;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::run::say;
use crate::text::Line;

/// Bytes of an answer that are read: more than any yes has.
const ANSWER_BYTES_MAX: u64 = 64;

/// Deletes tasks with all that they hold; what still runs is stopped.
///
/// Nobody sees them any more. What they held is removed for good after the time that the server has for it, and the changes
/// that they made elsewhere stay.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' ids or their last characters.
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
    /// Do not ask first. Needed where nobody can be asked.
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut views = Vec::with_capacity(args.tasks.len());
    for task in &args.tasks {
        let which = Which { task: Some(task.clone()), attempt: None };
        let view = find::task(&which, call.client).await?;
        // One that is named two times is deleted once.
        if views.iter().all(|known: &TaskView| known.task.id != view.task.id) {
            views.push(view);
        }
    }
    if !args.yes && !agreed(&views)? {
        call.answer(&json!({"deleted": null}), &[Line::of("Nothing was deleted.")])?;
        return Ok(Exit::Done);
    }
    for TaskView { task, .. } in &views {
        call.client.delete_task(task.id).await?;
        let line = Line::of(&format!("{} is deleted: {}", find::short(task.id), task.title));
        call.answer(&json!({"deleted": task.id}), &[line])?;
    }
    Ok(Exit::Done)
}

/// Whether the person at the terminal wants it.
fn agreed(views: &[TaskView]) -> anyhow::Result<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() {
        let what = "Deleting takes log, patches and files with it, and nobody can be asked here; nothing was deleted.";
        return Err(Trouble::usage(what, "Say it with the command: legwork task rm --yes TASK").into());
    }
    for TaskView { task, .. } in views {
        say(&Line::of(&format!("{}  {}", find::short(task.id), task.title)));
    }
    write!(stderr, "Delete with log, patches and files? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().take(ANSWER_BYTES_MAX).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
