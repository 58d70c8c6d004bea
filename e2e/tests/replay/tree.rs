//! A tree of files as a value, so that trees are compared whole and to the byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use walkdir::WalkDir;

use crate::process::{bounded, run};

/// A git command on a small tree takes well under a second.
const GIT_SECONDS: u32 = 60;

/// Files by their path from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, File>);

/// A file's bytes, and whether it may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    executable: bool,
}

impl Tree {
    /// Reads `root` but for `.git`; refuses what is neither a file nor a directory.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in WalkDir::new(root).into_iter().filter_entry(|entry| entry.file_name() != ".git") {
            let entry = entry?;
            if entry.file_type().is_dir() {
                continue;
            }
            ensure!(entry.file_type().is_file(), "{} is no file", entry.path().display());
            let path = entry.path().strip_prefix(root)?.to_str().context("a path is not UTF-8")?;
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            files.insert(path.to_owned(), File { bytes: fs::read(entry.path())?, executable });
        }
        Ok(Self(files))
    }

    /// This tree with everything at or below `paths` as it is in `other`.
    pub(crate) fn laid_over(&self, other: &Self, paths: &[String]) -> Self {
        let mut files = self.0.clone();
        files.retain(|path, _| !is_within(path, paths));
        files.extend(other.within(paths).0);
        Self(files)
    }

    /// The part at or below `paths`.
    pub(crate) fn within(&self, paths: &[String]) -> Self {
        let inside = self.0.iter().filter(|(path, _)| is_within(path, paths));
        Self(inside.map(|(path, file)| (path.clone(), file.clone())).collect())
    }

    /// This tree with one more plain file.
    pub(crate) fn with(mut self, path: &str, bytes: &[u8]) -> Self {
        self.0.insert(path.to_owned(), File { bytes: bytes.to_owned(), executable: false });
        self
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.0.get(path)
    }

    /// The paths at which the two trees differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut paths: Vec<&String> = self.0.keys().chain(other.0.keys()).collect();
        paths.sort();
        paths.dedup();
        paths.retain(|path| self.0.get(*path) != other.0.get(*path));
        paths.into_iter().cloned().collect()
    }

    /// Writes the files below `root`.
    pub(crate) fn write_to(&self, root: &Path) -> Result<()> {
        for (path, file) in &self.0 {
            let path = root.join(path);
            fs::create_dir_all(path.parent().context("a file has a parent")?)?;
            fs::write(&path, &file.bytes)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Writes the files and commits them, also what a `.gitignore` among them names.
    pub(crate) fn commit_to(&self, root: &Path) -> Result<()> {
        self.write_to(root)?;
        git(root, &["init", "--quiet", "--initial-branch=main"])?;
        git(root, &["add", "--all", "--force"])?;
        let author = ["-c", "user.name=Replay", "-c", "user.email=replay@example.com"];
        git(
            root,
            &[&author[..], &["commit", "--quiet", "-m", "The base version with the new tests"]].concat(),
        )
    }
}

fn is_within(path: &str, roots: &[String]) -> bool {
    roots
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Runs git on a tree that this program wrote.
pub(crate) fn git(root: &Path, args: &[&str]) -> Result<()> {
    let ran = run(bounded(GIT_SECONDS, root, "git").args(args))?;
    if !ran.passed() {
        bail!("git {args:?} exited with {:?}:\n{}", ran.code, ran.tail());
    }
    Ok(())
}
