//! Files that name toolchains of any stack: `.tool-versions` (asdf), `mise.toml`.

use std::collections::BTreeMap;

use crate::tree::Tree;
use crate::{Finding, shell, text};

const MISE: [&str; 4] = ["mise.toml", ".mise.toml", ".config/mise.toml", ".mise/config.toml"];

/// Most toolchains that are taken.
const TOOLCHAINS_MAX: usize = 32;

/// Names of tools that go by another one here.
const NAMES: [(&str, &str); 4] =
    [("nodejs", "node"), ("golang", "go"), ("dotnet-core", "dotnet"), ("jdk", "java")];

/// The toolchains that the root's files name, and what they say.
pub(crate) fn read(tree: &Tree) -> (BTreeMap<String, String>, Vec<Finding>) {
    let mut found: Vec<(&str, String, String)> = Vec::new();
    for line in tree.text(".tool-versions").into_iter().flat_map(text::lines) {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            found.push((".tool-versions", name.to_owned(), version.to_owned()));
        }
    }
    for file in MISE {
        let table: Option<toml::Table> = tree.text(file).and_then(|text| toml::from_str(text).ok());
        let tools = table.as_ref().and_then(|table| table.get("tools")?.as_table());
        for (name, value) in tools.into_iter().flatten() {
            let first = value.as_array().and_then(|versions| versions.first()).unwrap_or(value);
            let version = first.as_str().or_else(|| first.get("version")?.as_str());
            found.extend(version.map(|version| (file, name.clone(), version.to_owned())));
        }
    }
    let mut toolchains = BTreeMap::new();
    let mut findings = Vec::new();
    for (file, name, version) in found.into_iter().take(TOOLCHAINS_MAX) {
        let name = NAMES.iter().find(|(other, _)| *other == name).map_or(name.as_str(), |(_, own)| own);
        if let (Some(name), Some(version)) = (shell::version(name), shell::version(&version)) {
            findings.push(Finding::new(file, format!("asks for {name} {version}")));
            toolchains.insert(name.to_owned(), version.to_owned());
        }
    }
    (toolchains, findings)
}
