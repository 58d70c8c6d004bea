//! The program `legwork`. A table of contents: each verb is a file of the library beside this one.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use legwork_cli::config::{self, Config};
use legwork_cli::exit::{Exit, Trouble, code_of};
use legwork_cli::serve::{server, up, worker};
use legwork_cli::{
    Life, Told, admin, apply_patch, completions, demo, descriptors, doctor, env, log, login, man, run,
    runtime, task, token, user,
};

/// Hands a task on a repository to a coding agent in an isolated sandbox and brings back a reviewed, evidenced patch.
#[derive(Parser)]
#[command(
    name = "legwork",
    version,
    max_term_width = 100,
    propagate_version = false,
    disable_help_subcommand = true
)]
#[command(after_help = "Start with: legwork demo (needs no key and no network), then legwork doctor.")]
struct Legwork {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Work(Work),
    #[command(flatten)]
    Print(Print),
}

/// What needs the configuration.
#[derive(clap::Subcommand)]
enum Work {
    /// Runs a task on a repository.
    Run(Box<run::Args>),
    /// Hands tasks over, follows them and uses their results.
    Task(task::Args),
    /// Shows a whole task on a small repository, with a scripted model.
    Demo(demo::Args),
    /// Says what this machine can do and what is missing.
    Doctor(doctor::Args),
    /// Starts server and worker on this machine, and stays.
    Up(up::Args),
    /// Starts a server alone, and stays.
    Server(server::Args),
    /// Starts a worker for a server elsewhere, and stays.
    Worker(worker::Args),
    /// Keeps recipes of sandboxes on a server, and their secrets.
    Env(env::Args),
    /// Makes, lists and revokes API tokens.
    Token(token::Args),
    /// Says who may do what on a server.
    User(user::Args),
    /// Keeps a server: budgets, spending, repositories, the audit log.
    Admin(admin::Args),
    /// Logs in to a server, which commands then use.
    Login(login::LoginArgs),
    /// Forgets a server's token.
    Logout(login::LogoutArgs),
}

/// What needs nothing of this machine.
#[derive(clap::Subcommand)]
enum Print {
    /// Writes a completion script for a shell.
    Completions(completions::Args),
    /// Writes the manual page.
    Man(man::Args),
    #[command(hide = true)]
    ApplyPatch(apply_patch::Args),
}

impl Work {
    const fn life(&self) -> Life {
        match self {
            Self::Up(_) | Self::Server(_) | Self::Worker(_) => Life::Service,
            Self::Run(_)
            | Self::Task(_)
            | Self::Demo(_)
            | Self::Doctor(_)
            | Self::Env(_)
            | Self::Token(_)
            | Self::User(_)
            | Self::Admin(_)
            | Self::Login(_)
            | Self::Logout(_) => Life::Command,
        }
    }
}

fn main() -> ExitCode {
    // Before all else: this same program is also the one inside a sandbox.
    legwork_sandbox::guest::run_if_guest();
    let told = Told::by(std::env::args_os().skip(1));
    let legwork = match Legwork::try_parse() {
        Ok(legwork) => legwork,
        Err(error) if told == Told::Json && error.use_stderr() => {
            let words = error.to_string();
            let words = words.trim().trim_start_matches("error: ");
            let (what, next) = words.split_once("\n\n").unwrap_or((words, ""));
            let trouble = anyhow::Error::from(Trouble::usage(what, next));
            legwork_cli::report(&trouble, told);
            return code_of(&trouble).into();
        }
        Err(error) => error.exit(),
    };
    let done = match legwork.verb {
        Verb::Work(work) => perform(work),
        Verb::Print(Print::Completions(args)) => completions::run(&args, Legwork::command()),
        Verb::Print(Print::Man(args)) => man::run(&args, Legwork::command()),
        Verb::Print(Print::ApplyPatch(args)) => apply_patch::run(args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            legwork_cli::report(&error, told);
            code_of(&error).into()
        }
    }
}

fn perform(work: Work) -> anyhow::Result<Exit> {
    let config = Config::read()?;
    let vars = &config::process;
    descriptors::raise();
    let life = work.life();
    let wishes = log::Wishes {
        filter: vars("LEGWORK_LOG"),
        format: vars("LEGWORK_LOG_FORMAT"),
        collector: vars("OTEL_EXPORTER_OTLP_ENDPOINT"),
    };
    log::keep_out(&config, vars)?;
    let _traces = log::start(&config, &wishes, life);
    runtime(life)?.block_on(async {
        match work {
            Work::Run(args) => Box::pin(run::run(*args, &config, vars)).await,
            Work::Task(args) => Box::pin(task::run(args, &config, vars)).await,
            Work::Demo(args) => Box::pin(demo::run(args, &config)).await,
            Work::Doctor(args) => Box::pin(doctor::run(args, &config, vars)).await,
            Work::Up(args) => Box::pin(up::run(args, &config, vars)).await,
            Work::Server(args) => Box::pin(server::run(args, &config, vars)).await,
            Work::Worker(args) => Box::pin(worker::run(args, &config, vars)).await,
            Work::Env(args) => Box::pin(env::run(args, &config, vars)).await,
            Work::Token(args) => Box::pin(token::run(args, &config, vars)).await,
            Work::User(args) => Box::pin(user::run(args, &config, vars)).await,
            Work::Admin(args) => Box::pin(admin::run(args, &config, vars)).await,
            Work::Login(args) => login::login(args, &config, vars).await,
            Work::Logout(args) => login::logout(args, &config),
        }
    })
}
