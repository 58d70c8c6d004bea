//! From a toolchain's name and version to the variables that make version managers choose it.
//!
//! A recipe that names a version means it, so a version that is not there makes the manager's own error, which says what is. A
//! version that was only found in a repository's files is left to the tools themselves: they read the same files.

use std::collections::BTreeMap;

/// Toolchain, variable, and what stands before the version in it.
const VARIABLES: [(&str, &str, &str); 16] = [
    ("rust", "RUSTUP_TOOLCHAIN", ""),
    ("python", "PYENV_VERSION", ""),
    ("python", "UV_PYTHON", ""),
    ("python", "MISE_PYTHON_VERSION", ""),
    ("python", "ASDF_PYTHON_VERSION", ""),
    ("node", "NODENV_VERSION", ""),
    ("node", "MISE_NODE_VERSION", ""),
    ("node", "ASDF_NODEJS_VERSION", ""),
    ("go", "GOTOOLCHAIN", "go"),
    ("go", "MISE_GO_VERSION", ""),
    ("ruby", "RBENV_VERSION", ""),
    ("ruby", "MISE_RUBY_VERSION", ""),
    ("ruby", "ASDF_RUBY_VERSION", ""),
    ("java", "JENV_VERSION", ""),
    ("java", "MISE_JAVA_VERSION", ""),
    ("java", "ASDF_JAVA_VERSION", ""),
];

/// The variables, in a fixed order.
#[must_use]
pub fn toolchain_variables(toolchains: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let chosen = VARIABLES.iter().filter_map(|(tool, variable, before)| {
        let version = toolchains.get(*tool).filter(|version| !version.is_empty())?;
        Some(((*variable).to_owned(), format!("{before}{version}")))
    });
    chosen.collect()
}
