//! Sources from registries, by their own clients, as repositories of one commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// Where a project comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Registry {
    /// crates.io, by cargo.
    Crates,
    /// By npm.
    Npm,
    /// Source distributions of PyPI, by pip.
    Pypi,
    /// Source packages of Debian, by apt.
    Debian,
}

/// A package's name as one of a directory or file.
pub(crate) fn directory_name(package: &str) -> String {
    package.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The project's directory, if it was fetched.
pub(crate) fn fetched(package: &str, below: &Path) -> Option<PathBuf> {
    let project = below.join("projects").join(directory_name(package));
    project.join(".git").exists().then_some(project)
}

/// The project's directory; fetched once.
pub(crate) fn project(registry: Registry, package: &str, below: &Path) -> Result<PathBuf> {
    if let Some(project) = fetched(package, below) {
        return Ok(project);
    }
    let name = directory_name(package);
    let project = below.join("projects").join(&name);
    let scratch = below.join("scratch").join(&name);
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch)?;
    let source = match registry {
        Registry::Crates => crates(package, &scratch)?,
        Registry::Npm => archive(&scratch, &["npm", "pack", package])?,
        Registry::Pypi => pypi(package, &scratch)?,
        Registry::Debian => debian(package, &scratch)?,
    };
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir_all(project.parent().unwrap_or(below))?;
    std::fs::rename(&source, &project).context("the sources could not be moved")?;
    commit(&project)?;
    Ok(project)
}

fn crates(package: &str, scratch: &Path) -> Result<PathBuf> {
    run(scratch, &["cargo", "init", "--quiet", "--name", "scratch", "--vcs", "none", "."])?;
    let (name, version) = package.split_once('@').context("a crate needs a version")?;
    run(scratch, &["cargo", "add", "--quiet", &format!("{name}@={version}")])?;
    run(scratch, &["cargo", "vendor", "--quiet", "--versioned-dirs", "vendor"])?;
    let source = scratch.join("vendor").join(format!("{name}-{version}"));
    // What cargo adds for itself, and what crates.io made of the manifest.
    let _ = std::fs::remove_file(source.join(".cargo-checksum.json"));
    let original = source.join("Cargo.toml.orig");
    if original.exists() {
        std::fs::rename(original, source.join("Cargo.toml"))?;
    }
    Ok(source)
}

/// Runs what leaves one archive, and unpacks it.
fn archive(scratch: &Path, fetch: &[&str]) -> Result<PathBuf> {
    run(scratch, fetch)?;
    unpack(scratch)
}

fn pypi(package: &str, scratch: &Path) -> Result<PathBuf> {
    archive(
        scratch,
        &["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", package],
    )
}

fn unpack(scratch: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(scratch)?.flatten().map(|entry| entry.path());
    let is_archive =
        |path: &PathBuf| path.to_string_lossy().contains(".tar.") || path.to_string_lossy().ends_with(".tgz");
    let archive = entries.into_iter().find(is_archive).context("no archive came")?;
    let inside = scratch.join("inside");
    std::fs::create_dir_all(&inside)?;
    run(&inside, &["tar", "--extract", "--no-same-owner", "--file", &archive.to_string_lossy()])?;
    only_directory(&inside)
}

fn debian(package: &str, scratch: &Path) -> Result<PathBuf> {
    // A list of sources of its own: the machine's is left as it is.
    let lists = scratch.join("lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    let sources = scratch.join("sources.list");
    std::fs::write(&sources, "deb-src http://deb.debian.org/debian bookworm main\n")?;
    let shared = scratch.parent().unwrap_or(scratch).join("apt-lists");
    std::fs::create_dir_all(shared.join("partial"))?;
    let options = [
        format!("-oDir::Etc::SourceList={}", sources.display()),
        "-oDir::Etc::SourceParts=/dev/null".to_owned(),
        format!("-oDir::State::Lists={}", shared.display()),
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if !shared.join("ready").exists() {
        run(scratch, &[&["apt-get"], &options[..], &["-qq", "update"]].concat())?;
        std::fs::write(shared.join("ready"), "")?;
    }
    run(scratch, &[&["apt-get"], &options[..], &["-qq", "source", "--download-only", package]].concat())?;
    let entries = std::fs::read_dir(scratch)?.flatten().map(|entry| entry.path());
    // Upstream's own archive: what Debian adds is not of the project.
    let is_upstream = |path: &PathBuf| {
        path.to_string_lossy().contains(".orig.tar.") && !path.to_string_lossy().ends_with(".asc")
    };
    let archive = entries.into_iter().find(is_upstream).context("no upstream archive came")?;
    let inside = scratch.join("inside");
    std::fs::create_dir_all(&inside)?;
    run(&inside, &["tar", "--extract", "--no-same-owner", "--file", &archive.to_string_lossy()])?;
    only_directory(&inside)
}

fn only_directory(inside: &Path) -> Result<PathBuf> {
    let mut entries =
        std::fs::read_dir(inside)?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    entries.next().context("the archive holds no directory")
}

fn commit(project: &Path) -> Result<()> {
    run(project, &["git", "init", "--quiet", "--template=", "--initial-branch=main"])?;
    run(project, &["git", "add", "--all", "--force"])?;
    let identity = ["-c", "user.name=Corpus", "-c", "user.email=corpus@localhost"];
    run(project, &[&["git"], &identity[..], &["commit", "--quiet", "--message=As published"]].concat())
}

fn run(directory: &Path, words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", words.join(" "), said.lines().last().unwrap_or_default());
    }
    ensure!(output.status.success(), "{program} failed");
    Ok(())
}
