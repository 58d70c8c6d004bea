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

/// Whether a test ran. Go says FAIL of what it could not build, too.
fn ran(output: &str) -> bool {
    let is_said = |output: &str| RAN.iter().any(|sign| output.contains(sign));
    output.lines().filter(|line| !line.contains("[build failed]")).any(is_said)
}

/// What to say of a project whose tests do not pass: the network's own word if it had one.
fn why(sentence: &str) -> String {
    let told = sentence.split_once("[network] ").map(|(_, rest)| {
        let place = rest.split(", wanted by").next().unwrap_or(rest);
        let reason = if rest.contains("its name is not known") { UNKNOWN_NAME } else { "" };
        format!("{place}{reason}")
    });
    told.unwrap_or_else(|| sentence.split(" Its files are kept").next().unwrap_or_default().to_owned())
}

/// What a host is that the machine of the measurement cannot reach.
const UNKNOWN_NAME: &str = ": its name is not known where this was measured";

/// What the projects were built with, as far as it is there.
fn tools() -> String {
    const TOOLS: [&[&str]; 14] = [
        &["rustc", "--version"],
        &["python3", "--version"],
        &["node", "--version"],
        &["npm", "--version"],
        &["cc", "--version"],
        &["cmake", "--version"],
        &["meson", "--version"],
        &["go", "version"],
        &["java", "-version"],
        &["mvn", "--version"],
        &["ruby", "--version"],
        &["php", "--version"],
        &["composer", "--version"],
        &["perl", "-e", "print $^V"],
    ];
    let said = TOOLS.iter().filter_map(|words| {
        let output = std::process::Command::new(words[0]).args(&words[1..]).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_version =
            |word: &&str| word.trim_start_matches(['v', '"']).starts_with(|c: char| c.is_ascii_digit());
        let version = text.lines().flat_map(str::split_whitespace).map(|word| word.trim_start_matches("go"));
        let version = version.clone().find(is_version)?.trim_start_matches(['v', '"']);
        let version = version.split(|c: char| !(c.is_ascii_alphanumeric() || ".-+".contains(c))).next()?;
        Some(format!("{} {version}", words[0]))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// One project.
pub(crate) struct Row {
    language: String,
    registry: Registry,
    package: String,
    stack: String,
    test: String,
    set_up: &'static str,
    tests: &'static str,
    /// Of set-up and tests together.
    seconds: Option<u64>,
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
            seconds: None,
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
        let (mut set_up, mut tests, mut ms) = ("none needed", "not run", 0);
        for item in ended.filter(|item| item["type"] == "command") {
            let passed = item["exit_code"] == 0;
            ms += item["duration_ms"].as_u64().unwrap_or_default();
            if item["phase"] == "setup" {
                set_up = if passed { "ok" } else { "failed" };
            } else {
                let output = item["output"].as_str().unwrap_or_default();
                tests = match (passed, ran(output)) {
                    (true, _) => "pass",
                    (false, true) => "ran, some fail",
                    (false, false) => "did not start",
                };
            }
        }
        (self.set_up, self.tests, self.seconds) = (set_up, tests, Some(ms.div_ceil(1000)));
        let sentence =
            events.iter().rev().find_map(|event| event["state"]["sentence"].as_str().map(str::to_owned));
        if self.tests != "pass" {
            self.note = why(&sentence.unwrap_or_default());
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
        "# Environments, measured\n\nWhat `legwork env detect` finds in public projects of several languages and, where they were run, what `legwork env test` makes of it, with no\nconfiguration. Written by `cargo xtask env-corpus` from the list in `xtask/corpus.toml`; sources as the registries carry them.\nSeconds are those of set-up and tests together, with four projects at a time.\n\n",
    );
    let total = rows.len();
    let detected = rows.iter().filter(|row| !row.test.is_empty()).count();
    let _ = writeln!(page, "- a command that runs the tests is found for **{detected} of {total}**");
    if depth != Depth::Detect {
        let started = rows.iter().filter(|row| row.started()).count();
        let passing = rows.iter().filter(|row| row.tests == "pass").count();
        let percent = started * 100 / total.max(1);
        let _ = writeln!(
            page,
            "- their own tests start for **{started} of {total}** ({percent} %), and pass for {passing}"
        );
        let unreached = rows.iter().filter(|row| !row.started() && row.note.contains(UNKNOWN_NAME)).count();
        let blocked = rows.iter().filter(|row| !row.started() && row.note.starts_with("blocked: ")).count();
        let _ = writeln!(
            page,
            "- of the others {unreached} wanted a registry that the machine of the measurement cannot reach, {blocked} a host that the policy `package_managers` has not"
        );
        let _ = writeln!(page, "- with {}", tools());
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
        "| Project | From | Stack | Tests by | Set-up | Tests | Seconds | Note |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let from = match row.registry {
            Registry::Crates => "crates.io",
            Registry::Npm => "npm",
            Registry::Pypi => "PyPI",
            Registry::Debian => "Debian",
        };
        let seconds = row.seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
        let cells =
            [&row.package, from, &row.stack, &row.test, row.set_up, row.tests, &seconds, &row.note].map(cell);
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
