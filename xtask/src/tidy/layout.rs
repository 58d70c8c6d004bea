//! Rules on files that are not code: pages of bounded length, one test binary a crate, snapshots that have a source.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Finding;
use super::rules::Limits;

/// Looks at the pages at `root` and at every crate's tests and snapshots.
pub(crate) fn check(root: &Path, limits: &Limits) -> Result<Vec<Finding>> {
    let mut findings = page(root, "AGENTS.md", limits.agents_lines)?;
    findings.extend(page(root, "ARCHITECTURE.md", limits.architecture_lines)?);
    for top in ["crates", "e2e", "fuzz", "xtask"] {
        let all = walkdir::WalkDir::new(root.join(top)).into_iter();
        for entry in all.filter_entry(|entry| entry.file_name() != "node_modules") {
            let entry = entry.context("could not walk the house")?;
            let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let path = relative.to_string_lossy().replace('\\', "/");
            if path.ends_with(".snap") {
                let text =
                    fs::read_to_string(entry.path()).with_context(|| format!("could not read {path}"))?;
                findings.extend(snapshot(root, &path, &text));
            }
            findings.extend(test_binary(&path));
        }
    }
    Ok(findings)
}

fn page(root: &Path, name: &str, limit: usize) -> Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join(name)).with_context(|| format!("could not read {name}"))?;
    let lines = text.lines().count();
    let what = format!("{lines} lines, limit {limit}");
    let mend = "say less, or move a part to docs/";
    Ok(if lines > limit { vec![found("page", name, what, mend)] } else { Vec::new() })
}

/// Each file right under `tests/` is a program that is linked anew: one is enough.
fn test_binary(path: &str) -> Option<Finding> {
    let (_, inside) = path.split_once("/tests/")?;
    let stray = path.ends_with(".rs") && !inside.contains('/') && !path.contains("/src/");
    let mend = "make it a module of tests/it/main.rs";
    stray.then(|| found("tests", path, "a second integration test binary".to_owned(), mend))
}

/// A snapshot whose source file, or whose test in it, is gone proves nothing.
fn snapshot(root: &Path, path: &str, text: &str) -> Option<Finding> {
    let source = text.lines().find_map(|line| line.strip_prefix("source: ")).unwrap_or("").trim_matches('"');
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".snap");
    let name = stem.rsplit("__").next().unwrap_or(stem);
    let test = name.trim_end_matches(|character: char| character.is_ascii_digit()).trim_end_matches('-');
    let alive =
        fs::read_to_string(root.join(source)).is_ok_and(|code| code.contains(name) || code.contains(test));
    let mend = "delete it, or mend its name";
    (!alive).then(|| found("snapshot", path, format!("its source {source:?} has no test {test}"), mend))
}

fn found(rule: &'static str, file: &str, what: String, mend: &'static str) -> Finding {
    Finding { rule, file: file.to_owned(), line: 1, item: String::new(), what, mend }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> std::path::PathBuf {
        crate::house::root()
    }

    #[test]
    fn a_page_that_is_too_long_rings() {
        assert_eq!(page(&house(), "LICENSE", 10).unwrap()[0].rule, "page");
        assert!(page(&house(), "LICENSE", 1000).unwrap().is_empty());
    }

    #[test]
    fn a_second_test_binary_rings() {
        assert!(test_binary("crates/git/tests/refs.rs").is_some());
        assert!(test_binary("crates/git/tests/it/refs.rs").is_none());
        assert!(test_binary("crates/git/src/tests/refs.rs").is_none());
    }

    #[test]
    fn a_snapshot_without_its_test_rings() {
        let here = "source: xtask/src/tidy/layout.rs\nexpression: x\n";
        let path = |name: &str| format!("xtask/src/tidy/snapshots/xtask__tidy__layout__tests__{name}.snap");
        assert!(snapshot(&house(), &path("a_second_test_binary_rings"), here).is_none());
        assert!(snapshot(&house(), &path("a_second_test_binary_rings-2"), here).is_none());
        let other = ["gone", "test"].join("_");
        assert!(snapshot(&house(), &path(&other), here).is_some());
        let gone = "source: xtask/src/gone.rs\n";
        assert!(snapshot(&house(), &path("a_second_test_binary_rings"), gone).is_some());
    }
}
