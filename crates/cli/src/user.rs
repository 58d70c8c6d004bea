//! `legwork user`: who may do what on a server.

use legwork_domain::{Grant, Role, User, UserDraft};

use crate::call::{Call, CallArgs};
use crate::config::{Config, Vars};
use crate::exit::Exit;
use crate::people;
use crate::table;
use crate::text::{BAD, DIM, GOOD, Line, PLAIN};

/// Says who may do what on a server.
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
    /// Says who you are to the server.
    Me,
    /// Lists users.
    Ls,
    /// Shows a user with its roles.
    Show(Who),
    /// Makes a user, who may do nothing until it gets a role.
    New {
        /// A short name.
        name: String,
        /// What it is on everything: viewer, runner, maintainer, owner.
        #[arg(long, value_name = "ROLE", value_parser = people::role)]
        role: Option<Role>,
    },
    /// Gives a user a role, on one repository or on everything.
    Grant {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// viewer, runner, maintainer, owner; each may do what those before may.
        #[arg(value_parser = people::role)]
        role: Role,
        /// Only there, by URL or id.
        #[arg(long, value_name = "URL")]
        repository: Option<String>,
    },
    /// Takes a user's role away, on one repository or on everything.
    Ungrant {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// Only there, by URL or id.
        #[arg(long, value_name = "URL")]
        repository: Option<String>,
    },
    /// Shuts a user out: its tokens and sessions open nothing.
    Disable(Who),
    /// Lets a user in again.
    Enable(Who),
}

/// Which user.
#[derive(Debug, clap::Args)]
struct Who {
    /// Its name or id.
    user: String,
}

/// Runs the verb.
///
/// # Errors
/// What the server says.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    args.call.with(config, vars, async |call| verb_on(&args.verb, call).await).await
}

async fn verb_on(verb: &Verb, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Verb::Me => {
            let me = call.client.me().await?;
            call.answer(&me, &shown(&me.user, &me.grants))
        }
        Verb::Ls => {
            let users = call.client.users().await?.users;
            let rows = users.iter().map(row).collect();
            call.list(&users, &table::fitted(&["USER", "NAME", "STATE"], rows, table::columns()))
        }
        Verb::Show(who) => show(&who.user, call).await,
        Verb::New { name, role } => {
            let user = call.client.create_user(&UserDraft { name: name.clone() }).await?;
            if let Some(role) = role {
                call.client.grant(user.id, None, *role).await?;
            }
            call.answer(&user, &[Line::of(&user.id.to_string())])
        }
        Verb::Grant { who, role, repository } => {
            let user = people::user(&who.user, call.client).await?;
            let repository = people::repository(repository.as_deref(), call.client).await?;
            call.client.grant(user.id, repository, *role).await?;
            show(&who.user, call).await
        }
        Verb::Ungrant { who, repository } => {
            let user = people::user(&who.user, call.client).await?;
            let repository = people::repository(repository.as_deref(), call.client).await?;
            call.client.ungrant(user.id, repository).await?;
            show(&who.user, call).await
        }
        Verb::Disable(who) => {
            let id = people::user(&who.user, call.client).await?.id;
            let user = call.client.disable_user(id).await?;
            call.answer(&user, &[Line::default().with(GOOD, "Shut out: ").with(PLAIN, &user.name)])
        }
        Verb::Enable(who) => {
            let id = people::user(&who.user, call.client).await?.id;
            let user = call.client.enable_user(id).await?;
            call.answer(&user, &[Line::default().with(GOOD, "Let in again: ").with(PLAIN, &user.name)])
        }
    }
}

async fn show(wanted: &str, call: &Call<'_>) -> anyhow::Result<Exit> {
    let id = people::user(wanted, call.client).await?.id;
    let view = call.client.user(id).await?;
    call.answer(&view, &shown(&view.user, &view.grants))
}

fn row(user: &User) -> Vec<Line> {
    vec![Line::default().with(DIM, &user.id.to_string()), Line::of(&user.name), state(user)]
}

fn state(user: &User) -> Line {
    match user.disabled_at {
        Some(_) => Line::default().with(BAD, "shut out"),
        None => Line::default().with(GOOD, "active"),
    }
}

fn shown(user: &User, grants: &[Grant]) -> Vec<Line> {
    let head = Line::of(&user.name).with(DIM, &format!("  {}  ", user.id)).then(state(user));
    let none = grants.is_empty().then(|| Line::default().with(DIM, "  no role: it may do nothing"));
    let roles = grants.iter().map(|grant| {
        let place = grant.repository.map_or_else(|| "everything".to_owned(), |id| id.to_string());
        Line::of("  ").with(PLAIN, people::word(grant.role)).with(DIM, &format!(" on {place}"))
    });
    std::iter::once(head).chain(none).chain(roles).collect()
}
