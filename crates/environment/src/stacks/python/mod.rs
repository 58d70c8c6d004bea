//! Python: uv, Poetry, PDM, Pipenv, or pip with whatever a project states its dependencies in.
//!
//! Everything goes into a virtual environment beside the checkout, so that the work tree stays as it was and nothing of the
//! machine is changed. What the tests need is written down in many places by custom only; all of them are looked at.

mod interpreter;
mod needs;
mod runner;

use toml::Table;

use crate::tree::Place;
use crate::{Finding, Project};
use needs::Needs;

/// Where the virtual environment is.
const VENV: &str = "$HOME/.venv";

const MANIFESTS: [&str; 8] = [
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "requirements.txt",
    "Pipfile",
    "tox.ini",
    "manage.py",
    "uv.lock",
];

/// A project's files, read once.
pub(super) struct Sources<'a> {
    pub(super) place: Place<'a>,
    pub(super) pyproject: Table,
}

impl<'a> Sources<'a> {
    pub(super) fn of(place: Place<'a>) -> Self {
        let pyproject =
            place.text("pyproject.toml").and_then(|text| toml::from_str(text).ok()).unwrap_or_default();
        Self { place, pyproject }
    }

    /// A value of `pyproject.toml` by the names on the way to it.
    pub(super) fn get(&self, path: &[&str]) -> Option<&toml::Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.pyproject.get(*first)?, |value, name| value.get(name))
    }

    fn is_versioned_by_tags(&self) -> bool {
        let text = self.place.text("pyproject.toml").unwrap_or_default();
        ["setuptools_scm", "setuptools-scm", "hatch-vcs"].iter().any(|name| text.contains(name))
    }

    fn is_package(&self) -> bool {
        self.place.has("setup.py")
            || self.get(&["project"]).is_some()
            || self.get(&["tool", "poetry"]).is_some()
            || self.get(&["build-system"]).is_some()
            || self.place.text("setup.cfg").is_some_and(|text| crate::text::has_section(text, "metadata"))
    }
}

/// A version for a project that takes its own from git's tags, where there are none: that of a source distribution. With a made-up
/// one, what depends on the project (as pytest does on pluggy) would be chosen to fit.
const UNTAGGED: &str = "if [ -f PKG-INFO ] && [ -z \"$(git tag --merged HEAD 2>/dev/null | head -n 1)\" ]; then export SETUPTOOLS_SCM_PRETEND_VERSION=\"$(sed -n 's/^Version: //p' PKG-INFO | head -n 1)\"; fi";

/// Which program installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Uv,
    Poetry,
    Pdm,
    Pipenv,
    Pip,
}

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    place.first(&MANIFESTS)?;
    let sources = Sources::of(place);
    let mut findings = Vec::new();
    let installer = installer(&sources, &mut findings);
    let interpreter = interpreter::find(&sources, &mut findings);
    let runner = runner::find(&sources, &mut findings);
    let needs = Needs::of(&sources, &mut findings);
    if runner.is_none() && !sources.is_package() && needs.is_empty() && installer == Installer::Pip {
        return None;
    }
    let mut project = Project {
        stack: format!("Python ({})", installer.name()),
        directory: place.path.to_owned(),
        ..Project::default()
    };
    project.place = vec![
        interpreter.script(),
        format!("\"$python\" -m venv \"{VENV}\""),
        format!(". \"{VENV}/bin/activate\""),
    ];
    let mut install = installer.script(&sources, &needs, runner.as_ref());
    if sources.is_versioned_by_tags() {
        install.insert(0, UNTAGGED.to_owned());
    }
    project.maintenance =
        std::iter::once(format!(". \"{VENV}/bin/activate\"")).chain(install.clone()).collect();
    project.setup = install;
    project.toolchains.insert("python".to_owned(), interpreter.version);
    project.variables.insert("VIRTUAL_ENV".to_owned(), "/home/agent/.venv".to_owned());
    project.variables.insert("PATH".to_owned(), "/home/agent/.venv/bin:$PATH".to_owned());
    project.test = runner.map(|runner| runner.command);
    project.findings = findings;
    Some(project)
}

fn installer(sources: &Sources<'_>, findings: &mut Vec<Finding>) -> Installer {
    let place = sources.place;
    let mut found = |file: &str, says: &str, installer| {
        findings.push(Finding::new(place.path_of(file), says));
        installer
    };
    if place.has("uv.lock") {
        return found("uv.lock", "locked by uv", Installer::Uv);
    }
    if place.has("poetry.lock") || sources.get(&["tool", "poetry", "dependencies"]).is_some() {
        let file = if place.has("poetry.lock") { "poetry.lock" } else { "pyproject.toml" };
        return found(file, "a project of Poetry", Installer::Poetry);
    }
    if place.has("pdm.lock") {
        return found("pdm.lock", "locked by PDM", Installer::Pdm);
    }
    if place.has("Pipfile") && !sources.is_package() {
        return found("Pipfile", "dependencies for Pipenv", Installer::Pipenv);
    }
    if let Some(file) = place.first(&MANIFESTS) {
        let says = if sources.is_package() { "a Python package" } else { "a Python project" };
        return found(file, says, Installer::Pip);
    }
    Installer::Pip
}

impl Installer {
    const fn name(self) -> &'static str {
        match self {
            Self::Uv => "uv",
            Self::Poetry => "Poetry",
            Self::Pdm => "PDM",
            Self::Pipenv => "Pipenv",
            Self::Pip => "pip",
        }
    }

    /// Lines that install everything into the active virtual environment.
    fn script(self, sources: &Sources<'_>, needs: &Needs, runner: Option<&runner::Runner>) -> Vec<String> {
        let mut lines = match self {
            Self::Uv => {
                let extras: String = needs.extras.iter().map(|extra| format!(" --extra {extra}")).collect();
                let groups: String = needs.groups.iter().map(|group| format!(" --group {group}")).collect();
                vec![
                    "command -v uv >/dev/null || pip install --quiet uv".to_owned(),
                    format!("UV_PROJECT_ENVIRONMENT=\"{VENV}\" uv sync --frozen{extras}{groups}"),
                ]
            }
            Self::Poetry => {
                let extras: String = needs.extras.iter().map(|extra| format!(" --extras {extra}")).collect();
                let groups: String = needs.groups.iter().map(|group| format!(" --with {group}")).collect();
                vec![
                    "\"$python\" -m venv \"$HOME/.poetry\"".to_owned(),
                    "\"$HOME/.poetry/bin/pip\" install --quiet poetry".to_owned(),
                    format!("\"$HOME/.poetry/bin/poetry\" install --no-interaction{extras}{groups}"),
                ]
            }
            Self::Pdm => vec![
                "\"$python\" -m venv \"$HOME/.pdm\"".to_owned(),
                "\"$HOME/.pdm/bin/pip\" install --quiet pdm".to_owned(),
                "\"$HOME/.pdm/bin/pdm\" use --first -f \"$VIRTUAL_ENV\"; \"$HOME/.pdm/bin/pdm\" sync -G :all"
                    .to_owned(),
            ],
            Self::Pipenv => vec![
                "pip install --quiet pipenv".to_owned(),
                if sources.place.has("Pipfile.lock") {
                    "PIPENV_IGNORE_VIRTUALENVS=0 pipenv sync --dev".to_owned()
                } else {
                    "PIPENV_IGNORE_VIRTUALENVS=0 pipenv install --dev --skip-lock".to_owned()
                },
            ],
            Self::Pip => return pip(sources, needs, runner),
        };
        if let Some(runner) = runner.filter(|_| self != Self::Uv) {
            lines.extend(runner.install());
        }
        lines
    }
}

fn pip(sources: &Sources<'_>, needs: &Needs, runner: Option<&runner::Runner>) -> Vec<String> {
    let mut lines = Vec::new();
    if !needs.groups.is_empty() {
        // Dependency groups need pip 25.1.
        lines.push("python -m pip install --quiet --upgrade pip".to_owned());
    }
    if sources.place.has("setup.py") {
        // Its own tests and build often import them, and Python 3.12 does not bring them any more.
        lines.push("python -m pip install --quiet --upgrade 'setuptools<81' wheel".to_owned());
    }
    let files: String =
        needs.files.iter().map(|file| format!(" -r {}", crate::shell::quoted(file))).collect();
    if !files.is_empty() {
        lines.push(format!("python -m pip install{files}"));
    }
    if sources.is_package() {
        let extras =
            if needs.extras.is_empty() { String::new() } else { format!("[{}]", needs.extras.join(",")) };
        let groups: String = needs.groups.iter().map(|group| format!(" --group {group}")).collect();
        lines.push(format!("python -m pip install -e '.{extras}'{groups}"));
    }
    if !needs.packages.is_empty() {
        let packages: Vec<String> = needs.packages.iter().map(|name| crate::shell::quoted(name)).collect();
        lines.push(format!("python -m pip install {}", packages.join(" ")));
    }
    lines.extend(runner.map(runner::Runner::install).unwrap_or_default());
    lines
}
