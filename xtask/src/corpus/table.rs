//! The table of what was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::Depth;
use super::fetch::Registry;

/// Words by which test programs say that tests ran, whatever came of them.
const RAN: [&str; 22] = [
    "test result:",
    " passed",
    " failed",
    "Tests run:",
    "# tests",
    "ok 1 ",
    "not ok",
    "PASS:",
    "FAIL:",
    "tests passed",
    "--- FAIL",
    "--- PASS",
    "ok  \t",
    "FAIL\t",
    "assertions",
    "examples,",
    "Result: PASS",
    "Result: FAIL",
    "OK (",
    "Tests:",
    "# TOTAL:",
    "All tests successful",
];

/// One project.
pub(crate) struct Row {
    language: String,
    registry: Registry,
    package: String,
    stack: String,
    test: String,
    set_up: &'static str,
    tests: &'static str,
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn of(language: &str, registry: Registry, package: &str) -> Self {
        Self {
            language: language.to_owned(),
            registry,
            package: package.to_owned(),
            stack: String::new(),
            test: String::new(),
            set_up: "",
            tests: "",
            note: String::new(),
        }
    }

    /// Takes what `legwork env detect --json` says.
    pub(crate) fn detected(&mut self, said: &str) -> Result<()> {
        let found: serde_json::Value = serde_json::from_str(said).context("detect says no JSON")?;
        let listed = |list: &str, key: &str| -> Vec<String> {
            let entries = found[list].as_array().into_iter().flatten();
            entries.filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
        };
        self.stack = listed("projects", "stack").join(", ");
        self.test = listed("checks", "command").join("; ");
        Ok(())
    }

    /// Takes the events of `legwork env test --json`.
    pub(crate) fn tried(&mut self, said: &str) {
        let events: Vec<serde_json::Value> =
            said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ended = events
            .iter()
            .map(|event| &event["item"])
            .filter(|item| item["ended_at"].is_string() || !item["ended_at"].is_null());
        let (mut set_up, mut tests) = ("none needed", "not run");
        for item in ended.filter(|item| item["type"] == "command") {
            let passed = item["exit_code"] == 0;
            if item["phase"] == "setup" {
                set_up = if passed { "ok" } else { "failed" };
            } else {
                let output = item["output"].as_str().unwrap_or_default();
                tests = match (passed, RAN.iter().any(|sign| output.contains(sign))) {
                    (true, _) => "pass",
                    (false, true) => "ran, some fail",
                    (false, false) => "did not start",
                };
            }
        }
        (self.set_up, self.tests) = (set_up, tests);
        let sentence =
            events.iter().rev().find_map(|event| event["state"]["sentence"].as_str().map(str::to_owned));
        if self.tests != "pass" {
            self.note = sentence
                .unwrap_or_default()
                .split(" Its files are kept")
                .next()
                .unwrap_or_default()
                .to_owned();
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{:<34} {:<22} {:<12} {:<16} {}",
            self.package, self.stack, self.set_up, self.tests, self.note
        )
    }

    fn started(&self) -> bool {
        matches!(self.tests, "pass" | "ran, some fail")
    }
}

/// The page.
pub(crate) fn page(rows: &[Row], depth: Depth) -> String {
    let mut page = String::from(
        "# Environments, measured\n\nWhat `legwork env detect` finds in public projects of several languages and, where they were run, what `legwork env test` makes of it, with no\nconfiguration. Written by `cargo xtask env-corpus` from the list in `xtask/corpus.toml`; sources as the registries carry them.\n\n",
    );
    let total = rows.len();
    let detected = rows.iter().filter(|row| !row.test.is_empty()).count();
    let _ = writeln!(page, "- a command that runs the tests is found for **{detected} of {total}**");
    if depth == Depth::Run {
        let started = rows.iter().filter(|row| row.started()).count();
        let passing = rows.iter().filter(|row| row.tests == "pass").count();
        let percent = started * 100 / total.max(1);
        let _ = writeln!(
            page,
            "- their own tests start for **{started} of {total}** ({percent} %), and pass for {passing}"
        );
    } else {
        page.push_str("- set-up and tests were not run for this table (`cargo xtask env-corpus --run`)\n");
    }
    let mut languages: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *languages.entry(row.language.as_str()).or_default() += 1;
    }
    let _ = writeln!(
        page,
        "- languages: {}\n",
        languages.into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    );
    page.push_str(
        "| Project | From | Stack | Tests by | Set-up | Tests | Note |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let from = match row.registry {
            Registry::Crates => "crates.io",
            Registry::Npm => "npm",
            Registry::Pypi => "PyPI",
            Registry::Debian => "Debian",
        };
        let cells = [&row.package, from, &row.stack, &row.test, row.set_up, row.tests, &row.note].map(cell);
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page
}

/// Text for one cell, cut.
fn cell(text: &str) -> String {
    const CHARS_MAX: usize = 240;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect();
    text.replace('|', "\\|").replace('`', "'")
}
