//! A bounded view of a repository's files.

use std::collections::{BTreeMap, BTreeSet};

/// Most paths that are looked at; the rest of a larger repository is not. Linux has 90,000.
pub const PATHS_MAX: usize = 200_000;

/// Most files that are read, the shallowest first.
pub const FILES_MAX: usize = 256;

/// The largest file that is read whole. Manifests are far below it; of a larger one nothing is said.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Longest path that is looked at, in bytes; `PATH_MAX` of Linux is 4,096, and no manifest lies that deep.
const PATH_BYTES_MAX: usize = 512;

/// Directories between a manifest and the root.
const DEPTH_MAX: usize = 3;

/// Directories whose content is somebody else's, or no project of its own.
const SKIPPED: &str = "node_modules vendor third_party thirdparty external deps target dist build .git .venv venv fixtures testdata \
    test_data examples example samples docs doc benchmarks fuzz";

/// Files that say what a project needs, by their whole name.
const NAMES: &str = "Cargo.toml Cargo.lock rust-toolchain rust-toolchain.toml pyproject.toml setup.py setup.cfg tox.ini \
    pytest.ini .pytest.ini noxfile.py Pipfile Pipfile.lock poetry.lock uv.lock pdm.lock manage.py conftest.py \
    .python-version environment.yml package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml \
    pnpm-workspace.yaml bun.lock bun.lockb .yarnrc.yml .nvmrc .node-version deno.json deno.jsonc go.mod go.work \
    go.sum pom.xml mvnw build.gradle build.gradle.kts settings.gradle settings.gradle.kts gradlew build.xml \
    build.sbt deps.edn project.clj .java-version .sdkmanrc Gemfile Gemfile.lock Rakefile .rspec .ruby-version \
    composer.json composer.lock phpunit.xml phpunit.xml.dist global.json CMakeLists.txt meson.build configure \
    configure.ac configure.in autogen.sh bootstrap Makefile makefile GNUmakefile Makefile.am Makefile.PL \
    Build.PL cpanfile dist.ini META.json mix.exs Package.swift stack.yaml cabal.project dune-project \
    rebar.config shard.yml pubspec.yaml Project.toml build.zig .tool-versions mise.toml .mise.toml justfile \
    Dockerfile";

/// The same, by whole path.
const PATHS: &str = ".legwork/environment.toml .devcontainer/devcontainer.json .devcontainer.json .devcontainer/Dockerfile \
    .github/workflows/copilot-setup-steps.yml .github/workflows/copilot-setup-steps.yaml \
    .cursor/environment.json .cursor/Dockerfile .openhands/setup.sh .openinspect/setup.sh .config/mise.toml \
    .mise/config.toml";

/// The paths of a repository's regular files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    paths: BTreeSet<String>,
}

impl Listing {
    /// From paths relative to the root, with `/` between their parts. What is absolute, leads upwards or is too long is left
    /// out, and so is what comes after [`PATHS_MAX`].
    pub fn new(paths: impl IntoIterator<Item = String>) -> Self {
        Self { paths: paths.into_iter().take(PATHS_MAX).filter(|path| is_plain(path)).collect() }
    }

    /// The files to read for [`detect`](crate::detect), at most [`FILES_MAX`]: the shallowest first.
    #[must_use]
    pub fn wanted(&self) -> Vec<&str> {
        let mut wanted: Vec<&str> =
            self.paths.iter().map(String::as_str).filter(|path| is_wanted(path)).collect();
        wanted.sort_by_key(|path| (!is_listed(PATHS, path), path.matches('/').count()));
        wanted.truncate(FILES_MAX);
        wanted
    }

    /// The view with what was read.
    #[must_use]
    pub fn with(self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Tree {
        let texts = files
            .into_iter()
            .filter(|(path, bytes)| bytes.len() <= FILE_BYTES_MAX && self.paths.contains(path))
            .take(FILES_MAX)
            .map(|(path, bytes)| (path, String::from_utf8_lossy(&bytes).into_owned()))
            .collect();
        Tree { paths: self.paths, texts }
    }
}

/// Whether a list, whose entries are set apart by blanks, has that one.
fn is_listed(list: &str, wanted: &str) -> bool {
    list.split_whitespace().any(|entry| entry == wanted)
}

fn is_plain(path: &str) -> bool {
    let parts = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    path.len() <= PATH_BYTES_MAX && !path.contains(['\0', '\n', '\r']) && parts(path)
}

fn is_wanted(path: &str) -> bool {
    if is_listed(PATHS, path) {
        return true;
    }
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_own = directory.is_empty()
        || (directory.split('/').count() <= DEPTH_MAX
            && !directory.split('/').any(|part| is_listed(SKIPPED, part)));
    is_own && (is_listed(NAMES, name) || is_requirements(path, name) || has_manifest_ending(name))
}

fn is_requirements(path: &str, name: &str) -> bool {
    name.ends_with(".txt") && (name.contains("requirements") || path.starts_with("requirements/"))
}

fn has_manifest_ending(name: &str) -> bool {
    const ENDINGS: [&str; 8] =
        [".gemspec", ".csproj", ".fsproj", ".sln", ".slnx", ".cabal", ".rockspec", ".opam"];
    ENDINGS.iter().any(|ending| name.ends_with(ending) && name.len() > ending.len())
}

/// A repository's paths, and the texts of those files that say what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// Whether there is such a file.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// What a file says, if it was read.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// The files below a directory (`""`: all), in order.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = &str> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let start = prefix.clone();
        self.paths.range(start..).take_while(move |path| path.starts_with(&prefix)).map(String::as_str)
    }

    /// A directory of this repository.
    pub(crate) fn at<'a>(&'a self, path: &'a str) -> Place<'a> {
        Place { tree: self, path }
    }

    /// The directories that hold a project's files, the root first; none below a skipped one.
    pub(crate) fn directories(&self) -> Vec<&str> {
        let holds = |path: &&String| is_wanted(path) && !is_listed(PATHS, path);
        let directories =
            self.paths.iter().filter(holds).map(|path| path.rsplit_once('/').map_or("", |(at, _)| at));
        let mut directories: Vec<&str> = directories.collect::<BTreeSet<_>>().into_iter().collect();
        directories.sort_by_key(|at| if at.is_empty() { 0 } else { 1 + at.matches('/').count() });
        directories
    }
}

/// A directory of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    tree: &'a Tree,
    /// From the root; empty: the root.
    pub(crate) path: &'a str,
}

impl<'a> Place<'a> {
    /// The path of a file of this directory from the root.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tree.has(&self.path_of(name))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.tree.text(&self.path_of(name))
    }

    /// The first of these names that is a file here.
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// The files of this directory and below, by their paths from here.
    pub(crate) fn files(&self) -> impl Iterator<Item = &'a str> {
        let cut = if self.path.is_empty() { 0 } else { self.path.len() + 1 };
        self.tree.below(self.path).map(move |path| &path[cut..])
    }

    /// The first file of this directory itself with that ending.
    pub(crate) fn ending(&self, ending: &str) -> Option<&'a str> {
        self.files().find(|path| !path.contains('/') && path.ends_with(ending))
    }

    /// Whether a file lies below this subdirectory.
    pub(crate) fn has_below(&self, directory: &str) -> bool {
        self.tree.below(&self.path_of(directory)).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_near_the_root_are_read() {
        let paths = [
            "Cargo.toml",
            "src/main.rs",
            "crates/a/Cargo.toml",
            "node_modules/x/package.json",
            "../Cargo.toml",
            "/Cargo.toml",
            "a/b/c/d/Cargo.toml",
            "requirements/dev.txt",
            ".devcontainer/devcontainer.json",
            "x.gemspec",
        ];
        let listing = Listing::new(paths.map(str::to_owned));
        assert_eq!(
            listing.wanted(),
            [
                ".devcontainer/devcontainer.json",
                "Cargo.toml",
                "x.gemspec",
                "requirements/dev.txt",
                "crates/a/Cargo.toml"
            ]
        );
        let tree =
            listing.with([("Cargo.toml".to_owned(), b"\xff".to_vec()), ("other".to_owned(), Vec::new())]);
        assert_eq!((tree.text("Cargo.toml"), tree.text("other")), (Some("\u{fffd}"), None));
        assert_eq!(tree.directories(), ["", "requirements", "crates/a"]);
    }
}
