//! What a test run showed, read from its runner's own words.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::Runner;

/// Which tests failed and how many passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) failed: BTreeSet<String>,
    pub(crate) passed: usize,
}

impl Outcome {
    pub(crate) fn read(runner: Runner, output: &str) -> Self {
        match runner {
            Runner::Pytest => pytest(output),
            Runner::Tape => tape(output),
            Runner::CargoTest => cargo_test(output),
        }
    }
}

/// `FAILED path::name - reason` lines (`-rf`), and `N passed` in the last one.
fn pytest(output: &str) -> Outcome {
    let failed = output
        .lines()
        .filter_map(|line| line.strip_prefix("FAILED "))
        .map(|rest| rest.split_once(" - ").map_or(rest, |(name, _)| name).to_owned())
        .collect();
    Outcome { failed, passed: counts(output, " passed") }
}

/// `test NAME ... FAILED` lines, and `N passed` of every binary.
fn cargo_test(output: &str) -> Outcome {
    let failed = output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(str::to_owned)
        .collect();
    Outcome { failed, passed: counts(output, " passed") }
}

/// TAP: a `# TITLE` holds when all assertions up to the next one do.
fn tape(output: &str) -> Outcome {
    let (mut title, mut holds) = ("", BTreeMap::new());
    for line in output.lines() {
        if let Some(next) = line.strip_prefix("# ") {
            title = next;
        } else if line.starts_with("ok ") {
            holds.entry(title).or_insert(true);
        } else if line.starts_with("not ok ") {
            holds.insert(title, false);
        }
    }
    let passed = holds.values().filter(|holds| **holds).count();
    let failed = holds.iter().filter(|(_, holds)| !**holds).map(|(title, _)| (*title).to_owned()).collect();
    Outcome { failed, passed }
}

/// The sum of the numbers right before `word`.
fn counts(output: &str, word: &str) -> usize {
    output
        .match_indices(word)
        .filter_map(|(at, _)| {
            output[..at].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
        })
        .sum()
}

#[test]
fn each_runner_is_understood() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let pytest = "FAILED t.py::a[x y] - AssertionError: 1 passed\n1 failed, 475 passed in 3s\n";
    assert_eq!(
        Outcome::read(Runner::Pytest, &pytest.replace("1 passed", "")).failed,
        names(&["t.py::a[x y]"])
    );
    let cargo = "test a ... ok\ntest b::c ... FAILED\ntest result: FAILED. 1 passed; 1 failed\n\
                 test result: ok. 20 passed; 0 failed\n";
    assert_eq!(Outcome::read(Runner::CargoTest, cargo), Outcome { failed: names(&["b::c"]), passed: 21 });
    let tape = "TAP version 13\n# one\nok 1 a\nnot ok 2 b\nok 3 c\n# two\nok 4 d\n\n# tests 4\n# pass  3\n";
    assert_eq!(Outcome::read(Runner::Tape, tape), Outcome { failed: names(&["one"]), passed: 1 });
}
