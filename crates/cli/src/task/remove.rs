use serde_json::json;

use super::{Call, Which, find};
use crate::exit::Exit;
use crate::text::Line;

/// Deletes tasks with all that they hold; what still runs is stopped.
///
/// Nobody sees them any more. What they held is removed for good after the time that the server has for it, and the changes
/// that they made elsewhere stay.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' ids or their last characters.
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    for task in &args.tasks {
        let which = Which { task: Some(task.clone()), attempt: None };
        let task = find::task(&which, call.client).await?.task;
        call.client.delete_task(task.id).await?;
        let line = Line::of(&format!("{} is deleted: {}", find::short(task.id), task.title));
        call.answer(&json!({"deleted": task.id}), &[line])?;
    }
    Ok(Exit::Done)
}
