//! `legwork env`: what a repository needs, tried out; recipes of sandboxes that a server keeps for it, and their secrets.

mod detect;
mod files;
mod remote;
mod reset;
mod shell;
mod show;
mod trial;

use std::path::{Path, PathBuf};

use legwork_client::Client;
use legwork_domain::{
    Audience, DEFAULT_ENVIRONMENT, Environment, EnvironmentDraft, EnvironmentId, RepositoryId, SecretDraft,
    StoredEnvironment,
};

use crate::call::{Call, CallArgs};
use crate::config::{Config, Vars};
use crate::exit::{Exit, Trouble};
use crate::run::words;
use crate::text::{DIM, GOOD, Line, PLAIN};
use crate::{network, people, repository, table};

/// Keeps recipes of sandboxes on a server, and their secrets.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What every such command takes.
    #[command(flatten)]
    call: CallArgs,
    /// Of which repository, by URL, path or id. Default: the one around the current directory.
    #[arg(long, value_name = "REPOSITORY", global = true)]
    repo: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Finds out what a repository needs.
    Detect(detect::Args),
    /// Sets the environment up in a sandbox and runs its tests once.
    Test(trial::TrialArgs),
    /// Opens a terminal in the prepared sandbox.
    Shell(shell::Args),
    /// Forgets what set-ups made on this machine, so that the next one starts anew; with --repo what all workers of a server
    /// keep of that repository.
    Reset,
    #[command(flatten)]
    Kept(Kept),
}

/// What is done to the recipes that a server keeps.
#[derive(Debug, clap::Subcommand)]
enum Kept {
    /// Lists a repository's recipes.
    Ls,
    /// Shows a recipe; without a name what a task would use, who said it and what else was said.
    Show {
        /// Its name.
        name: Option<String>,
        /// An earlier version.
        #[arg(long, value_name = "N")]
        version: Option<u64>,
    },
    /// Makes a recipe, or its next version, from a file.
    Set {
        /// Its name.
        name: String,
        /// The recipe as TOML, with the keys of `environment` in the API; - reads standard input.
        #[arg(long, value_name = "FILE", default_value = "-")]
        file: PathBuf,
        /// Yours alone: it goes before the team's of the same name.
        #[arg(long)]
        personal: bool,
    },
    /// Removes a recipe and its secrets.
    Rm {
        /// Its name.
        name: String,
    },
    /// Allows a host, in the recipe's next version.
    Allow {
        /// The recipe's name.
        name: String,
        /// example.com, *.example.com or **.example.com; with :PORT, with http:// before it, with =read after it.
        #[arg(required = true)]
        hosts: Vec<String>,
        /// While the set-up runs, instead of afterwards.
        #[arg(long)]
        setup: bool,
    },
    /// Keeps a secret for a recipe; the value is read from standard input.
    Secret {
        /// The recipe's name.
        name: String,
        /// The secret's.
        secret: String,
        /// Forget it instead.
        #[arg(long)]
        rm: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// What the server says.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let Args { call, repo, verb } = args;
    let verb = match verb {
        Verb::Detect(args) => return detect::run(&args, repo.as_deref(), call.form(), config),
        Verb::Test(args) => {
            return call
                .with(config, vars, async |call| trial::run(&args, repo.as_deref(), call).await)
                .await;
        }
        Verb::Shell(args) => {
            return call
                .with(config, vars, async |call| shell::run(&args, repo.as_deref(), call).await)
                .await;
        }
        Verb::Reset if repo.is_none() => return reset::run(config),
        Verb::Reset => {
            return call
                .with(config, vars, async |call| {
                    reset::at_server(of(repo.as_deref(), call).await?, call).await
                })
                .await;
        }
        Verb::Kept(Kept::Show { name: None, .. }) => {
            return call.with(config, vars, async |call| show::run(repo.as_deref(), call).await).await;
        }
        Verb::Kept(verb) => verb,
    };
    call.with(config, vars, async |call| {
        let repository = of(repo.as_deref(), call).await?;
        verb_on(&verb, repository, call).await
    })
    .await
}

async fn verb_on(verb: &Kept, repository: RepositoryId, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Kept::Ls => list(repository, call).await,
        Kept::Show { name, version } => {
            let name = name.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
            let id = found(name, repository, call.client).await?.id;
            let environment = call.client.environment(id, *version).await?;
            call.answer(&environment, &shown(&environment)?)
        }
        Kept::Set { name, file, personal } => {
            let audience = if *personal { Audience::Personal } else { Audience::Team };
            let draft = EnvironmentDraft { name: name.clone(), recipe: recipe(file)?, audience };
            set(draft, repository, call).await
        }
        Kept::Rm { name } => {
            let environment = found(name, repository, call.client).await?;
            call.client.remove_environment(environment.id).await?;
            call.answer(&environment, &[Line::default().with(GOOD, "Removed ").with(PLAIN, name)])
        }
        Kept::Allow { name, hosts, setup } => allow((name, *setup), hosts, repository, call).await,
        Kept::Secret { name, secret, rm } => {
            let id = found(name, repository, call.client).await?.id;
            let told = if *rm {
                call.client.remove_secret(id, secret).await?;
                "Forgotten: "
            } else {
                let value = words("-")?.trim_end_matches(['\r', '\n']).to_owned();
                call.client.put_secret(id, secret, &SecretDraft { value }).await?;
                "Kept: "
            };
            let environment = call.client.environment(id, None).await?;
            call.answer(&environment, &[Line::default().with(GOOD, told).with(PLAIN, secret)])
        }
    }
}

/// The recipe of that name for the repository that tasks name so.
///
/// # Errors
/// If there is none.
pub(crate) async fn named(name: &str, repository: &str, client: &Client) -> anyhow::Result<EnvironmentId> {
    let known = people::repository(Some(repository), client).await?;
    let missing =
        || Trouble::usage(format!("The server knows no repository {repository}."), "Name one with --repo.");
    Ok(found(name, known.ok_or_else(missing)?, client).await?.id)
}

/// The repository that is meant, as the server knows it.
async fn of(wanted: Option<&str>, call: &Call<'_>) -> anyhow::Result<RepositoryId> {
    if let Some(id) = wanted.and_then(|text| text.parse().ok()) {
        return Ok(id);
    }
    let name = repository::locate(wanted)?.name;
    let known = people::repository(Some(&name), call.client).await?;
    let missing =
        || Trouble::usage(format!("The server knows no repository {name}."), "Name one with --repo.");
    Ok(known.ok_or_else(missing)?)
}

async fn list(repository: RepositoryId, call: &Call<'_>) -> anyhow::Result<Exit> {
    let environments = call.client.environments(repository).await?.environments;
    let rows = environments.iter().map(row).collect();
    let heads = ["NAME", "VERSION", "CHANGED", "SECRETS"];
    call.list(&environments, &table::fitted(&heads, rows, table::columns()))
}

fn row(environment: &StoredEnvironment) -> Vec<Line> {
    let age = people::span(people::now().ms_since(environment.changed_at));
    let whose = if environment.owner.is_some() { " (yours)" } else { "" };
    vec![
        Line::of(&environment.name).with(DIM, whose),
        Line::default().with(DIM, &environment.version.to_string()),
        Line::default().with(DIM, &format!("{age} ago")),
        Line::default().with(DIM, &environment.secrets.join(", ")),
    ]
}

/// The recipe of that name.
async fn found(name: &str, repository: RepositoryId, client: &Client) -> anyhow::Result<StoredEnvironment> {
    let environments = client.environments(repository).await?.environments;
    let found = environments.into_iter().find(|environment| environment.name == name);
    let missing =
        || Trouble::usage(format!("The repository has no recipe {name:?}."), "List them: legwork env ls");
    Ok(found.ok_or_else(missing)?)
}

/// Allows hosts in the team's recipe: what a person's own says of the network does not count.
async fn allow(
    (name, setup): (&str, bool),
    hosts: &[String],
    repository: RepositoryId,
    call: &Call<'_>,
) -> anyhow::Result<Exit> {
    let kept = call.client.environments(repository).await?.environments;
    let is_it = |kept: &StoredEnvironment| kept.name == name && kept.owner.is_none();
    let missing = || {
        let what = format!("The team has no recipe {name:?}. Your own cannot open the network.");
        Trouble::usage(what, "List them: legwork env ls")
    };
    let old = kept.into_iter().find(is_it).ok_or_else(missing)?;
    let mut recipe = old.recipe;
    let policy = if setup { &mut recipe.setup_network } else { &mut recipe.network };
    for host in hosts {
        *policy = std::mem::take(policy).allowing(network::host(host));
    }
    let draft = EnvironmentDraft { name: old.name, recipe, audience: Audience::Team };
    let environment = call.client.change_environment(old.id, old.version, &draft).await?;
    let told = Line::default().with(GOOD, "Allowed ").with(PLAIN, &hosts.join(", "));
    call.answer(&environment, &[told.with(DIM, &format!(", version {}", environment.version))])
}

async fn set(draft: EnvironmentDraft, repository: RepositoryId, call: &Call<'_>) -> anyhow::Result<Exit> {
    let name = draft.name.clone();
    let known = call.client.environments(repository).await?.environments;
    let is_it = |kept: &StoredEnvironment| {
        kept.name == name && kept.owner.is_some() == (draft.audience == Audience::Personal)
    };
    let environment = match known.into_iter().find(is_it) {
        Some(old) => call.client.change_environment(old.id, old.version, &draft).await?,
        None => call.client.create_environment(repository, &draft).await?,
    };
    let version = format!(", version {}", environment.version);
    call.answer(&environment, &[Line::default().with(GOOD, "Kept ").with(PLAIN, &name).with(DIM, &version)])
}

fn recipe(file: &Path) -> anyhow::Result<Environment> {
    let text = if file == Path::new("-") {
        words("-")?
    } else {
        std::fs::read_to_string(file).map_err(|error| {
            Trouble::usage(
                format!("The recipe {} cannot be read: {error}.", file.display()),
                "Name a file of TOML, or send it on standard input.",
            )
        })?
    };
    toml::from_str(&text).map_err(|error| {
        let what = format!("The recipe {} is not one: {error}", file.display());
        Trouble::usage(what, "Its keys are those of `environment` in schema/openapi.json.").into()
    })
}

fn shown(environment: &StoredEnvironment) -> anyhow::Result<Vec<Line>> {
    let head = format!("# {}, version {}", environment.name, environment.version);
    let recipe = toml::to_string(&environment.recipe)?;
    let secrets = format!("# secrets: {}", environment.secrets.join(", "));
    let lines = recipe.lines().map(Line::of);
    Ok(std::iter::once(Line::default().with(DIM, &head))
        .chain(lines)
        .chain((!environment.secrets.is_empty()).then(|| Line::default().with(DIM, &secrets)))
        .collect())
}
