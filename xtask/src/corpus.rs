//! `cargo xtask env-corpus`: detection, and with `--run` set-up and tests, measured on public projects.
//!
//! The projects are those of `corpus.toml`, their sources what the registries carry, fetched by the registries' own clients
//! into a directory for temporary files and made a repository of one commit. Nothing is configured for any of them.

mod fetch;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::house;
use crate::shell::say;
use table::Row;

/// The note on a project whose registry did not give it.
const UNFETCHED: &str = "its sources could not be fetched";

#[derive(Debug, Deserialize)]
struct Corpus {
    project: Vec<Group>,
}

/// Projects of one language.
#[derive(Debug, Deserialize)]
struct Group {
    language: String,
    registry: fetch::Registry,
    packages: Vec<String>,
}

/// How far each project is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What is found in its files.
    Detect,
    /// And its set-up and tests, in a sandbox.
    Run,
}

/// Measures the corpus and writes the table.
pub(crate) fn run(depth: Depth) -> Result<()> {
    let root = house::root();
    let text =
        std::fs::read_to_string(root.join("xtask/corpus.toml")).context("the corpus cannot be read")?;
    let corpus: Corpus = toml::from_str(&text).context("the corpus is no TOML that fits")?;
    crate::shell::run_cargo(&["build", "--workspace", "--bins"])?;
    let place = Place::make(&root)?;
    let mut rows = Vec::new();
    for group in &corpus.project {
        for package in &group.packages {
            let row = place.measure(group, package, depth);
            say(&row.line());
            rows.push(row);
        }
    }
    let path = root.join("docs/environments-measured.md");
    std::fs::write(&path, table::page(&rows, depth)).with_context(|| path.display().to_string())?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// Where projects and the program's data lie.
struct Place {
    legwork: PathBuf,
    directory: PathBuf,
}

impl Place {
    fn make(root: &Path) -> Result<Self> {
        let directory = std::env::temp_dir().join("legwork-env-corpus");
        std::fs::create_dir_all(&directory)?;
        Ok(Self { legwork: root.join("target/debug/legwork"), directory })
    }

    fn measure(&self, group: &Group, package: &str, depth: Depth) -> Row {
        let mut row = Row::of(&group.language, group.registry, package);
        if let Err(error) = self.take(group, package, depth, &mut row) {
            row.note = error.to_string();
        }
        row
    }

    fn take(&self, group: &Group, package: &str, depth: Depth, row: &mut Row) -> Result<()> {
        let fetched = fetch::project(group.registry, package, &self.directory);
        // The page is for people elsewhere: what hindered it here is told here.
        let project =
            fetched.inspect_err(|error| say(&format!("{package}: {error:#}"))).context(UNFETCHED)?;
        let found = self.legwork(&["env", "detect", "--json"], &project)?;
        row.detected(&found)?;
        if depth == Depth::Run {
            let told = self.legwork(&["env", "test", "--json", "--server", "none"], &project)?;
            row.tried(&told);
        }
        Ok(())
    }

    /// What the program says, whatever it exits with.
    fn legwork(&self, arguments: &[&str], project: &Path) -> Result<String> {
        let mut command = Command::new(&self.legwork);
        command.args(arguments).current_dir(project);
        command.env("LEGWORK_HOME", self.directory.join("home"));
        let output = command.output().context("legwork could not be started")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(said)
    }
}
