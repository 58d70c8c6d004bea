use legwork_domain::TaskChange;

use super::{Call, Which, find};
use crate::exit::Exit;
use crate::text::Line;

/// Takes tasks out of the list, or puts them back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks' ids or their last characters.
    #[arg(required = true, value_name = "TASK")]
    tasks: Vec<String>,
}

/// Where a task is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Out of the list.
    Archive,
    /// In it.
    List,
}

pub(super) async fn run(args: &Args, place: Place, call: &Call<'_>) -> anyhow::Result<Exit> {
    let change = TaskChange { title: None, archived: Some(place == Place::Archive) };
    for task in &args.tasks {
        let which = Which { task: Some(task.clone()), attempt: None };
        let id = find::task(&which, call.client).await?.task.id;
        let task = call.client.change_task(id, &change, None).await?;
        let word = match place {
            Place::Archive => "out of the list",
            Place::List => "in the list",
        };
        call.answer(&task, &[Line::of(&format!("{} is {word}: {}", find::short(id), task.title))])?;
    }
    Ok(Exit::Done)
}
