use legwork_domain::{AttemptId, FollowUp, Steer, TaskView, Trust};
use uuid::Uuid;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::run;
use crate::text::Line;

/// Says something to a task: to the turn that runs, or as one more turn after all that it has to do.
///
/// A turn that runs hears it with the model's next request. Where none runs, and with --queue, it becomes a follow-up: a new
/// turn that goes on from the attempt's files and history.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id or its last characters.
    task: String,
    /// What to say; - reads it from standard input.
    text: String,
    /// The attempt, where there are several. Default: the best one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    attempt: Option<u8>,
    /// Leave the turn that runs alone: it is done afterwards.
    #[arg(long)]
    queue: bool,
    /// An image with it, which makes it a follow-up. May be given several times.
    #[arg(long = "image-input", value_name = "FILE")]
    images: Vec<std::path::PathBuf>,
    /// These are the words of somebody who may not run tasks here: a follow-up, and the whole task is an outsider's from now on.
    #[arg(long)]
    outsider: bool,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let which = Which { task: Some(args.task.clone()), attempt: args.attempt };
    let view = find::task(&which, call.client).await?;
    let attempt = attempt(&which, &view, call).await?;
    let text = run::words(&args.text)?;
    if !args.queue && !args.outsider && args.images.is_empty() {
        let steer = Steer { text: text.clone() };
        match call.client.steer(attempt, &steer, &Uuid::now_v7().to_string()).await {
            Ok(message) => {
                let line = Line::of("The turn that runs hears it with the model's next request.");
                return call.answer(&message, &[line]);
            }
            // It ended, or waits for something else: then it is done afterwards.
            Err(error) if error.code() == Some("no_live_turn") => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut follow_up = FollowUp::new(text, Vec::new());
    if args.outsider {
        follow_up.trust = Trust::Outsider;
    }
    for image in run::images(&args.images)? {
        follow_up.images.push(call.client.put_blob(image.into()).await?);
    }
    let turn = call.client.follow_up(attempt, &follow_up, &Uuid::now_v7().to_string()).await?;
    call.answer(&turn, &[Line::of(&format!("Queued as turn {}.", turn.number))])?;
    find::tell_who_works(view.task.id, call);
    Ok(Exit::Done)
}

/// The attempt that is meant. Where several run none is the best yet, so one must be named.
async fn attempt(which: &Which, view: &TaskView, call: &Call<'_>) -> anyhow::Result<AttemptId> {
    let live = view.attempts.iter().filter(|attempt| !find::is_over(attempt)).count();
    if which.attempt.is_none() && live > 1 {
        let what = format!("{live} attempts of the task are under way.");
        return Err(Trouble::usage(what, "Say which one is meant: --attempt N").into());
    }
    let number = find::attempt(which, &find::records(view, call.client).await?)?;
    find::id_of(view, number)
}
