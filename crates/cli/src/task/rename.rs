use legwork_domain::TaskChange;

use super::{Call, Which, find};
use crate::exit::Exit;
use crate::text::Line;

/// Gives a task another title.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id or its last characters.
    task: String,
    /// One line of at most 200 bytes.
    title: String,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let which = Which { task: Some(args.task.clone()), attempt: None };
    let id = find::task(&which, call.client).await?.task.id;
    let change = TaskChange { title: Some(args.title.clone()), archived: None };
    let task = call.client.change_task(id, &change, None).await?;
    call.answer(&task, &[Line::of(&format!("{} is now: {}", find::short(id), task.title))])
}
