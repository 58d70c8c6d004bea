use legwork_client::Client;

use super::{Which, find};
use crate::config::Config;
use crate::exit::{Exit, Trouble};
use crate::run::home;

/// Applies a task's patch to its repository.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// Put it as one commit on this new branch instead of changing files.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
}

pub(super) async fn run(args: &Args, client: &Client, config: &Config) -> anyhow::Result<Exit> {
    let view = find::task(&args.which, client).await?;
    let records = find::records(&view, client).await?;
    let number = find::attempt(&args.which, &records)?;
    let record = &records[&number];
    let (Some(patch), Some(contents)) = (&record.patch, home::fetch(client, record).await?) else {
        let what = format!("Attempt {number} of {} left no patch.", view.task.id);
        return Err(
            Trouble::failed(what, format!("See what it did: legwork task logs {}", view.task.id)).into()
        );
    };
    let product = home::Product { task: &view.task, patch, contents: &contents };
    match &args.branch {
        Some(name) => product.branch(name, config)?,
        None => product.apply()?,
    }
    Ok(Exit::Done)
}
