//! `legwork env detect`: what a repository needs, and which file says so.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use legwork_environment::{Detected, Finding, Project};
use legwork_git::{Repository, Url};

use super::{files, remote};
use crate::call::Form;
use crate::config::Config;
use crate::exit::{Exit, Trouble};
use crate::run::home;
use crate::text::{ACCENT, BOLD, DIM, GOOD, Line, PLAIN};

/// Where a repository states its environment.
const RECIPE: &str = ".legwork/environment.toml";

/// Finds out what a repository needs. Nothing of it is run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The repository's directory. Default: the one around the current directory.
    path: Option<PathBuf>,
    /// Branch, tag or commit of a remote repository, which --repo names by its URL. Default: what its HEAD names.
    #[arg(long, value_name = "REF")]
    base: Option<String>,
    /// Write it to .legwork/environment.toml. A file that is there stays.
    #[arg(long)]
    write: bool,
}

/// Runs the verb.
///
/// # Errors
/// If there is no such directory, or the file cannot be written.
pub(super) fn run(args: &Args, repo: Option<&str>, form: Form, config: &Config) -> anyhow::Result<Exit> {
    let json = form == Form::Json;
    if let Some(url) = repo.filter(|_| args.path.is_none()).and_then(remote_url) {
        if args.write {
            let what = "What a remote repository needs cannot be written into it.";
            return Err(
                Trouble::usage(what, "Leave --write out, or name a directory of this machine.").into()
            );
        }
        let tree = remote::view(&url, args.base.as_deref(), &config.git)?;
        return tell(&legwork_environment::detect(&tree), json);
    }
    let root = root(args.path.as_deref().or(repo.map(Path::new)))?;
    let detected = legwork_environment::detect(&files::view(&root));
    let exit = tell(&detected, json)?;
    if args.write {
        write(&root, &detected)?;
    }
    Ok(exit)
}

/// The URL of a repository that is elsewhere.
fn remote_url(text: &str) -> Option<Url> {
    match Repository::parse(text) {
        Ok(Repository::Url(url)) if !Path::new(text).exists() => Some(url),
        Ok(_) | Err(_) => None,
    }
}

fn tell(detected: &Detected, json: bool) -> anyhow::Result<Exit> {
    if json {
        crate::json::line(&mut std::io::stdout().lock(), detected)?;
    } else {
        home::write(&shown(detected))?;
    }
    Ok(if detected.is_empty() { Exit::Failed } else { Exit::Done })
}

/// The directory that is meant: the one that is named, or the repository around the current one.
fn root(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(path) = named else { return Ok(PathBuf::from(crate::repository::locate(None)?.name)) };
    let found = std::fs::canonicalize(path).ok().filter(|path| path.is_dir());
    Ok(found.ok_or_else(|| {
        Trouble::usage(format!("{} is no directory.", path.display()), "Name a repository's directory.")
    })?)
}

fn write(root: &Path, detected: &Detected) -> anyhow::Result<()> {
    let path = root.join(RECIPE);
    if path.symlink_metadata().is_ok() {
        let what = format!("{} is there already and was left as it is.", path.display());
        return Err(Trouble::failed(what, "Move it away to have it written anew.").into());
    }
    let text = legwork_environment::recipe(detected);
    let unwritable = || format!("{} could not be written.", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(root)).with_context(unwritable)?;
    std::fs::write(&path, text).with_context(unwritable)?;
    crate::run::say(&Line::default().with(GOOD, "Wrote ").with(PLAIN, &path.display().to_string()));
    Ok(())
}

/// What was found, for a person.
pub(super) fn shown(detected: &Detected) -> Vec<Line> {
    let mut lines = Vec::new();
    if detected.projects.is_empty() {
        lines.push(Line::of("No stack was recognized."));
    }
    for project in &detected.projects {
        lines.push(head(project));
        lines.extend(project.findings.iter().map(finding));
    }
    lines.extend(detected.notes.iter().map(finding));
    let checks = detected.checks.iter().map(|check| check.command.clone()).collect::<Vec<_>>().join("\n");
    let scripts = [
        ("set-up", detected.setup.as_deref()),
        ("maintenance", detected.maintenance.as_deref()),
        ("start", detected.start.as_deref()),
        ("tests", Some(checks.as_str()).filter(|checks| !checks.is_empty())),
    ];
    for (name, script) in scripts {
        let Some(script) = script else { continue };
        lines.push(Line::default().with(BOLD, name));
        lines.extend(script.lines().map(|line| Line::default().with(DIM, "  ").with(ACCENT, line)));
    }
    lines
}

fn head(project: &Project) -> Line {
    let at = if project.directory.is_empty() { String::new() } else { format!(" in {}", project.directory) };
    Line::default().with(BOLD, &project.stack).with(DIM, &at)
}

fn finding(finding: &Finding) -> Line {
    Line::default().with(DIM, "  ").with(PLAIN, &finding.file).with(DIM, ": ").with(PLAIN, &finding.says)
}
