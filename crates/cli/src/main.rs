//! The program `legwork`. A table of contents: each verb is a file of the library beside this one.

use std::process::ExitCode;

use clap::Parser;
use legwork_cli::config::{self, Config};
use legwork_cli::exit::{Exit, code_of};
use legwork_cli::serve::{server, up, worker};
use legwork_cli::{Life, apply_patch, demo, doctor, log, run, runtime, task};

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
    /// Runs a task on a repository.
    Run(Box<run::Args>),
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
    /// Shows and uses earlier tasks.
    #[command(subcommand)]
    Task(task::Verb),
    #[command(hide = true)]
    ApplyPatch(apply_patch::Args),
}

impl Verb {
    const fn life(&self) -> Life {
        match self {
            Self::Up(_) | Self::Server(_) | Self::Worker(_) => Life::Service,
            Self::Run(_) | Self::Demo(_) | Self::Doctor(_) | Self::Task(_) | Self::ApplyPatch(_) => {
                Life::Command
            }
        }
    }
}

fn main() -> ExitCode {
    // Before all else: this same program is also the one inside a sandbox.
    legwork_sandbox::guest::run_if_guest();
    let verb = Legwork::parse().verb;
    match perform(verb) {
        Ok(exit) => exit.into(),
        Err(error) => {
            legwork_cli::report(&error);
            code_of(&error).into()
        }
    }
}

fn perform(verb: Verb) -> anyhow::Result<Exit> {
    if let Verb::ApplyPatch(args) = verb {
        return apply_patch::run(args);
    }
    let config = Config::read()?;
    let life = verb.life();
    log::start(&config.home, config::process("LEGWORK_LOG").as_deref(), life);
    runtime(life)?.block_on(async {
        match verb {
            Verb::Run(args) => Box::pin(run::run(*args, &config, &config::process)).await,
            Verb::Demo(args) => Box::pin(demo::run(args, &config)).await,
            Verb::Doctor(args) => Box::pin(doctor::run(args, &config, &config::process)).await,
            Verb::Up(args) => Box::pin(up::run(args, &config, &config::process)).await,
            Verb::Server(args) => Box::pin(server::run(args, &config)).await,
            Verb::Worker(args) => Box::pin(worker::run(args, &config, &config::process)).await,
            Verb::Task(verb) => Box::pin(task::run(verb, &config)).await,
            Verb::ApplyPatch(args) => apply_patch::run(args),
        }
    })
}
