//! Node and its kin: npm, Yarn, pnpm, Bun.

use serde_json::Value;

use super::project;
use crate::tree::Place;
use crate::{Project, shell, text};

/// What npm writes into a new package for want of tests.
const NO_TEST: &str = "no test specified";

/// Which program installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Npm,
    Yarn,
    Pnpm,
    Bun,
}

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let manifest: Value = serde_json::from_str(place.text("package.json")?).ok()?;
    let (manager, version, file) = manager(place, &manifest);
    let stack = format!("Node ({})", manager.name());
    let mut found = project(&stack, place, "package.json", "a package of Node");
    if file != "package.json" {
        found = found.because(place.path_of(&file), format!("dependencies for {}", manager.name()));
    } else if !version.is_empty() {
        found =
            found.because(place.path_of("package.json"), format!("asks for {} {version}", manager.name()));
    }
    found = node_version(found, place, &manifest);
    let needs_anything = ["dependencies", "devDependencies", "workspaces", "optionalDependencies"];
    if needs_anything.iter().any(|key| manifest.get(key).is_some_and(|value| !is_empty(value))) {
        found = found.installs(manager.install(place, &version));
    }
    match test_script(&manifest) {
        Some(script) => {
            let says = format!("its tests run with {script:?}");
            Some(found.because(place.path_of("package.json"), says).tests(manager.test(&version)))
        }
        None if found.setup.is_empty() => None,
        None => Some(own_runner(found, place)),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn test_script(manifest: &Value) -> Option<String> {
    let script = manifest.get("scripts")?.get("test")?.as_str()?;
    let script: String = script.chars().filter(|c| !c.is_control()).take(100).collect();
    (!script.trim().is_empty() && !script.contains(NO_TEST)).then_some(script)
}

/// Tests that nobody wrote a script for: those that Node itself finds.
fn own_runner(found: Project, place: Place<'_>) -> Project {
    let is_test = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        [".test.js", ".test.mjs", ".test.cjs", "-test.js", "_test.js"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    match place.files().filter(|path| !path.contains("node_modules/")).find(is_test) {
        Some(file) => found.because(place.path_of(file), "a file of tests for Node").tests("node --test"),
        None => found,
    }
}

/// The manager, the version that is asked for, and the file that says so.
fn manager(place: Place<'_>, manifest: &Value) -> (Installer, String, String) {
    let stated = manifest.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    let (name, version) = stated.split_once('@').unwrap_or((stated, ""));
    let version = version.split('+').next().and_then(shell::version).unwrap_or_default().to_owned();
    let of_name = |name: &str| match name {
        "npm" => Some(Installer::Npm),
        "yarn" => Some(Installer::Yarn),
        "pnpm" => Some(Installer::Pnpm),
        "bun" => Some(Installer::Bun),
        _ => None,
    };
    if let Some(manager) = of_name(name) {
        return (manager, version, "package.json".to_owned());
    }
    let locks = [
        ("pnpm-lock.yaml", Installer::Pnpm),
        ("yarn.lock", Installer::Yarn),
        ("bun.lock", Installer::Bun),
        ("bun.lockb", Installer::Bun),
        ("package-lock.json", Installer::Npm),
        ("npm-shrinkwrap.json", Installer::Npm),
    ];
    let found = locks.iter().find(|(file, _)| place.has(file));
    found.map_or((Installer::Npm, String::new(), "package.json".to_owned()), |(file, manager)| {
        (*manager, String::new(), (*file).to_owned())
    })
}

fn node_version(found: Project, place: Place<'_>, manifest: &Value) -> Project {
    for file in [".nvmrc", ".node-version"] {
        let stated = place.text(file).and_then(|text| text::lines(text).next());
        if let Some(version) = stated.map(|text| text.trim_start_matches('v')).and_then(shell::version) {
            return found
                .because(place.path_of(file), format!("asks for Node {version}"))
                .needs("node", version);
        }
    }
    let volta = manifest.get("volta").and_then(|volta| volta.get("node")?.as_str()).and_then(shell::version);
    if let Some(version) = volta {
        return found
            .because(place.path_of("package.json"), format!("asks for Node {version}"))
            .needs("node", version);
    }
    let range = manifest.get("engines").and_then(|engines| engines.get("node")?.as_str());
    match range {
        Some(range) => {
            let range: String = range.chars().filter(|c| !c.is_control()).take(80).collect();
            found.because(place.path_of("package.json"), format!("needs Node {range}")).needs("node", "")
        }
        None => found.needs("node", ""),
    }
}

impl Installer {
    const fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Yarn => "Yarn",
            Self::Pnpm => "pnpm",
            Self::Bun => "Bun",
        }
    }

    /// The program: where the machine has none, npm gets it.
    fn program(self, version: &str) -> String {
        let name = match self {
            Self::Npm => return "npm".to_owned(),
            Self::Yarn if version.starts_with(['2', '3', '4', '5']) => "@yarnpkg/cli-dist",
            Self::Yarn => "yarn",
            Self::Pnpm => "pnpm",
            Self::Bun => "bun",
        };
        let at = if version.is_empty() { String::new() } else { format!("@{version}") };
        format!("npx --yes {name}{at}")
    }

    fn install(self, place: Place<'_>, version: &str) -> String {
        let program = self.program(version);
        let is_locked = place.first(&["package-lock.json", "npm-shrinkwrap.json"]).is_some();
        match self {
            Self::Npm if is_locked => format!("{program} ci --no-audit --no-fund"),
            Self::Npm => format!("{program} install --no-audit --no-fund --no-package-lock"),
            Self::Yarn if place.has(".yarnrc.yml") => format!("{program} install --immutable"),
            Self::Yarn if place.has("yarn.lock") => format!("{program} install --frozen-lockfile"),
            Self::Pnpm if place.has("pnpm-lock.yaml") => format!("{program} install --frozen-lockfile"),
            Self::Bun if place.first(&["bun.lock", "bun.lockb"]).is_some() => {
                format!("{program} install --frozen-lockfile")
            }
            Self::Yarn | Self::Pnpm | Self::Bun => format!("{program} install"),
        }
    }

    fn test(self, version: &str) -> String {
        match self {
            Self::Bun => format!("{} run test", self.program(version)),
            Self::Npm | Self::Yarn | Self::Pnpm => format!("{} test", self.program(version)),
        }
    }
}
