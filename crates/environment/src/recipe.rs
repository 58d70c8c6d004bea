//! What was found, as a file for the repository.

use std::fmt::Write as _;

use crate::Detected;

/// `.legwork/environment.toml` that says what was detected.
#[must_use]
pub fn recipe(detected: &Detected) -> String {
    let mut text = String::from("# What a sandbox for this repository needs. Detected from:\n");
    for finding in detected.findings() {
        let _ = writeln!(text, "#   {}: {}", one_line(&finding.file), one_line(&finding.says));
    }
    let scripts =
        [("setup", &detected.setup), ("maintenance", &detected.maintenance), ("start", &detected.start)];
    for (key, script) in scripts {
        if let Some(script) = script {
            let _ = write!(text, "\n{key} = {}\n", value(script));
        }
    }
    if !detected.variables.is_empty() {
        text.push_str("\n[variables]\n");
        for (name, variable) in &detected.variables {
            let _ = writeln!(text, "{} = {}", value(name), value(variable));
        }
    }
    if !detected.checks.is_empty() {
        text.push_str("\n[checks]\n");
        for check in &detected.checks {
            let _ = writeln!(text, "{} = {}", value(&check.name), value(&check.command));
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A string of TOML, whatever is in it.
fn value(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
