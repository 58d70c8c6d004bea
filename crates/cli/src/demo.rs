//! `legwork demo`: a whole task without key or network. The model's answers are scripted; all else is the real path:
//! server, worker, sandbox, tools, patch, checks on clean sandboxes, summary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use legwork_domain::{Check, Environment, LocalChanges, NewTask, Source};
use legwork_model::{Catalog, Settings};

use crate::config::Config;
use crate::exit::{Exit, Trouble};
use crate::run::{self, Shown};
use crate::text::{ACCENT, BOLD, DIM, Line, PLAIN};

/// What the model is asked.
const PROMPT: &str =
    "The last page of bin/shelf is missing when it is not full. Fix that and add a test for the edge.";
/// What must hold in the end.
const CHECK: &str = "sh tests/run.sh";

/// The model's answers.
const SCRIPT: &str = include_str!("../demo/model.toml");
/// The repository's files.
const FILES: [(&str, &str); 4] = [
    ("README.md", include_str!("../demo/repository/README.md")),
    ("bin/shelf", include_str!("../demo/repository/bin/shelf")),
    ("data/books.txt", include_str!("../demo/repository/data/books.txt")),
    ("tests/run.sh", include_str!("../demo/repository/tests/run.sh")),
];

/// Shows a whole task on a small repository. Needs no key and no network: the model's answers are scripted, all else is
/// real.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one event a line as JSON to standard output, diagnostics to standard error.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// As `legwork run`.
pub async fn run(args: Args, config: &Config) -> anyhow::Result<Exit> {
    let place = Place::make()?;
    if !args.json {
        run::home::write(&introduction(&place))?;
    }
    let catalog = Arc::new(Catalog::new(Settings::default())?);
    let shown = Shown { json: args.json, ..Shown::default() };
    let exit = run::task(place.task(config), Vec::new(), shown, config, catalog).await?;
    if !args.json {
        run::home::write(&farewell())?;
    }
    Ok(exit)
}

/// The repository and the script. Both stay, so that the commands of the summary work afterwards; the system clears its
/// temporary directory.
struct Place {
    repository: PathBuf,
    script: PathBuf,
}

impl Place {
    fn make() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("legwork-demo-").tempdir();
        let dir = dir.context("No temporary directory could be made.")?.keep();
        let place = Self { repository: dir.join("shelf"), script: dir.join("model.toml") };
        place
            .fill()
            .with_context(|| format!("The demo's repository could not be made in {}.", dir.display()))?;
        Ok(place)
    }

    fn fill(&self) -> anyhow::Result<()> {
        for (name, contents) in FILES {
            let path = self.repository.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(&self.repository))?;
            std::fs::write(&path, contents)?;
        }
        std::fs::write(&self.script, SCRIPT)?;
        git(&self.repository, &["init", "--quiet", "--template=", "--initial-branch=main"])?;
        git(&self.repository, &["add", "--all"])?;
        git(&self.repository, &["update-index", "--chmod=+x", "bin/shelf"])?;
        git(&self.repository, &["commit", "--quiet", "--message=List a shelf page by page"])
    }

    fn task(&self, config: &Config) -> NewTask {
        let source = Source {
            repository: self.repository.display().to_string(),
            base: None,
            local_changes: LocalChanges::Leave,
        };
        NewTask {
            environment: Environment {
                checks: vec![Check::new(CHECK, CHECK)],
                resources: config.resources,
                ..Environment::default()
            },
            ..NewTask::new(PROMPT.to_owned(), source, format!("scripted/{}", self.script.display()))
        }
    }
}

/// Git for our own new repository, without the configuration of machine and user (hooks, signing, templates).
fn git(repository: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("git")
        .args(["-c", "user.name=Legwork", "-c", "user.email=demo@localhost", "-C"])
        .arg(repository)
        .args(args)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .output()
        .map_err(|error| {
            Trouble::failed(format!("git could not be started: {error}."), "Install it: apt install git")
        })?;
    anyhow::ensure!(output.status.success(), "git said: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn introduction(place: &Place) -> Vec<Line> {
    vec![
        Line::default()
            .with(BOLD, "A small repository with a failing test: ")
            .with(PLAIN, &place.repository.display().to_string()),
        Line::default().with(DIM, "The same by hand, there:"),
        Line::default()
            .with(DIM, "  ")
            .with(ACCENT, &format!("legwork run \"{PROMPT}\" --check \"{CHECK}\"")),
        Line::default(),
    ]
}

fn farewell() -> Vec<Line> {
    vec![
        Line::default(),
        Line::default()
            .with(PLAIN, "The model was scripted, all else was real. For a real one set ")
            .with(ACCENT, "OPENAI_API_KEY")
            .with(PLAIN, " or ")
            .with(ACCENT, "ANTHROPIC_API_KEY")
            .with(PLAIN, ", or start Ollama, then: ")
            .with(ACCENT, "legwork run \"…\""),
    ]
}
