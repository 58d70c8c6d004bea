//! `legwork token`: what programs and workers show to a server.

use legwork_client::Client;
use legwork_domain::{Role, Scope, Timestamp, Token, TokenDraft, Trust};

use crate::call::{Call, CallArgs};
use crate::config::{Config, Vars, lifetime};
use crate::exit::{Exit, Trouble};
use crate::people;
use crate::run::say;
use crate::table;
use crate::text::{BAD, DIM, GOOD, Line, PLAIN, WARN};

/// Makes, lists and revokes API tokens.
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
    /// Makes a token and writes it to standard output, this once.
    New(DraftArgs),
    /// Lists tokens, with those that do not open any more.
    Ls {
        /// Of which user, by name or id. Default: yours.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    },
    /// Ends a token at once.
    Revoke {
        /// Its id, or the name that you gave it.
        token: String,
    },
}

/// What a token shall be good for.
#[derive(Debug, clap::Args)]
struct DraftArgs {
    /// What to call it, for example laptop.
    name: String,
    /// For a worker: it runs turns and may do nothing else.
    #[arg(long, conflicts_with_all = ["role", "repository"])]
    worker: bool,
    /// The most that it may: viewer, runner, maintainer, owner. Default: runner.
    #[arg(long, value_name = "ROLE", value_parser = people::role, default_value = "runner")]
    role: Role,
    /// For a program that hands tasks over for people who may not run any here: whatever it creates or speaks to is an outsider's.
    #[arg(long, conflicts_with = "worker")]
    outsider: bool,
    /// Only for this repository, by URL or id.
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// For whom it acts, by name or id. Default: you.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// When it ends, for example 30d; at most 366d. Default: 90d.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<u64>,
}

/// Runs the verb.
///
/// # Errors
/// What the server says.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    args.call
        .with(config, vars, async |call| match &args.verb {
            Verb::New(draft) => create(draft, call).await,
            Verb::Ls { user } => list(user.as_deref(), call).await,
            Verb::Revoke { token } => revoke(token, call).await,
        })
        .await
}

async fn create(args: &DraftArgs, call: &Call<'_>) -> anyhow::Result<Exit> {
    let repository = people::repository(args.repository.as_deref(), call.client).await?;
    let scope = if args.worker { Scope::Worker } else { Scope::User { role: args.role, repository } };
    let user = match &args.user {
        Some(name) => Some(people::user(name, call.client).await?.id),
        None => None,
    };
    let expires_at = args.expires.map(|ms| people::now().plus_ms(i64::try_from(ms).unwrap_or(i64::MAX)));
    let trust = if args.outsider { Trust::Outsider } else { Trust::Member };
    let draft = TokenDraft { name: args.name.clone(), scope, user, expires_at, trust };
    let made = call.client.create_token(&draft).await?;
    call.answer(&made, &[Line::of(&made.secret)])?;
    let kept = format!("Keep it safe: it is shown this once. It is {}.", made.token.id);
    say(&Line::default().with(DIM, &kept));
    Ok(Exit::Done)
}

async fn list(user: Option<&str>, call: &Call<'_>) -> anyhow::Result<Exit> {
    let user = match user {
        Some(name) => Some(people::user(name, call.client).await?.id),
        None => None,
    };
    let tokens = call.client.tokens(user).await?.tokens;
    let now = people::now();
    let rows = tokens.iter().map(|token| row(token, now)).collect();
    let heads = ["TOKEN", "NAME", "GOOD FOR", "STATE", "LAST USED"];
    call.list(&tokens, &table::fitted(&heads, rows, table::columns()))
}

fn row(token: &Token, now: Timestamp) -> Vec<Line> {
    let good_for = match token.scope {
        Scope::Worker => "a worker".to_owned(),
        Scope::User { role, repository: None } => people::word(role).to_owned(),
        Scope::User { role, repository: Some(id) } => format!("{} of {id}", people::word(role)),
    };
    let good_for = match token.trust {
        Trust::Member => good_for,
        Trust::Outsider => format!("{good_for}, for outsiders"),
    };
    let state = match (token.revoked_at, token.opens(now)) {
        (Some(_), _) => Line::default().with(BAD, "revoked"),
        (None, false) => Line::default().with(WARN, "expired"),
        (None, true) => {
            let left = people::span(token.expires_at.ms_since(now));
            Line::default().with(GOOD, "opens").with(DIM, &format!(", {left} left"))
        }
    };
    let used = token
        .last_used_at
        .map_or_else(|| "never".to_owned(), |at| format!("{} ago", people::span(now.ms_since(at))));
    vec![
        Line::default().with(DIM, &token.id.to_string()),
        Line::default().with(PLAIN, &token.name),
        Line::default().with(PLAIN, &good_for),
        state,
        Line::default().with(DIM, &used),
    ]
}

async fn revoke(wanted: &str, call: &Call<'_>) -> anyhow::Result<Exit> {
    let id = match wanted.parse() {
        Ok(id) => id,
        Err(_) => named(wanted, call.client).await?.id,
    };
    let token = call.client.revoke_token(id).await?;
    let line = Line::default().with(GOOD, "Revoked ").with(PLAIN, &token.name).with(DIM, &format!(" ({id})"));
    call.answer(&token, &[line])
}

/// The only token of that name which still opens.
async fn named(name: &str, client: &Client) -> anyhow::Result<Token> {
    let mut tokens = client.tokens(None).await?.tokens;
    tokens.retain(|token| token.name == name && token.opens(people::now()));
    match tokens.len() {
        1 => Ok(tokens.swap_remove(0)),
        0 => Err(Trouble::usage(
            format!("You have no token {name:?} that opens."),
            "List them: legwork token ls",
        )
        .into()),
        n => Err(Trouble::usage(
            format!("{n} tokens are called {name:?}."),
            "Name one by its id: legwork token ls",
        )
        .into()),
    }
}
