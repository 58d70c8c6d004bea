use super::{Call, find};
use crate::exit::Exit;
use crate::run::{self, OrderArgs};
use crate::text::Line;

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
    find::tell_who_works(id, call);
    Ok(Exit::Done)
}
