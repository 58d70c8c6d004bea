//! Rust: cargo.

use crate::tree::Place;
use crate::{Finding, Project, shell};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let text = place.text("Cargo.toml")?;
    let manifest: toml::Table = toml::from_str(text).ok()?;
    let mut project =
        Project { stack: "Rust".to_owned(), directory: place.path.to_owned(), ..Project::default() };
    let is_workspace = manifest.contains_key("workspace");
    let what = if is_workspace { "a cargo workspace" } else { "a cargo package" };
    project.findings.push(Finding::new(place.path_of("Cargo.toml"), what));
    let version = toolchain(place, &manifest, &mut project.findings);
    project.toolchains.insert("rust".to_owned(), version);
    let locked = if place.has("Cargo.lock") { " --locked" } else { "" };
    project.setup.push(format!("cargo fetch{locked}"));
    project.maintenance.push(format!("cargo fetch{locked}"));
    let workspace = if is_workspace && manifest.contains_key("package") { " --workspace" } else { "" };
    project.test = Some(format!("cargo test{locked}{workspace}"));
    Some(project)
}

/// The version that a file asks for; what `rust-version` names is the oldest one, not the one.
fn toolchain(place: Place<'_>, manifest: &toml::Table, findings: &mut Vec<Finding>) -> String {
    for file in ["rust-toolchain.toml", "rust-toolchain"] {
        let Some(text) = place.text(file) else { continue };
        let table: Option<toml::Table> = toml::from_str(text).ok();
        let channel = table.as_ref().and_then(|table| table.get("toolchain")?.get("channel")?.as_str());
        if let Some(channel) = shell::version(channel.unwrap_or(text)) {
            findings.push(Finding::new(place.path_of(file), format!("asks for Rust {channel}")));
            return channel.to_owned();
        }
    }
    let oldest = manifest.get("package").and_then(|package| package.get("rust-version")?.as_str());
    if let Some(oldest) = oldest.and_then(shell::version) {
        findings.push(Finding::new(place.path_of("Cargo.toml"), format!("needs Rust {oldest} or later")));
    }
    String::new()
}
