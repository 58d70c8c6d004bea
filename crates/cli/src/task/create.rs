use super::{Call, find};
use crate::exit::Exit;
use crate::run::{self, OrderArgs};
use crate::text::{ACCENT, DIM, Line, WARN};

/// Hands a task over and returns at once with its id.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is asked.
    #[command(flatten)]
    order: OrderArgs,
}

/// The id alone goes to standard output, so that a script can keep it; advice goes to standard error.
pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let view = run::hand_over(&args.order, call.served, call.client, call.config, call.vars).await?;
    let id = view.task.id;
    call.answer(&view, &[Line::of(&id.to_string())])?;
    match call.served {
        Some(_) => run::say(
            &Line::default()
                .with(DIM, "Follow it: ")
                .with(ACCENT, &format!("legwork task watch {}", find::short(id))),
        ),
        None => run::say(
            &Line::default()
                .with(WARN, "No server runs on this data directory: the task waits for one. ")
                .with(DIM, "Start it: ")
                .with(ACCENT, "legwork up"),
        ),
    }
    Ok(Exit::Done)
}
