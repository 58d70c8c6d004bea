//! `legwork task`: what was done before, over the same API, from a server without a worker.

mod apply;
mod cancel;
mod diff;
mod find;
mod logs;
mod ls;
mod resume;
mod show;

use crate::config::Config;
use crate::exit::Exit;
use crate::local::Host;

/// Shows and uses earlier tasks.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Lists tasks, newest first.
    Ls(ls::Args),
    /// Shows a task's result: answer, evidence, checks, price.
    Show(Which),
    /// Shows every step of a task, with the whole output of its commands.
    Logs(logs::Args),
    /// Writes a task's patch to standard output.
    Diff(Which),
    /// Applies a task's patch to its repository.
    Apply(apply::Args),
    /// Cancels a task that is queued or running.
    Cancel(Which),
    /// Takes up a task whose command was killed, and shows it to its end.
    Resume(Which),
}

/// Which task and attempt.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// The task's id or its last characters. Default: the newest task.
    pub task: Option<String>,
    /// The attempt, where there are several. Default: the best one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub attempt: Option<u8>,
}

/// Runs the verb.
///
/// # Errors
/// If there is no such task, or the data directory cannot be used.
pub async fn run(verb: Verb, config: &Config) -> anyhow::Result<Exit> {
    let host = Host::start(config).await?;
    match verb_on(verb, &host, config).await {
        Ok(exit) => host.stop().await.map(|()| exit),
        Err(error) => Err(host.why_gone().await.unwrap_or(error)),
    }
}

async fn verb_on(verb: Verb, host: &Host, config: &Config) -> anyhow::Result<Exit> {
    let client = &host.client;
    match verb {
        Verb::Ls(args) => ls::run(&args, client).await,
        Verb::Show(which) => show::run(&which, client).await,
        Verb::Logs(args) => logs::run(&args, client).await,
        Verb::Diff(which) => diff::run(&which, client).await,
        Verb::Apply(args) => apply::run(&args, client, config).await,
        Verb::Cancel(which) => cancel::run(&which, client).await,
        Verb::Resume(which) => Box::pin(resume::run(&which, host, config)).await,
    }
}
