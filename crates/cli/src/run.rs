//! `legwork run`: hand a task over, watch it, and take its result home.

mod follow;
pub(crate) mod home;
mod request;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgAction;
use legwork_client::Client;
use legwork_domain::{NetworkPolicy, NewTask, Priority, TaskView};
use legwork_model::Catalog;

use crate::config::{Config, Vars, money, time, tokens};
use crate::exit::{Exit, Trouble};
use crate::local::Host;
use crate::reach::{Place, Served, ServerArg};
use crate::screen::{Mode, Screen};
use crate::signals::Signals;
use crate::text::{DIM, Line, Paint};
use crate::{env, models, ready, repository};

pub use follow::Ends;
pub(crate) use follow::{OnSignal, Watcher, follow, read, say, settled};
pub(crate) use request::{images, words};

/// Runs a task on a repository and shows what happens. Ends with a patch or an answer.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 a limit was reached, 4 verification failed, 5 it needs you, 130 interrupted.
/// Ctrl-C cancels and keeps the partial patch; a second one leaves at once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is asked.
    #[command(flatten)]
    pub order: OrderArgs,
    /// Where the patch goes.
    #[command(flatten)]
    pub take: TakeArgs,
    /// Write one event a line as JSON to standard output, diagnostics to standard error.
    #[arg(long)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArg,
}

/// What a task's sandbox is made of.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GroundArgs {
    /// A shell script that prepares the sandbox after the checkout.
    #[arg(long, value_name = "COMMAND")]
    pub setup: Option<String>,
    /// The base image: a name that the worker's operator gave, or one of a registry, such as debian:12-slim.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// What agent and checks may reach: none (the default), package-managers, all, or hosts with commas between; !HOST denies
    /// one, HOST=read allows GET, HEAD and OPTIONS only.
    #[arg(long, value_name = "POLICY", value_parser = crate::network::policy)]
    pub network: Option<NetworkPolicy>,
    /// What the set-up may reach, in the same form. Default: package-managers.
    #[arg(long, value_name = "POLICY", value_parser = crate::network::policy)]
    pub setup_network: Option<NetworkPolicy>,
}

/// Where and when a task is run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct QueueArgs {
    /// What a worker must have to run it. May be given several times.
    #[arg(long = "label", value_name = "LABEL", action = ArgAction::Append)]
    pub labels: Vec<String>,
    /// Which of your queued tasks goes first: low, normal, high.
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = priority)]
    pub priority: Priority,
}

/// What a task asks for.
#[derive(Clone, Debug, clap::Args)]
pub struct OrderArgs {
    /// What to do, in plain language; - reads it from standard input.
    pub prompt: String,
    /// The repository: a path, or a URL that git can fetch. Default: the one around the current directory.
    #[arg(long, value_name = "PATH-OR-URL")]
    pub repo: Option<String>,
    /// Branch, tag or commit to start from. Default: what HEAD names.
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// The model, as provider/model. Default: from the configuration or the keys in the environment.
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub model: Option<String>,
    /// Ask a question: the repository is read-only and the result is an answer.
    #[arg(long, conflicts_with = "checks")]
    pub ask: bool,
    /// Independent attempts, of which the best verified one is chosen.
    #[arg(long, value_name = "1-4", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub attempts: u8,
    /// A command that must pass on a clean sandbox with the patch. May be given several times.
    #[arg(long = "check", value_name = "COMMAND", action = ArgAction::Append)]
    pub checks: Vec<String>,
    /// What the sandbox is made of.
    #[command(flatten)]
    pub ground: GroundArgs,
    /// Put the uncommitted changes of a local repository on top of the base. The base is then a commit of its own, which no
    /// branch can have: use --apply or --patch.
    #[arg(long)]
    pub include_changes: bool,
    /// What each attempt may spend.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// An image for the prompt. May be given several times.
    #[arg(long = "image-input", value_name = "FILE", action = ArgAction::Append)]
    pub images: Vec<PathBuf>,
    /// What all turns of the task together may cost, in US dollars. At the end of it the task waits for a top-up.
    #[arg(long, value_name = "DOLLARS", value_parser = money)]
    pub budget: Option<u64>,
    /// A recipe that the server keeps for the repository, by name; what the other options say goes before it.
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Its place in the queue.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// The words or commits are those of somebody who may not run tasks here, as a stranger's issue or pull request: no secrets,
    /// and nothing that the task makes is used by another one.
    #[arg(long, conflicts_with = "include_changes")]
    pub outsider: bool,
}

fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err("it is low, normal or high".to_owned()),
    }
}

/// What each attempt may spend.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct LimitArgs {
    /// Stop before more than this many US dollars are spent, for example 2.50.
    #[arg(long, value_name = "DOLLARS", value_parser = money)]
    pub limit_cost: Option<u64>,
    /// Stop after this time, for example 30m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub limit_time: Option<u64>,
    /// Stop before more than this many tokens are used, for example 200k.
    #[arg(long, value_name = "TOKENS", value_parser = tokens)]
    pub limit_tokens: Option<u64>,
}

/// Where the patch goes beside the data directory.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TakeArgs {
    /// Write the patch to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "ask")]
    pub patch: Option<PathBuf>,
    /// Apply the patch to the repository's files. A conflict leaves them untouched.
    #[arg(long, conflicts_with = "ask")]
    pub apply: bool,
    /// Put the patch as one commit on this new branch of the repository; for a URL, push it there.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["ask", "include_changes"])]
    pub branch: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// What kept the task from being handed over or its result from being taken home.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let located = repository::locate(args.order.repo.as_deref())?;
    args.take.check(&located)?;
    let shown = Shown { json: args.json, take: args.take };
    if let Some(served) = args.server.served(config, vars).await? {
        return Box::pin(on_a_server(&args.order, &served, shown, config, vars)).await;
    }
    if args.order.environment.is_some() {
        let what = "--environment names a recipe that a server keeps, and this command has no server.";
        return Err(
            Trouble::usage(what, "Start one: legwork up. Or say what it says: --setup, --check").into()
        );
    }
    let settings = models::settings(config, vars)?;
    let catalog = Arc::new(Catalog::new(settings.clone())?);
    let model = models::choose(args.order.model.as_deref(), config, &settings, &catalog).await?;
    let mut config = config.clone();
    config.git.extend(located.login.clone().map(repository::git_setting).into_iter().flatten());
    let new = request::of(&args.order, &config, model, located)?;
    let images = request::images(&args.order.images)?;
    task(new, images, shown, &config, catalog).await
}

/// The same, where workers of a server do the work.
async fn on_a_server(
    order: &OrderArgs,
    served: &Served,
    shown: Shown,
    config: &Config,
    vars: Vars<'_>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let client = served.client()?;
    let view = hand_over(order, Some(served), &client, config, vars).await?;
    if !shown.json {
        say(&Line::default().with(DIM, &format!("{} at {}", view.task.id, served.url)));
    }
    let mut screen = screen(&view, shown.json);
    let watcher = Watcher {
        client: &client,
        view: &view,
        signals: &mut signals,
        worker: None,
        on_signal: OnSignal::Cancel,
    };
    let ends = follow::follow(watcher, &mut screen).await?;
    home::bring(&client, &view.task, &ends, &shown, config).await
}

/// Hands a task over and does not wait for it. `served` is where `client` leads, if that is not this process.
///
/// # Errors
/// What is wrong with the request, or what the server says.
pub(crate) async fn hand_over(
    order: &OrderArgs,
    served: Option<&Served>,
    client: &Client,
    config: &Config,
    vars: Vars<'_>,
) -> anyhow::Result<TaskView> {
    let model = match served {
        Some(Served { place: Place::Elsewhere, .. }) => models::elsewhere(order.model.as_deref(), config)?,
        Some(_) | None => {
            let settings = models::settings(config, vars)?;
            let catalog = Catalog::new(settings.clone())?;
            models::choose(order.model.as_deref(), config, &settings, &catalog).await?
        }
    };
    let located = repository::locate(order.repo.as_deref())?;
    request::without_login(&located)?;
    let mut new = request::of(order, config, model, located)?;
    if let Some(served) = served {
        request::reachable(&new, served, config)?;
    }
    if let Some(name) = &order.environment {
        new.environment_id = Some(env::named(name, &new.source.repository, client).await?);
    }
    for image in request::images(&order.images)? {
        new.images.push(client.put_blob(image.into()).await?);
    }
    let key = uuid::Uuid::now_v7().to_string();
    Ok(client.create_task(&new, &key).await?)
}

/// How a task is shown and where its patch goes.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Events as JSON.
    pub json: bool,
    /// Where the patch goes.
    pub take: TakeArgs,
}

/// Hands `new` over to a server and a worker of this process, and sees it through.
///
/// # Errors
/// As [`run`].
pub async fn task(
    mut new: NewTask,
    images: Vec<Vec<u8>>,
    shown: Shown,
    config: &Config,
    catalog: Arc<Catalog>,
) -> anyhow::Result<Exit> {
    // Before the server starts, so that an early Ctrl-C is heard too.
    let signals = Signals::new()?;
    ready::check(config).await?;
    let host = Host::start(config).await?;
    let seen = async {
        for image in images {
            new.images.push(host.client.put_blob(image.into()).await?);
        }
        let key = uuid::Uuid::now_v7().to_string();
        let view = host.client.create_task(&new, &key).await?;
        see_through(&host, &view, config, Attended { shown, catalog, signals }).await
    };
    match seen.await {
        Ok(exit) => host.stop().await.map(|()| exit),
        // A server that died is the reason behind a call that could not reach it.
        Err(error) => Err(host.why_gone().await.unwrap_or(error)),
    }
}

/// What a command that stays with its task has at hand.
pub(crate) struct Attended {
    /// How it is shown and where its patch goes.
    pub(crate) shown: Shown,
    /// Opens its model.
    pub(crate) catalog: Arc<Catalog>,
    /// End it.
    pub(crate) signals: Signals,
}

/// Works on the task in this process, shows it to its end and brings the patch home.
pub(crate) async fn see_through(
    host: &Host,
    view: &TaskView,
    config: &Config,
    attended: Attended,
) -> anyhow::Result<Exit> {
    let Attended { shown, catalog, mut signals } = attended;
    let mut worker = host.work(config, catalog, view.task.id, view.task.request.attempts)?;
    let mut screen = screen(view, shown.json);
    let watcher = Watcher {
        client: &host.client,
        view,
        signals: &mut signals,
        worker: Some(&mut worker),
        on_signal: OnSignal::Cancel,
    };
    let ends = follow::follow(watcher, &mut screen).await;
    worker.stop().await;
    home::bring(&host.client, &view.task, &ends?, &shown, config).await
}

pub(crate) fn screen(view: &TaskView, json: bool) -> Screen<std::io::Stdout> {
    let stdout = std::io::stdout();
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let mode = match (json, stdout.is_terminal() && !dumb) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Live,
        (false, false) => Mode::Plain,
    };
    let paint = Paint::of(&stdout);
    let attempts: Vec<_> = view.attempts.iter().map(|view| (view.attempt.id, view.attempt.number)).collect();
    Screen::new(stdout, mode, paint, &attempts)
}
