//! `cargo xtask env-corpus`: detection, and with `--run` set-up and tests, measured on public projects.
//!
//! The projects are those of `corpus.toml`, their sources what the registries carry, fetched by the registries' own clients
//! into a directory for temporary files and made a repository of one commit. Nothing is configured for any of them.

mod fetch;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::house;
use crate::shell::say;
use table::Row;

/// The note on a project whose registry did not give it.
const UNFETCHED: &str = "its sources could not be fetched";

/// Projects at the same time: many wait for a registry, or use one processor.
const AT_ONCE: usize = 4;

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
    /// The same, of what the last such run said.
    Kept,
}

/// Measures the corpus and writes the table.
pub(crate) fn run(depth: Depth) -> Result<()> {
    let root = house::root();
    let text =
        std::fs::read_to_string(root.join("xtask/corpus.toml")).context("the corpus cannot be read")?;
    let corpus: Corpus = toml::from_str(&text).context("the corpus is no TOML that fits")?;
    crate::shell::run_cargo(&["build", "--workspace", "--bins"])?;
    let place = Place::make(&root)?;
    let listed =
        corpus.project.iter().flat_map(|group| group.packages.iter().map(move |package| (group, package)));
    let listed: Vec<(&Group, &String)> = listed.collect();
    // What a registry gives is fetched one after the other: its client's own caches are shared.
    for (group, package) in &listed {
        if let Err(error) = fetch::project(group.registry, package, &place.directory) {
            // The page is for people elsewhere: what hindered it here is told here.
            say(&format!("{package}: {error:#}"));
        }
    }
    let rows = measured(&place, &listed, depth);
    let path = root.join("docs/environments-measured.md");
    std::fs::write(&path, table::page(&rows, depth)).with_context(|| path.display().to_string())?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// Measures all, some at the same time, and keeps their order.
fn measured(place: &Place, listed: &[(&Group, &String)], depth: Depth) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows: Vec<Mutex<Option<Row>>> = listed.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((at, (group, package))) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    listed.get(at).map(|entry| (at, entry))
                } {
                    let row = place.measure(group, package, depth);
                    say(&row.line());
                    *rows[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(row);
                }
            });
        }
    });
    rows.into_iter().filter_map(|row| row.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
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
        if let Err(error) = self.take(package, depth, &mut row) {
            row.note = error.to_string();
        }
        row
    }

    fn take(&self, package: &str, depth: Depth, row: &mut Row) -> Result<()> {
        let project = fetch::fetched(package, &self.directory).context(UNFETCHED)?;
        let found = self.legwork(&["env", "detect", "--json"], &project)?;
        row.detected(&found)?;
        let kept = self.directory.join("events").join(fetch::directory_name(package)).with_extension("jsonl");
        match depth {
            Depth::Detect => {}
            Depth::Run => {
                let told = self.legwork(&["env", "test", "--json", "--server", "none"], &project)?;
                std::fs::create_dir_all(kept.parent().unwrap_or(&self.directory))?;
                std::fs::write(kept, &told)?;
                row.tried(&told);
            }
            Depth::Kept => row.tried(&std::fs::read_to_string(kept).context("it was not run")?),
        }
        Ok(())
    }

    /// What the program says, whatever it exits with.
    fn legwork(&self, arguments: &[&str], project: &Path) -> Result<String> {
        let mut command = Command::new(&self.legwork);
        command.args(arguments).current_dir(project);
        // The operator's own configuration holds (a mirror, a proxy, an opened network); its tasks are not these.
        command.env("LEGWORK_HOME", self.directory.join("home"));
        let output = command.output().context("legwork could not be started")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(said)
    }
}
