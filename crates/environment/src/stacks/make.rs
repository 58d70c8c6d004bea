//! A Makefile, where nothing else says how it is built.

use super::project;
use crate::tree::Place;
use crate::{Finding, Project};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let file = place.first(&["GNUmakefile", "makefile", "Makefile"])?;
    let text = place.text(file)?;
    let mut found = project("Make", place, file, "a Makefile").needs("make", "");
    if let Some(target) = ["check", "test", "tests"].into_iter().find(|target| has_target(text, target)) {
        found.findings.push(Finding::new(place.path_of(file), format!("a target {target:?}")));
        found.test = Some(format!("make {target}"));
    }
    // What the first target does is the Makefile's own business; most build.
    let is_native =
        place.files().any(|path| [".c", ".cc", ".cpp", ".cxx"].iter().any(|ending| path.ends_with(ending)));
    if is_native {
        found = found.needs("cc", "").installs("make");
    }
    (found.test.is_some() || !found.setup.is_empty()).then_some(found)
}

/// Whether a rule is for that target: at the start of a line, alone or among others.
fn has_target(text: &str, target: &str) -> bool {
    text.lines().any(|line| {
        let is_rule = !line.starts_with(['\t', ' ', '#', '.']) && !line.contains('=');
        let targets = line
            .split_once(':')
            .filter(|(_, rest)| is_rule && !rest.starts_with('='))
            .map(|(targets, _)| targets);
        targets.is_some_and(|targets| targets.split_whitespace().any(|name| name == target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_rule_and_no_variable() {
        assert!(has_target("all: x\ncheck test: all\n\tcc\n", "test"));
        assert!(!has_target("test := 1\n.PHONY: test\n\ttest: no\n# test: no\n", "test"));
    }
}
