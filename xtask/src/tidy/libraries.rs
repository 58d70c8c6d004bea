//! Which room may use which library: the `wrappers` of `deny.toml` against the manifests.
//!
//! cargo-deny checks the same list over the whole graph; this check needs no tool to be installed, so it is the one that
//! every test run makes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata};
use serde::Deserialize;

use super::Finding;
use crate::house::PREFIX;

#[derive(Deserialize)]
struct Deny {
    bans: Bans,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A library and the packages that may use it; none may if there are no wrappers.
#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    library: String,
    #[serde(default)]
    wrappers: Vec<String>,
}

/// Findings for every normal dependency of a room that `deny.toml` does not allow. Features of rooms are findings too.
pub(crate) fn check(metadata: &Metadata, root: &Path) -> Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join("deny.toml")).context("could not read deny.toml")?;
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(room) = package.name.strip_prefix(PREFIX).filter(|room| !matches!(*room, "e2e" | "fuzz"))
        else {
            continue;
        };
        let used: Vec<&str> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.as_str())
            .collect();
        findings.extend(banned(room, &used, &text)?);
        if !package.features.is_empty() {
            let what = "a room has no Cargo features".to_owned();
            findings.push(found(room, "features", what, "read configuration in cli and hand it down"));
        }
    }
    Ok(findings)
}

fn banned(room: &str, used: &[&str], deny: &str) -> Result<Vec<Finding>> {
    let deny: Deny = toml::from_str(deny).context("deny.toml is malformed")?;
    let package = format!("{PREFIX}{room}");
    let over = deny
        .bans
        .deny
        .iter()
        .filter(|ban| used.contains(&ban.library.as_str()) && !ban.wrappers.contains(&package));
    Ok(over
        .map(|ban| {
            let what = format!("{room} uses {}, which only {:?} may", ban.library, ban.wrappers);
            found(room, &ban.library, what, "ask the room that owns the library")
        })
        .collect())
}

fn found(room: &str, item: &str, what: String, mend: &'static str) -> Finding {
    let file = format!("crates/{room}/Cargo.toml");
    Finding { rule: "library", file, line: 0, item: item.to_owned(), what, mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_in_the_wrong_room_is_seen() {
        let deny =
            "[bans]\ndeny = [{ crate = 'sqlx', wrappers = ['legwork-store'] }, { crate = 'openssl-sys' }]";
        assert!(banned("store", &["sqlx", "serde"], deny).unwrap().is_empty());
        let items: Vec<String> = banned("server", &["sqlx", "openssl-sys"], deny)
            .unwrap()
            .into_iter()
            .map(|finding| finding.item)
            .collect();
        assert_eq!(items, ["sqlx", "openssl-sys"]);
    }
}
