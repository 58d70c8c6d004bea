//! How a Python project runs its tests.

use super::Sources;
use crate::{Finding, text};

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
        return Some(Runner { command: "python -m pytest".to_owned(), packages });
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
