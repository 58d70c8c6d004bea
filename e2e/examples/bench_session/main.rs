//! Times a whole 20-step session of an agent against a scripted model server, beside a floor and, if given, a rival.
//!
//! What is measured is the agent's own time: from its start to its first request, from the end of each answer to the
//! next request (the command's own time included, so the floor shows it), from the last answer to its exit; processor
//! time of the process tree; peak memory of the tree (PSS: each page counted once). The server answers from memory over
//! loopback and is not part of any figure. All figures of one run are taken on the same machine in turn, so their ratios
//! hold where absolute times drift.
//!
//!     cargo run --release -p legwork-e2e --example bench_session
//!     cargo run --release -p legwork-e2e --example bench_session -- --rival 'codex exec --skip-git-repo-check …'
//!
//! A rival's command line is run by `sh -c` in a git repository with `OPENAI_BASE_URL`, `OPENAI_API_KEY` set.

#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]

mod floor;
mod measure;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::measure::{Figures, Session};
use crate::server::Server;

/// Steps of a session: the model asks for 19 commands and then ends.
const STEPS: usize = 20;
/// Sessions of which the median is given.
const RUNS: usize = 5;
/// Sessions at the same time in the second part.
const CROWD: usize = 8;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut rival = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--floor-session" => return floor::run(),
            "--rival" => rival = Some(args.next().context("--rival needs a command line")?),
            other => bail!("unknown argument {other}; see the head of this file"),
        }
    }
    let scratch = tempfile::tempdir()?;
    let repository = repository(scratch.path())?;
    let subjects = subjects(scratch.path(), &repository, rival)?;
    println!("one session of {STEPS} steps, median of {RUNS}; {CROWD} sessions at once");
    println!(
        "{:<22} {:>10} {:>10} {:>10} {:>10} {:>10} | {:>10} {:>10}",
        "", "first ms", "turn ms", "tail ms", "CPU s", "PSS MiB", "crowd s", "crowd MiB"
    );
    for subject in &subjects {
        let figures = subject.figures()?;
        println!("{:<22} {figures}", subject.name);
    }
    Ok(())
}

/// Something that runs a session.
struct Subject {
    name: &'static str,
    command: Vec<String>,
    repository: PathBuf,
    /// Where the subject keeps its own state; one for all its sessions, so that the second one finds warm caches.
    home: PathBuf,
}

impl Subject {
    fn figures(&self) -> Result<Figures> {
        self.session()?;
        let mut sessions = (0..RUNS).map(|_| self.session()).collect::<Result<Vec<_>>>()?;
        Ok(Figures::new(&mut sessions, self.crowd()?))
    }

    fn session(&self) -> Result<Session> {
        let server = Server::start(STEPS)?;
        let mut command = self.command(&server);
        measure::session(&mut command, &server).with_context(|| format!("a session of {}", self.name))
    }

    fn crowd(&self) -> Result<(f64, f64)> {
        let servers = (0..CROWD).map(|_| Server::start(STEPS)).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let peak = Arc::new(measure::Peak::default());
        let sampler = peak.clone().watch(std::process::id());
        let children =
            servers.iter().map(|server| self.command(server).spawn()).collect::<Result<Vec<_>, _>>()?;
        for mut child in children {
            let status = child.wait()?;
            if !status.success() {
                bail!("one of {CROWD} sessions of {} ended with {status}", self.name);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        drop(sampler);
        thread::yield_now();
        Ok((seconds, peak.mib()))
    }

    fn command(&self, server: &Server) -> Command {
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .current_dir(&self.repository)
            .env("OPENAI_BASE_URL", server.base_url())
            .env("OPENAI_API_KEY", "bench")
            .env("LEGWORK_HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

fn subjects(scratch: &Path, repository: &Path, rival: Option<String>) -> Result<Vec<Subject>> {
    let this = std::env::current_exe()?;
    let legwork = this.parent().and_then(Path::parent).context("no target directory")?.join("legwork");
    if !legwork.is_file() {
        bail!("{} is not there; build it first: cargo build --release", legwork.display());
    }
    let text = |path: &Path| path.display().to_string();
    let subject = |name, command| Subject {
        name,
        command,
        repository: repository.to_owned(),
        home: scratch.join(format!("home-{name}")),
    };
    let run = ["run", "--repo", ".", "--model", "openai/bench", "--json", "Look around."].map(str::to_owned);
    let mut subjects = vec![
        subject("floor", vec![text(&this), "--floor-session".to_owned()]),
        subject("legwork", [vec![text(&legwork)], run.to_vec()].concat()),
    ];
    if let Some(line) = rival {
        subjects.push(subject("rival", vec!["sh".to_owned(), "-c".to_owned(), line]));
    }
    Ok(subjects)
}

fn repository(scratch: &Path) -> Result<PathBuf> {
    let repository = scratch.join("repository");
    fs::create_dir(&repository)?;
    fs::write(repository.join("README.md"), "# A small repository\n\nNothing to see here.\n")?;
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@example.invalid",
            "commit",
            "--quiet",
            "-m",
            "base",
        ],
    ] {
        let status = Command::new("git").args(arguments).current_dir(&repository).status()?;
        if !status.success() {
            bail!("git {arguments:?} ended with {status}");
        }
    }
    Ok(repository)
}
