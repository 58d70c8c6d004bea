//! The stacks that are known, each a function from a directory to a project.

mod dotnet;
mod go;
mod java;
mod make;
mod native;
mod node;
mod others;
mod perl;
mod php;
mod python;
mod ruby;
mod rust;

use crate::tree::Place;
use crate::{Finding, Project};

/// Looks whether a directory holds a project of one stack.
pub(crate) type Detector = fn(Place<'_>) -> Option<Project>;

/// In the order in which their projects are set up and tested.
pub(crate) const DETECTORS: [Detector; 9] = [
    rust::detect,
    python::detect,
    node::detect,
    go::detect,
    java::detect,
    ruby::detect,
    php::detect,
    dotnet::detect,
    perl::detect,
];

/// Build systems that also stand beside what another stack builds with them: they count in a root without another project.
pub(crate) const FALLBACKS: [Detector; 4] =
    [others::detect, go::detect_without_module, native::detect, make::detect];

/// A project of a stack, known by one file.
fn project(stack: &str, place: Place<'_>, file: &str, says: &str) -> Project {
    Project {
        stack: stack.to_owned(),
        directory: place.path.to_owned(),
        findings: vec![Finding::new(place.path_of(file), says)],
        ..Project::default()
    }
}

impl Project {
    /// With a toolchain that a file asks for; `""`: any version.
    fn needs(mut self, toolchain: &str, version: &str) -> Self {
        self.toolchains.insert(toolchain.to_owned(), version.to_owned());
        self
    }

    /// With a variable for every command.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a line of set-up that brings it up to date too.
    fn installs(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        self.setup.push(line.clone());
        self.maintenance.push(line);
        self
    }

    /// With a line that runs its tests.
    fn tests(mut self, line: impl Into<String>) -> Self {
        self.test = Some(line.into());
        self
    }

    /// With what else a file says.
    fn because(mut self, file: String, says: impl Into<String>) -> Self {
        self.findings.push(Finding::new(file, says));
        self
    }
}
