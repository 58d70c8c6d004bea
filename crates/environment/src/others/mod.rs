//! What somebody wrote for another tool: dev containers, other agents, continuous integration.
//!
//! Whoever wrote it knew the repository, so a set-up among them goes before one that is only guessed from manifests. Nothing
//! in them is left out in silence: what has no meaning here is named.

mod copilot;
mod cursor;
mod devcontainer;
mod jsonc;
mod scripts;
mod yaml;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Finding;
use crate::tree::Tree;

/// Variables that Codex's environments choose toolchains by, and the toolchain.
const CODEX: [(&str, &str); 8] = [
    ("CODEX_ENV_PYTHON_VERSION", "python"),
    ("CODEX_ENV_NODE_VERSION", "node"),
    ("CODEX_ENV_RUST_VERSION", "rust"),
    ("CODEX_ENV_GO_VERSION", "go"),
    ("CODEX_ENV_SWIFT_VERSION", "swift"),
    ("CODEX_ENV_RUBY_VERSION", "ruby"),
    ("CODEX_ENV_PHP_VERSION", "php"),
    ("CODEX_ENV_JAVA_VERSION", "java"),
];

/// Most variables that are taken from one file.
const VARIABLES_MAX: usize = 64;

/// The longest value of one, in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// From the root.
    pub(crate) file: String,
    /// Lines of shell that set it up, run at the root.
    pub(crate) setup: Vec<String>,
    /// Lines of shell that start services.
    pub(crate) start: Vec<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) toolchains: BTreeMap<String, String>,
    /// A container image.
    pub(crate) image: Option<String>,
    /// What else it says, and what of it has no meaning here.
    pub(crate) notes: Vec<Finding>,
}

impl Foreign {
    fn of(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    fn note(&mut self, says: impl Into<String>) {
        self.notes.push(Finding::new(self.file.clone(), says));
    }

    /// Takes a variable that a command can be given; another is named and left out.
    fn variable(&mut self, name: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return self.note(format!("the variable {} is no text and was left out", shown(name)));
            }
        };
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = !name.is_empty() && name.bytes().all(letters) && !name.as_bytes()[0].is_ascii_digit();
        if !is_name
            || text.contains('\0')
            || text.len() > VALUE_BYTES_MAX
            || self.variables.len() >= VARIABLES_MAX
        {
            return self.note(format!("the variable {} cannot be set and was left out", shown(name)));
        }
        self.variables.insert(name.to_owned(), text);
    }
}

/// Everything that others wrote, the file with the most say first.
pub(crate) fn read(tree: &Tree) -> Vec<Foreign> {
    let readers: [fn(&Tree) -> Vec<Foreign>; 4] =
        [scripts::read, copilot::read, cursor::read, devcontainer::read];
    readers.iter().flat_map(|reader| reader(tree)).collect()
}

/// The toolchains that variables of Codex's form choose.
#[must_use]
pub fn codex_toolchains(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let chosen = CODEX.iter().filter_map(|(name, tool)| {
        let version = crate::shell::version(variables.get(*name)?)?;
        Some(((*tool).to_owned(), version.to_owned()))
    });
    chosen.collect()
}

/// A name out of a hostile file, for a sentence.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}
