use legwork_client::Client;

use super::{Which, find};
use crate::exit::Exit;
use crate::json;
use crate::run::home;
use crate::steps::{Detail, Steps};

/// Shows every step of a task, with the whole output of its commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// Write the events as JSON, one a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, client: &Client) -> anyhow::Result<Exit> {
    let view = find::task(&args.which, client).await?;
    let wanted = |number: u8| args.which.attempt.is_none_or(|attempt| attempt == number);
    let label = view.attempts.len() > 1;
    for attempt in view.attempts.iter().filter(|attempt| wanted(attempt.attempt.number)) {
        let events = find::log(attempt, client).await?;
        if args.json {
            let mut out = std::io::stdout().lock();
            events.iter().try_for_each(|event| json::line(&mut out, event))?;
            continue;
        }
        let mut steps = Steps::new(label.then_some(attempt.attempt.number), Detail::Whole);
        for event in &events {
            home::write(&steps.take(event))?;
        }
        home::write(&steps.rest())?;
    }
    Ok(Exit::Done)
}
