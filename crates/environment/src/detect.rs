//! From a repository's files to everything that it needs.

use legwork_domain::Check;

use crate::others::{self, Foreign};
use crate::stacks::{DETECTORS, FALLBACKS};
use crate::tree::Tree;
use crate::{Detected, Finding, Project, shell, versions};

/// Names what detection knows. It changes with every change of what is found, so that what was found before is not used.
pub const VERSION: &str = "4";

/// Most projects of one repository that are set up; a monorepo with more says itself what it wants.
const PROJECTS_MAX: usize = 8;

/// Finds out what a repository needs. The same files give the same answer.
#[must_use]
pub fn detect(tree: &Tree) -> Detected {
    let mut detected = Detected { projects: projects(tree), ..Detected::default() };
    for project in &detected.projects {
        detected.toolchains.extend(project.toolchains.clone());
        detected.packages.extend(project.packages.iter().cloned());
    }
    detected.packages.sort_unstable();
    detected.packages.dedup();
    let (toolchains, findings) = versions::read(tree);
    detected.toolchains.extend(toolchains);
    detected.notes.extend(findings);
    let foreign = others::read(tree);
    if let Some(file) =
        ["Dockerfile", ".devcontainer/Dockerfile", ".cursor/Dockerfile"].iter().find(|file| tree.has(file))
    {
        let says = "describes an image, which needs a container image for now: this machine's tools are used";
        detected.notes.push(Finding::new(*file, says));
    }
    detected.set_up(foreign);
    detected.check();
    detected
}

/// The root's projects and, for stacks that the root has not, those of directories below. A stack in a directory below
/// another of the same belongs to it: a member of its workspace.
fn projects(tree: &Tree) -> Vec<Project> {
    let mut found: Vec<Project> = Vec::new();
    for directory in tree.directories() {
        for detector in DETECTORS {
            let Some(project) = detector(tree.at(directory)) else { continue };
            let is_member = found
                .iter()
                .any(|other| family(other) == family(&project) && is_below(directory, &other.directory));
            if !is_member && found.len() < PROJECTS_MAX {
                found.push(project);
            }
        }
    }
    if !found.iter().any(|project| project.directory.is_empty()) {
        found.extend(FALLBACKS.iter().find_map(|detector| detector(tree.at(""))));
    }
    found
}

fn family(project: &Project) -> &str {
    project.stack.split(' ').next().unwrap_or_default()
}

fn is_below(directory: &str, other: &str) -> bool {
    other.is_empty() || directory == other || directory.starts_with(&format!("{other}/"))
}

impl Detected {
    /// The scripts. What somebody wrote for this goes before what manifests look like; the place that is installed into (a
    /// virtual environment) is made for both.
    fn set_up(&mut self, mut foreign: Vec<Foreign>) {
        let chosen = foreign.iter().position(|foreign| !foreign.setup.is_empty());
        let mut setup: Vec<String> = Vec::new();
        let mut maintenance = Vec::new();
        for project in &self.projects {
            self.variables.extend(project.variables.clone());
            let install = if chosen.is_none() { &project.setup[..] } else { &[] };
            setup.extend(shell::inside(&project.directory, &[&project.place[..], install].concat()));
            maintenance.extend(shell::inside(&project.directory, &project.maintenance));
        }
        let used = chosen.map(|at| (foreign[at].file.clone(), foreign[at].setup.clone()));
        if let Some((_, lines)) = &used {
            setup.extend(lines.iter().cloned());
        }
        let mut start = Vec::new();
        for foreign in &mut foreign {
            if let Some((file, _)) =
                used.as_ref().filter(|(file, _)| *file != foreign.file && !foreign.setup.is_empty())
            {
                let says = format!("its set-up is not used, since {file} goes before it");
                foreign.notes.push(Finding::new(foreign.file.clone(), says));
            }
            start.append(&mut foreign.start);
            self.notes.append(&mut foreign.notes);
            self.image = self.image.take().or_else(|| foreign.image.take());
            for (name, value) in &foreign.variables {
                self.variables.entry(name.clone()).or_insert_with(|| value.clone());
            }
            foreign.toolchains.extend(others::codex_toolchains(&foreign.variables));
            for (name, version) in &foreign.toolchains {
                let known = self.toolchains.entry(name.clone()).or_default();
                if known.is_empty() {
                    known.clone_from(version);
                }
            }
        }
        self.setup = script(&setup);
        self.maintenance = script(&maintenance);
        self.start = script(&start);
    }

    /// The commands that run the tests, each with a name of its own.
    fn check(&mut self) {
        for project in &self.projects {
            let Some(test) = &project.test else { continue };
            let at = project.directory.as_str();
            let command = if at.is_empty() {
                test.clone()
            } else {
                format!("cd {} && {test}", shell::quoted(&format!("./{at}")))
            };
            let of = if at.is_empty() { project.stack.as_str() } else { at };
            let names =
                ["tests".to_owned(), format!("tests of {of}"), format!("tests of {} in {of}", project.stack)];
            let free = names.into_iter().find(|name| !self.checks.iter().any(|check| check.name == *name));
            self.checks.extend(free.map(|name| Check::detected(name, command)));
        }
    }

    /// What led to it all, project by project.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        self.projects.iter().flat_map(|project| &project.findings).chain(&self.notes).collect()
    }
}

fn script(lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| format!("set -e\n{}\n", lines.join("\n")))
}
