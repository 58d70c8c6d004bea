//! The cases as data: `replay/cases.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The form of the file that this code reads.
const SCHEMA: &str = "gold-replay/1";

#[derive(Deserialize)]
struct Book {
    schema: String,
    cases: Vec<Case>,
}

/// Two consecutive releases of a package, of which the newer one's tests fail on the older one's sources.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    /// What is wrong in the base version, in one sentence: the task's prompt.
    pub(crate) title: String,
    pub(crate) registry: Registry,
    pub(crate) package: String,
    pub(crate) base_version: String,
    pub(crate) fix_version: String,
    pub(crate) sha256: Digests,
    pub(crate) runner: Runner,
    pub(crate) deps: Deps,
    /// What of the fix version is laid over the base version before the task begins.
    pub(crate) test_paths: Vec<String>,
    /// What the fix changes.
    pub(crate) gold_paths: Vec<String>,
    /// Exactly these fail on the base version with the new tests.
    pub(crate) fail_to_pass: Vec<String>,
    /// So many pass there, and must go on to pass.
    pub(crate) pass_to_pass_count: usize,
    /// Runs the tests at the root of the package; `{deps}` is the directory of the dependencies.
    pub(crate) check: String,
    pub(crate) play: Play,
}

/// Where a package comes from, and with which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Registry {
    #[serde(rename = "pypi")]
    Pypi,
    #[serde(rename = "npm")]
    Npm,
    #[serde(rename = "crates.io")]
    CratesIo,
}

/// SHA-256 of the two artifacts as the registry serves them.
#[derive(Debug, Deserialize)]
pub(crate) struct Digests {
    pub(crate) base: String,
    pub(crate) fix: String,
}

/// Whose output is read.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Runner {
    Pytest,
    Tape,
    CargoTest,
}

/// What the tests need beside the package, to the exact version.
#[derive(Debug, Deserialize)]
pub(crate) struct Deps {
    /// Python: name and version of every distribution, the dependencies of dependencies too.
    #[serde(default)]
    pub(crate) pins: BTreeMap<String, String>,
    /// JavaScript: a lock file beside `cases.json`.
    pub(crate) lock: Option<String>,
    /// Rust: whether there are crates to vendor, as the package's own lock file names them.
    #[serde(default)]
    pub(crate) vendor: bool,
}

/// How the scripted model goes about it.
#[derive(Debug, Deserialize)]
pub(crate) struct Play {
    pub(crate) wire: String,
    pub(crate) edit_tool: EditTool,
    /// A word that leads to the defect.
    pub(crate) find: String,
    /// Runs only the tests around the defect.
    pub(crate) focus: String,
}

/// With which tools it edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EditTool {
    Freeform,
    ApplyPatch,
    EditFile,
}

/// `replay/`, with the cases and what belongs to them.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("replay")
}

/// All cases, in the order of the file.
pub(crate) fn all() -> Result<Vec<Case>> {
    let path = folder().join("cases.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let book: Book = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    ensure!(book.schema == SCHEMA, "{} is of the form {}, not {SCHEMA}", path.display(), book.schema);
    Ok(book.cases)
}

/// The case of that id.
pub(crate) fn named(id: &str) -> Result<Case> {
    all()?.into_iter().find(|case| case.id == id).with_context(|| format!("no case {id}"))
}
