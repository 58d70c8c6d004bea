//! How a Python project runs its tests.

use super::Sources;
use crate::{Finding, shell, text};

/// Options and settings of pytest that a plugin brings, and the plugin.
const PLUGINS: [(&str, &str); 12] = [
    ("--cov", "pytest-cov"),
    ("--numprocesses", "pytest-xdist"),
    ("-n auto", "pytest-xdist"),
    ("-nauto", "pytest-xdist"),
    ("asyncio_mode", "pytest-asyncio"),
    ("timeout", "pytest-timeout"),
    ("--flake8", "pytest-flake8"),
    ("--mypy", "pytest-mypy"),
    ("--benchmark", "pytest-benchmark"),
    ("DJANGO_SETTINGS_MODULE", "pytest-django"),
    ("--doctest-plus", "pytest-doctestplus"),
    ("mock_use_standalone_module", "pytest-mock"),
];

/// The command, and what has to be installed for it.
pub(super) struct Runner {
    pub(super) command: String,
    packages: Vec<&'static str>,
}

impl Runner {
    /// Lines that install it where nothing else has.
    pub(super) fn install(&self) -> Vec<String> {
        if self.packages.is_empty() {
            return Vec::new();
        }
        vec![format!("python -m pip install {}", self.packages.join(" "))]
    }
}

pub(super) fn find(sources: &Sources<'_>, findings: &mut Vec<Finding>) -> Option<Runner> {
    if let Some((file, settings)) = pytest(sources) {
        findings.push(Finding::new(sources.place.path_of(file), "its tests run with pytest"));
        let plugins = PLUGINS.iter().filter(|(sign, _)| settings.contains(sign)).map(|(_, plugin)| *plugin);
        let mut packages: Vec<&str> = std::iter::once("pytest").chain(plugins).collect();
        packages.dedup();
        return Some(Runner { command: pytest_command(&settings), packages });
    }
    if let Some(arguments) = unittest(sources) {
        findings.push(Finding::new(sources.place.path_of("tox.ini"), "its tests run with unittest"));
        return Some(Runner {
            command: format!("python -m unittest discover{arguments}"),
            packages: Vec::new(),
        });
    }
    if sources.place.has("manage.py") {
        findings.push(Finding::new(sources.place.path_of("manage.py"), "a Django project"));
        return Some(Runner { command: "python manage.py test".to_owned(), packages: Vec::new() });
    }
    let test = sources.place.files().find(|path| is_test(path))?;
    findings.push(Finding::new(sources.place.path_of(test), "a file of tests"));
    // pytest runs what is written for unittest too.
    Some(Runner { command: "python -m pytest".to_owned(), packages: vec!["pytest"] })
}

/// Where warnings are errors, pytest's own are not to be: which pytest it is was nobody's choice, and a newer one deprecates what
/// an older one knew.
fn pytest_command(settings: &str) -> String {
    let is_strict = settings.contains("filterwarnings") && settings.contains("error");
    let own = ["PytestDeprecationWarning", "PytestCollectionWarning"];
    let ignored: String =
        own.iter().filter(|_| is_strict).map(|name| format!(" -W ignore::pytest.{name}")).collect();
    format!("python -m pytest{ignored}")
}

/// The arguments of `unittest discover` where tox runs that: words and paths only.
fn unittest(sources: &Sources<'_>) -> Option<String> {
    let text = sources.place.text("tox.ini")?;
    let commands = text::ini(text, "testenv").into_iter().find(|(key, _)| key == "commands")?.1;
    let line = commands.lines().find_map(|line| line.split_once("-m unittest discover"))?.1;
    let line = line.replace("{toxinidir}/", "").replace("{posargs}", "");
    let words: Vec<String> = line.split_whitespace().map(shell::quoted).collect();
    let is_plain = words.iter().all(|word| !word.contains(['{', '}', '\'']));
    is_plain.then(|| words.iter().map(|word| format!(" {word}")).collect())
}

fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    (name.starts_with("test_") && name.ends_with(".py")) || name.ends_with("_test.py") || (name == "tests.py")
}

/// The file that says that it is pytest, and its settings.
fn pytest(sources: &Sources<'_>) -> Option<(&'static str, String)> {
    let place = sources.place;
    if let Some(tool) = sources.get(&["tool", "pytest"]) {
        return Some(("pyproject.toml", tool.to_string()));
    }
    for file in ["pytest.ini", ".pytest.ini"] {
        if let Some(text) = place.text(file) {
            return Some((file, text.to_owned()));
        }
    }
    for (file, section) in [("setup.cfg", "tool:pytest"), ("tox.ini", "pytest")] {
        let found = place.text(file).filter(|text| text::has_section(text, section));
        if let Some(text) = found {
            let values: Vec<String> =
                text::ini(text, section).into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
            return Some((file, values.join("\n")));
        }
    }
    let tox = place.text("tox.ini").filter(|text| text.contains("pytest"));
    if tox.is_some() {
        return Some(("tox.ini", String::new()));
    }
    place.files().any(|path| path.ends_with("conftest.py")).then_some(("conftest.py", String::new()))
}
