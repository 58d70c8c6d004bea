use legwork_domain::{ForkDraft, TaskView};
use uuid::Uuid;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::run;
use crate::text::Line;

/// Goes on from where a turn ended, in another direction: as a task of its own, on the turn's files and with its history.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id or its last characters.
    task: String,
    /// What to do from there; - reads it from standard input.
    prompt: String,
    /// The attempt, where there are several. Default: the best one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    attempt: Option<u8>,
    /// The turn. Default: the last one that ended.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turn: Option<u32>,
    /// An image for the prompt. May be given several times.
    #[arg(long = "image-input", value_name = "FILE")]
    images: Vec<std::path::PathBuf>,
}

/// The new task's id alone goes to standard output, so that a script can keep it.
pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let which = Which { task: Some(args.task.clone()), attempt: args.attempt };
    let view = find::task(&which, call.client).await?;
    let number = find::attempt(&which, &find::records(&view, call.client).await?)?;
    let turn = args.turn.map_or_else(|| last_ended(&view, number), Ok)?;
    let mut draft = ForkDraft { turn, input: run::words(&args.prompt)?, images: Vec::new() };
    for image in run::images(&args.images)? {
        draft.images.push(call.client.put_blob(image.into()).await?);
    }
    let attempt = find::id_of(&view, number)?;
    let forked = call.client.fork(attempt, &draft, &Uuid::now_v7().to_string()).await?;
    call.answer(&forked, &[Line::of(&forked.task.id.to_string())])?;
    find::tell_who_works(forked.task.id, call);
    Ok(Exit::Done)
}

/// The number of the attempt's last turn that has ended.
fn last_ended(view: &TaskView, attempt: u8) -> Result<u32, Trouble> {
    let found = view.attempts.iter().find(|view| view.attempt.number == attempt);
    let mut turns = found.into_iter().flat_map(|attempt| attempt.turns.iter().rev());
    turns.find(|turn| turn.state.ended().is_some()).map(|turn| turn.number).ok_or_else(|| {
        let what = "None of the attempt's turns has ended, so there is nothing to go on from.";
        Trouble::usage(what, "Wait for it: legwork task wait")
    })
}
