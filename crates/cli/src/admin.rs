//! `legwork admin`: budgets, spending, repositories and the audit log of a server.

mod audit;
mod budget;
mod usage;

use legwork_domain::{LinkDraft, RepositoryDraft};

use crate::call::CallArgs;
use crate::config::{Config, Vars};
use crate::exit::Exit;
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
    /// What the server, a user or a task may spend.
    #[command(subcommand)]
    Budget(budget::Verb),
    /// What was spent.
    Usage(usage::Args),
    /// Who changed what about who may do what.
    #[command(subcommand)]
    Audit(audit::Verb),
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
    args.call
        .with(config, vars, async |call| match &args.verb {
            Verb::Budget(verb) => budget::run(verb, call).await,
            Verb::Usage(args) => usage::run(args, call).await,
            Verb::Audit(verb) => audit::run(verb, call).await,
            Verb::Link { user } => {
                let user = match user {
                    Some(name) => Some(people::user(name, call.client).await?.id),
                    None => None,
                };
                let link = call.client.create_link(&LinkDraft { user }).await?;
                call.answer(&link, &[Line::of(&link.url)])
            }
            Verb::Repository { url } => {
                let known = call.client.create_repository(&RepositoryDraft { url: url.clone() }).await?;
                call.answer(&known, &[Line::of(&known.id.to_string())])
            }
        })
        .await
}
