//! `legwork doctor`: what this machine can do, tried rather than guessed, and the exact command for what is missing.

mod deep;

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use legwork_model::Catalog;
use legwork_sandbox::{Backend as _, Command, Image, Limits, Output, Spec, WORKSPACE};
use serde::Serialize;

use crate::config::{Config, Database, Vars};
use crate::exit::{Exit, lines_of};
use crate::run::home;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, WARN, pad};
use crate::{local, models};

/// Free space below which a build in a sandbox is likely to fail.
const FREE_MIB_MIN: u64 = 2048;
/// The oldest git whose options are used (`update-ref` and friends with `--end-of-options`, `GIT_NO_LAZY_FETCH`).
const GIT_MIN: (u32, u32) = (2, 30);
/// The first git that can be told the addresses of a host (`http.curloptResolve`).
const GIT_PINS: (u32, u32) = (2, 37);
/// Columns of a finding's name.
const NAME_COLUMNS: usize = 22;

/// Says what this machine can do, which model answers, what is missing and how to mend it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the findings as one JSON object.
    #[arg(long)]
    json: bool,
    /// Look at what is kept instead: every log, record and blob is read and held against what must always be true.
    #[arg(long)]
    deep: bool,
    /// With --deep: the database, as of legwork server. Default: the one that a server here would use.
    #[arg(long, value_name = "URL", requires = "deep")]
    database: Option<Database>,
}

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// Good.
    Available,
    /// Works with less.
    Limited,
    /// Not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    section: &'static str,
    name: String,
    standing: Standing,
    detail: String,
    /// What mends it.
    mend: Option<String>,
    /// Whether `legwork run` cannot do without.
    needed: bool,
}

impl Finding {
    fn needed(section: &'static str, name: &str, found: Result<String, (String, String)>) -> Self {
        let (standing, detail, mend) = match found {
            Ok(detail) => (Standing::Available, detail, None),
            Err((detail, mend)) => (Standing::Missing, detail, Some(mend)),
        };
        Self { section, name: name.to_owned(), standing, detail, mend, needed: true }
    }
}

/// Runs the verb.
///
/// # Errors
/// If the findings cannot be written.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    if args.deep {
        return deep::run(args, config, vars).await;
    }
    let mut findings = vec![git(), Finding::needed("Machine", "data directory", data(config))];
    findings.extend(isolation(config).await);
    findings.push(Finding::needed("Sandbox", "a sandbox, tried", sandbox(config).await));
    findings.push(Finding::needed("Model", "configuration", configuration(config)));
    findings.push(Finding::needed("Model", "model", model(config, vars).await));
    let ready = findings.iter().all(|finding| !finding.needed || finding.standing != Standing::Missing);
    if args.json {
        let mut out = std::io::stdout().lock();
        crate::json::line(&mut out, &serde_json::json!({ "ready": ready, "findings": findings }))?;
        out.flush()?;
    } else {
        home::write(&lines(&findings, ready))?;
    }
    Ok(if ready { Exit::Done } else { Exit::Failed })
}

fn lines(findings: &[Finding], ready: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut section = "";
    for finding in findings {
        if section != finding.section {
            section = finding.section;
            lines.push(Line::default().with(BOLD, section));
        }
        let (style, mark) = match finding.standing {
            Standing::Available => (GOOD, "✓"),
            Standing::Limited => (WARN, "!"),
            Standing::Missing => (BAD, "✗"),
        };
        let name = format!(" {} ", pad(&finding.name, NAME_COLUMNS));
        lines.push(Line::of("  ").with(style, mark).with(PLAIN, &name).with(DIM, &finding.detail));
        let mend = finding.mend.iter().flat_map(|mend| mend.lines());
        lines.extend(mend.map(|mend| Line::default().with(ACCENT, "      → ").with(PLAIN, mend)));
    }
    lines.push(Line::default());
    lines.push(if ready {
        Line::default().with(GOOD, "Ready: legwork run \"…\"")
    } else {
        Line::default()
            .with(BAD, "Not ready: see the arrows above. legwork demo needs a sandbox and git, no model.")
    });
    lines
}

type Found = Result<String, (String, String)>;

fn git() -> Finding {
    let said = std::process::Command::new("git").arg("--version").output().map(|output| output.stdout);
    let found = match &said {
        Ok(said) => of_git(String::from_utf8_lossy(said).trim()),
        Err(error) => Err((format!("cannot be started: {error}"), "apt install git".to_owned())),
    };
    let limited = found.as_ref().is_ok_and(|said| version(said) < Some(GIT_PINS));
    let finding = Finding::needed("Machine", "git", found);
    if !limited {
        return finding;
    }
    let (major, minor) = GIT_PINS;
    let detail = format!(
        "{}; before {major}.{minor} a service cannot hold it to the addresses it looked at",
        finding.detail
    );
    Finding { standing: Standing::Limited, detail, mend: Some("Take a newer git.".to_owned()), ..finding }
}

/// What git says of itself, if that is new enough.
fn of_git(said: &str) -> Found {
    if version(said) >= Some(GIT_MIN) {
        return Ok(said.to_owned());
    }
    let (major, minor) = GIT_MIN;
    Err((format!("{said}; at least {major}.{minor} is needed"), "apt install git".to_owned()))
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut parts = said.split(' ').nth(2)?.split('.').map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn data(config: &Config) -> Found {
    let home = &config.home;
    let mend = || "Choose another with LEGWORK_HOME=/path.".to_owned();
    config.make_home().map_err(|error| (format!("{error:#}"), mend()))?;
    tempfile::tempfile_in(home)
        .map_err(|error| (format!("{} cannot be written: {error}", home.display()), mend()))?;
    let free = free_mib(home).map_err(|error| (format!("{}: {error}", home.display()), mend()))?;
    if free < FREE_MIB_MIN {
        return Err((format!("{} has only {free} MiB free", home.display()), mend()));
    }
    Ok(format!("{}, {} GiB free", home.display(), free / 1024))
}

fn free_mib(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

async fn isolation(config: &Config) -> Vec<Finding> {
    let probes = local::probes(config).await;
    let finding = |probe: legwork_sandbox::Probe| Finding {
        section: "Sandbox",
        name: probe.name.to_string(),
        standing: match probe.status {
            legwork_sandbox::Status::Available => Standing::Available,
            legwork_sandbox::Status::Limited => Standing::Limited,
            legwork_sandbox::Status::Missing => Standing::Missing,
        },
        detail: probe.detail,
        mend: probe.mend,
        // What counts is the sandbox that is really made.
        needed: false,
    };
    probes.into_iter().map(finding).collect()
}

/// Makes a sandbox, runs a command in it and removes it.
async fn sandbox(config: &Config) -> Found {
    let start = Instant::now();
    let said = tried(config).await.map_err(|error| {
        let mend = "See the missing layers above. Without a safe sandbox nothing is run here.".to_owned();
        let lines: Vec<String> =
            lines_of(&error).iter().map(|line| line.render(crate::text::Paint::Plain)).collect();
        (lines.join("; "), mend)
    })?;
    Ok(format!("created, {said} ran, removed in {} ms", start.elapsed().as_millis()))
}

/// Makes a sandbox, runs a command in it, and removes it.
pub(crate) async fn tried(config: &Config) -> anyhow::Result<String> {
    let backend = local::backend(config)?;
    let spec = Spec {
        name: format!("doctor-{}", std::process::id()),
        image: Image::Host,
        layers: Vec::new(),
        binds: Vec::new(),
        workspace: legwork_sandbox::Access::Write,
        env: Vec::new(),
        limits: Limits::default(),
        if_lost: legwork_sandbox::IfLost::Removed,
        doors: legwork_sandbox::Doors::Closed,
    };
    let sandbox = backend.create(spec).await?;
    let command = Command {
        argv: vec!["sh".into(), "-c".into(), "exit 0".into()],
        workdir: WORKSPACE.into(),
        timeout_ms: Some(10_000),
        output_bytes_max: 4096,
        ..Command::default()
    };
    let mut process = sandbox.exec(command).await?;
    let mut exit = None;
    while let Some(output) = process.next().await {
        if let Output::Exited(end) = output {
            exit = Some(end);
        }
    }
    sandbox.destroy().await?;
    anyhow::ensure!(exit == Some(legwork_sandbox::Exit::Code(0)), "The command in it ended with {exit:?}.");
    Ok("`sh`".to_owned())
}

fn configuration(config: &Config) -> Found {
    Ok(if config.file.exists() {
        config.file.display().to_string()
    } else {
        format!("none ({}); the environment and defaults are used", config.file.display())
    })
}

async fn model(config: &Config, vars: Vars<'_>) -> Found {
    let told = |error: &anyhow::Error| {
        let mut lines: Vec<String> =
            lines_of(error).iter().map(|line| line.render(crate::text::Paint::Plain)).collect();
        let first = lines.remove(0).trim_start_matches("error: ").to_owned();
        let mend: Vec<&str> = lines.iter().filter_map(|line| line.trim().strip_prefix("→ ")).collect();
        (first, mend.join("\n"))
    };
    let settings = models::settings(config, vars).map_err(|error| told(&error))?;
    let catalog = Catalog::new(settings.clone()).map_err(|error| told(&error.into()))?;
    let name = models::choose(None, config, &settings, &catalog).await.map_err(|error| told(&error))?;
    let start = Instant::now();
    match catalog.ping(&name).await {
        Ok(()) => Ok(format!("{name} answers in {} ms", start.elapsed().as_millis())),
        Err(error) => Err((format!("{name}: {error}"), mend(&error))),
    }
}

/// What to do about a model that does not answer.
fn mend(error: &legwork_model::Error) -> String {
    use legwork_model::Error;
    match error {
        Error::Auth { provider, .. } => format!("Check the key of {provider} in its environment variable."),
        Error::Quota { provider, .. } => {
            format!("See to the billing of {provider}, or choose another model.")
        }
        Error::Unavailable { provider, .. } => {
            format!("Check that {provider}'s base URL can be reached from here, and proxies (HTTPS_PROXY).")
        }
        Error::Config(_) | Error::Rejected { .. } | Error::ContextOverflow { .. } => {
            "Choose another with --model, LEGWORK_MODEL or `model` in the configuration.".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_git_is_judged_by_its_version() {
        for (said, number) in [
            ("git version 2.47.3", Some((2, 47))),
            ("git version 2.34.1 (Apple Git-1)", Some((2, 34))),
            ("git version 3.0.rc1", Some((3, 0))),
            ("git version two", None),
            ("", None),
        ] {
            assert_eq!(version(said), number, "{said}");
        }
        assert!(of_git("git version 2.30.0").is_ok() && of_git("git version 3.0").is_ok());
        for old in ["git version 2.29.9", "git version 1.99", "nonsense"] {
            assert!(of_git(old).unwrap_err().0.contains("at least 2.30"), "{old}");
        }
    }
}
