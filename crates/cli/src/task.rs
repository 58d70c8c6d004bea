//! `legwork task`: everything about tasks that are handed over, over the same API whoever serves it.

mod answer;
mod apply;
mod archive;
mod cancel;
mod create;
mod diff;
mod find;
mod fork;
mod logs;
mod ls;
mod network;
mod remove;
mod rename;
mod resume;
mod retry;
mod send;
mod show;
pub(crate) mod top_up;
mod wait;
mod watch;

use legwork_client::Client;
use legwork_domain::TaskView;

use self::archive::Place;
use crate::call::{Call, CallArgs, Form};
use crate::config::{Config, Vars};
use crate::exit::Exit;

/// Hands tasks over, follows them and uses their results.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What every such command takes.
    #[command(flatten)]
    call: CallArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Hands a task over and returns at once with its id.
    New(Box<create::Args>),
    /// Lists tasks, newest first.
    Ls(ls::Args),
    /// Shows a task's result: answer, evidence, checks, price.
    Show(Which),
    /// Follows a task live until it is over. Ctrl-C leaves it alone.
    Watch(Which),
    /// Waits until a task is over or needs you, and tells how by the exit code.
    Wait(wait::Args),
    #[command(flatten)]
    Past(Past),
    /// Writes a task's patch to standard output.
    Diff(Which),
    /// Applies a task's patch to its repository.
    Apply(apply::Args),
    /// Says something to a task: to the turn that runs, or as a follow-up.
    Send(send::Args),
    /// Answers what a task asked, or decides on an action.
    Answer(answer::Args),
    /// Cancels a task that is queued or running.
    Cancel(Which),
    /// Has the work of a task that failed, was cancelled or reached a limit done again.
    Retry(retry::Args),
    /// Goes on from where a turn ended, in another direction: as a task of its own.
    Fork(fork::Args),
    #[command(flatten)]
    Entry(Entry),
    /// Adds to what a task may spend in all.
    TopUp(top_up::Args),
    /// Takes up a task whose command was killed, and shows it to its end.
    Resume(Which),
}

/// What happened in a task.
#[derive(Debug, clap::Subcommand)]
enum Past {
    /// Shows every step of a task, with the whole output of its commands.
    Logs(Which),
    /// Lists what left a task's sandboxes and what was blocked; proposes a policy.
    Network(network::Args),
}

/// What is done to a task's place in the list, whatever its turns do.
#[derive(Debug, clap::Subcommand)]
enum Entry {
    /// Gives a task another title.
    Rename(rename::Args),
    /// Takes tasks out of the list; they go on all the same.
    Archive(archive::Args),
    /// Puts archived tasks back into the list.
    Unarchive(archive::Args),
    /// Deletes tasks with all that they hold; what still runs is stopped.
    Rm(remove::Args),
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

/// The task of that id, or whose id ends so.
///
/// # Errors
/// If there is none, or several.
pub(crate) async fn named(task: &str, client: &Client) -> anyhow::Result<TaskView> {
    find::task(&Which { task: Some(task.to_owned()), attempt: None }, client).await
}

/// Runs the verb.
///
/// # Errors
/// If there is no such task, or the server cannot be reached.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    args.call.with(config, vars, async |call| verb_on(args.verb, call).await).await
}

async fn verb_on(verb: Verb, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Verb::New(args) => Box::pin(create::run(&args, call)).await,
        Verb::Ls(args) => ls::run(&args, call).await,
        Verb::Show(which) => show::run(&which, call).await,
        Verb::Watch(which) => Box::pin(watch::run(&which, call)).await,
        Verb::Wait(args) => wait::run(&args, call).await,
        Verb::Past(Past::Logs(which)) => logs::run(&which, call).await,
        Verb::Past(Past::Network(args)) => network::run(&args, call).await,
        Verb::Diff(which) => diff::run(&which, call).await,
        Verb::Apply(args) => apply::run(&args, call).await,
        Verb::Send(args) => send::run(&args, call).await,
        Verb::Answer(args) => answer::run(&args, call).await,
        Verb::Cancel(which) => cancel::run(&which, call).await,
        Verb::Retry(args) => retry::run(&args, call).await,
        Verb::Fork(args) => fork::run(&args, call).await,
        Verb::Entry(Entry::Rename(args)) => rename::run(&args, call).await,
        Verb::Entry(Entry::Archive(args)) => archive::run(&args, Place::Archive, call).await,
        Verb::Entry(Entry::Unarchive(args)) => archive::run(&args, Place::List, call).await,
        Verb::Entry(Entry::Rm(args)) => remove::run(&args, call).await,
        Verb::TopUp(args) => top_up::run(&args, call).await,
        Verb::Resume(which) => Box::pin(resume::run(&which, call)).await,
    }
}
