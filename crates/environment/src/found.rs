//! What was found, and why.

use std::collections::BTreeMap;

use legwork_domain::Check;
use serde::{Deserialize, Serialize};

/// What a file says of a repository's needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file, from the root.
    pub file: String,
    /// What it says, in one sentence without a full stop.
    pub says: String,
}

impl Finding {
    pub(crate) fn new(file: impl Into<String>, says: impl Into<String>) -> Self {
        Self { file: file.into(), says: says.into() }
    }
}

/// One stack in one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// `Rust`, `Python (uv)`, …
    pub stack: String,
    /// From the root; empty: the root.
    pub directory: String,
    /// What led to it.
    pub findings: Vec<Finding>,
    /// Toolchains it asks for, by name; an empty version: any.
    pub toolchains: BTreeMap<String, String>,
    /// Variables for every command.
    pub variables: BTreeMap<String, String>,
    /// Lines of shell that make the place that is installed into, run in its directory.
    pub place: Vec<String>,
    /// Lines of shell that install what it needs, run there after them.
    pub setup: Vec<String>,
    /// Lines of shell that bring an installation up to date with other files.
    pub maintenance: Vec<String>,
    /// The line of shell that runs its tests, in its directory.
    pub test: Option<String>,
    /// System packages by Debian's names.
    pub packages: Vec<String>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detected {
    /// The stacks, the root's first.
    pub projects: Vec<Project>,
    /// What else was seen and what became of it: files of others, projects that are left alone, keys that are not supported.
    pub notes: Vec<Finding>,
    /// Toolchains by name and version.
    pub toolchains: BTreeMap<String, String>,
    /// Variables for every command. `$PATH` in the value of `PATH` is the sandbox's own.
    pub variables: BTreeMap<String, String>,
    /// System packages by Debian's names.
    pub packages: Vec<String>,
    /// A container image that a file names.
    pub image: Option<String>,
    /// The script that installs what is needed.
    pub setup: Option<String>,
    /// The script that brings an installation up to date.
    pub maintenance: Option<String>,
    /// The script that starts services.
    pub start: Option<String>,
    /// Commands that run the tests.
    pub checks: Vec<Check>,
}

impl Detected {
    /// Whether nothing was found that could be set up or run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.setup.is_none() && self.checks.is_empty()
    }
}
