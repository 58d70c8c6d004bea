//! What a Python project's tests need beside the project itself.

use super::Sources;
use crate::{Finding, shell, text};

/// Names by which extras and groups for tests go, the usual ones.
const NAMES: &str = "test tests testing pytest unittest unit check tests_require ci all-test test-all";

/// Names of those for all development: they count where there are none for tests, for they bring more (linters, documentation)
/// that can fail to install.
const WIDER_NAMES: &str = "dev develop development";

/// Files with requirements for tests, by custom.
const FILES: &str = "requirements-test.txt requirements-tests.txt requirements-testing.txt requirements_test.txt \
    requirements_tests.txt requirements.test.txt test-requirements.txt test_requirements.txt \
    tests-requirements.txt requirements/test.txt requirements/tests.txt requirements/testing.txt \
    tests/requirements.txt test/requirements.txt requirements/pytest.txt requirements/ci.txt";

/// Files with requirements for all development.
const WIDER_FILES: &str = "requirements-dev.txt requirements_dev.txt requirements-develop.txt requirements.dev.txt \
    dev-requirements.txt dev_requirements.txt requirements/dev.txt requirements/develop.txt";

/// Most requirements that are taken from a test tool's configuration.
const PACKAGES_MAX: usize = 100;

/// What is installed beside the project.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Extras of the project.
    pub(super) extras: Vec<String>,
    /// Its dependency groups.
    pub(super) groups: Vec<String>,
    /// Files of requirements.
    pub(super) files: Vec<String>,
    /// Requirements that a test tool's configuration lists.
    pub(super) packages: Vec<String>,
}

impl Needs {
    pub(super) fn of(sources: &Sources<'_>, findings: &mut Vec<Finding>) -> Self {
        let mut needs = Self { extras: extras(sources), groups: groups(sources), ..Self::default() };
        let place = sources.place;
        if !sources.is_package() && place.has("requirements.txt") {
            needs.files.push("requirements.txt".to_owned());
        }
        if needs.extras.is_empty() && needs.groups.is_empty() {
            let listed = |files: &'static str| files.split_whitespace().filter(|file| place.has(file));
            let files: Vec<&str> = listed(FILES).collect();
            let files = if files.is_empty() { listed(WIDER_FILES).collect() } else { files };
            needs.files.extend(files.into_iter().map(str::to_owned));
        }
        if needs.extras.is_empty() && needs.groups.is_empty() && needs.files.is_empty() {
            needs.take_packages(sources);
        }
        needs.explain(sources, findings);
        needs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.extras.is_empty() && self.groups.is_empty() && self.files.is_empty() && self.packages.is_empty()
    }

    /// What tox or hatch would install for a test run.
    fn take_packages(&mut self, sources: &Sources<'_>) {
        let tox = sources.place.text("tox.ini").map(|text| text::ini(text, "testenv")).unwrap_or_default();
        let lines = tox.iter().filter(|(key, _)| key == "deps").flat_map(|(_, value)| value.lines());
        for line in lines.map(str::trim).filter(|line| !line.is_empty() && !line.contains(['{', '}'])) {
            if let Some(file) = line.strip_prefix("-r") {
                self.files.extend(Some(file.trim().to_owned()).filter(|file| sources.place.has(file)));
            } else if is_requirement(line) {
                self.packages.push(line.to_owned());
            }
        }
        for environment in ["test", "hatch-test", "default", "dev"] {
            for key in ["dependencies", "extra-dependencies"] {
                let listed =
                    sources.get(&["tool", "hatch", "envs", environment, key]).and_then(toml::Value::as_array);
                let listed = listed.into_iter().flatten().filter_map(toml::Value::as_str);
                self.packages.extend(listed.filter(|line| is_requirement(line)).map(str::to_owned));
            }
        }
        self.packages.truncate(PACKAGES_MAX);
    }

    fn explain(&self, sources: &Sources<'_>, findings: &mut Vec<Finding>) {
        let place = sources.place;
        let manifest = place.first(&["pyproject.toml", "setup.cfg", "setup.py"]).unwrap_or("pyproject.toml");
        for extra in &self.extras {
            findings.push(Finding::new(place.path_of(manifest), format!("an extra for tests: {extra}")));
        }
        for group in &self.groups {
            findings.push(Finding::new(
                place.path_of(manifest),
                format!("a dependency group for tests: {group}"),
            ));
        }
        for file in &self.files {
            findings.push(Finding::new(place.path_of(file), "requirements"));
        }
        if !self.packages.is_empty() {
            let file = place.first(&["tox.ini", "pyproject.toml"]).unwrap_or("tox.ini");
            findings
                .push(Finding::new(place.path_of(file), format!("tests need {}", self.packages.join(", "))));
        }
    }
}

/// Of these names those for tests, else those for all development.
fn for_tests(names: &[String]) -> Vec<String> {
    let listed = |list: &str| -> Vec<String> {
        let is_listed = |name: &str| list.split_whitespace().any(|known| known == name.to_ascii_lowercase());
        names.iter().filter(|name| is_listed(name) && shell::is_name(name)).cloned().collect()
    };
    let found = listed(NAMES);
    if found.is_empty() { listed(WIDER_NAMES) } else { found }
}

fn extras(sources: &Sources<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for path in [&["project", "optional-dependencies"][..], &["tool", "poetry", "extras"]] {
        let table = sources.get(path).and_then(toml::Value::as_table);
        found.extend(table.into_iter().flat_map(|table| table.keys()).cloned());
    }
    if let Some(text) = sources.place.text("setup.cfg") {
        let listed = text::ini(text, "options.extras_require");
        found.extend(listed.into_iter().map(|(name, _)| name));
    }
    if let Some(text) = sources.place.text("setup.py").and_then(|text| text.split_once("extras_require")) {
        let quoted = |name: &str| [format!("'{name}'"), format!("\"{name}\"")];
        let known = NAMES.split_whitespace().chain(WIDER_NAMES.split_whitespace());
        let keys = known.filter(|name| {
            quoted(name).iter().any(|word| {
                text.1
                    .match_indices(word)
                    .any(|(at, _)| text.1[at + word.len()..].trim_start().starts_with(':'))
            })
        });
        found.extend(keys.map(str::to_owned));
    }
    found.sort_unstable();
    found.dedup();
    for_tests(&found)
}

fn groups(sources: &Sources<'_>) -> Vec<String> {
    let tables = [&["dependency-groups"][..], &["tool", "poetry", "group"]];
    let tables = tables.iter().filter_map(|path| sources.get(path).and_then(toml::Value::as_table));
    for_tests(&tables.flat_map(|table| table.keys()).cloned().collect::<Vec<_>>())
}

/// One requirement as pip takes it, which is neither an option nor a place.
fn is_requirement(line: &str) -> bool {
    let starts = line.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    // A factor of tox (`py27: mock`) looks like one.
    let is_conditional = line.split_once(':').is_some_and(|(head, _)| !head.contains(';'));
    starts && !is_conditional && line.len() <= 200 && !line.contains(['\n', '\\', '`', '$'])
}
