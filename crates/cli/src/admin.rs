//! `legwork admin`: budgets, spending, repositories and the audit log of a server.

mod audit;
mod backup;
mod budget;
mod usage;
mod webhook;

use legwork_domain::{LinkDraft, RepositoryDraft, check_no_login, without_login};

use crate::call::{Call, CallArgs};
use crate::config::{Config, Vars};
use crate::exit::{Exit, Trouble};
use crate::people;
use crate::text::Line;

/// Keeps a server: budgets, spending, repositories, the audit log.
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
    #[command(flatten)]
    Api(Api),
    #[command(flatten)]
    Here(Here),
}

/// What is done on this machine's data directory itself.
#[derive(Debug, clap::Subcommand)]
enum Here {
    /// Copies all that this machine's server keeps to a new directory, while it runs.
    Backup(backup::BackupArgs),
    /// Puts a backup in the place of this machine's database, which is set aside. No server may run on it.
    Restore(backup::RestoreArgs),
}

/// What is asked of a server.
#[derive(Debug, clap::Subcommand)]
enum Api {
    /// What the server, a user or a task may spend.
    #[command(subcommand)]
    Budget(budget::Verb),
    /// What was spent.
    Usage(usage::Args),
    /// Who changed what about who may do what.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Where state changes are told.
    #[command(subcommand)]
    Webhook(webhook::Verb),
    /// Makes a link that logs a user in with a browser, once, within 15 minutes.
    Link {
        /// Whom, by name or id. Default: you.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Makes a repository known before its first task, so that roles on it can be given.
    Repository {
        /// The URL by which tasks will name it.
        url: String,
    },
}

/// Runs the verb.
///
/// # Errors
/// What the server says.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let form = args.call.form();
    match args.verb {
        Verb::Here(Here::Backup(of)) => backup::backup(of, form, config, vars).await,
        Verb::Here(Here::Restore(of)) => backup::restore(of, form, config, vars).await,
        Verb::Api(verb) => args.call.with(config, vars, async |call| over_the_api(&verb, call).await).await,
    }
}

async fn over_the_api(verb: &Api, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Api::Budget(verb) => budget::run(verb, call).await,
        Api::Usage(args) => usage::run(args, call).await,
        Api::Audit(verb) => audit::run(verb, call).await,
        Api::Webhook(verb) => webhook::run(verb, call).await,
        Api::Link { user } => {
            let user = match user {
                Some(name) => Some(people::user(name, call.client).await?.id),
                None => None,
            };
            let link = call.client.create_link(&LinkDraft { user }).await?;
            call.answer(&link, &[Line::of(&link.url)])
        }
        Api::Repository { url } => {
            let next = format!("legwork admin repository {}", without_login(url));
            check_no_login(url).map_err(|what| Trouble::usage(what, next))?;
            let known = call.client.create_repository(&RepositoryDraft { url: url.clone() }).await?;
            call.answer(&known, &[Line::of(&known.id.to_string())])
        }
    }
}
