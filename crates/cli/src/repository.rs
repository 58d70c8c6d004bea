//! The user's own repository: which one is meant, and putting a patch into it on the user's word.
//!
//! Git runs here with everything off that a repository could bring to life (the `git` room's `own` commands). A patch is
//! tried first and applied wholly or not at all; a branch is built in an index of its own, so work tree and index stay as
//! they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::Context as _;
use legwork_domain::Patch;
use legwork_git::own::{self, Own};
use legwork_git::{Invocation, Repository, Url};

use crate::exit::Trouble;

/// A repository that the user named.
#[derive(Debug, PartialEq)]
pub struct Located {
    /// As the server wants it: a URL without password, or the absolute path of a repository's root.
    pub name: String,
    /// The setting of git that puts the password back, which no record, log or list of processes should hold.
    pub login: Option<(OsString, OsString)>,
}

impl Located {
    /// Whether it is somewhere else.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !self.name.starts_with('/')
    }
}

/// What `--repo` means.
///
/// # Errors
/// A [`Trouble`] if there is no repository.
pub fn locate(asked: Option<&str>) -> anyhow::Result<Located> {
    let text = asked.unwrap_or(".");
    if Path::new(text).exists() || !text.contains(':') {
        return Ok(Located { name: root(Path::new(text))?, login: None });
    }
    let parsed = Repository::parse(text).map_err(|error| {
        Trouble::usage(sentence(&error), "Name an existing directory, or an https or ssh URL.")
    })?;
    match parsed {
        Repository::Path(path) => Ok(Located { name: root(&path)?, login: None }),
        Repository::Url(url) => {
            let (name, login) = url.without_login();
            let setting = |base: String| (format!("url.{base}.insteadOf").into(), name.clone().into());
            Ok(Located { login: login.map(setting), name })
        }
    }
}

/// The root of the repository around `start`.
fn root(start: &Path) -> anyhow::Result<String> {
    let path = std::fs::canonicalize(start).map_err(|error| {
        Trouble::usage(
            format!("{} cannot be opened: {error}.", start.display()),
            "Name an existing repository with --repo.",
        )
    })?;
    let root = path.ancestors().find(|dir| is_repository(dir)).ok_or_else(|| {
        Trouble::usage(
            format!("{} is not inside a git repository.", path.display()),
            "Go into one, name one with --repo PATH-OR-URL, or make one: git init && git add -A && git commit.",
        )
    })?;
    let root = root.to_str().map(str::to_owned);
    root.ok_or_else(|| {
        Trouble::usage("The repository's path is not valid UTF-8.", "Move or link it elsewhere.").into()
    })
}

fn is_repository(dir: &Path) -> bool {
    dir.join(".git").exists() || legwork_git::local::is_git_dir(|entry| dir.join(entry).exists())
}

fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// A setting for git by its environment, which other users of the machine cannot read.
#[must_use]
pub fn git_setting((key, value): (OsString, OsString)) -> [(OsString, OsString); 3] {
    [
        ("GIT_CONFIG_COUNT".into(), "1".into()),
        ("GIT_CONFIG_KEY_0".into(), key),
        ("GIT_CONFIG_VALUE_0".into(), value),
    ]
}

/// The URL of the remote `origin` of the repository at `root`, without what may be secret in it.
#[must_use]
pub fn origin(root: &Path, operator: &[(OsString, OsString)]) -> Option<String> {
    let own = Own { directory: root.to_owned(), operator: operator.to_vec(), filters: Vec::new() };
    let url = String::from_utf8(start(&own.origin()).ok()?.stdout).ok()?;
    match Repository::parse(url.trim()).ok()? {
        Repository::Url(url) => Some(url.public().to_owned()),
        Repository::Path(_) => None,
    }
}

/// A repository of the user on this machine.
pub struct Mine {
    own: Own,
}

impl Mine {
    /// The one whose root or git directory is `directory`; git sees `operator` of the user's environment.
    ///
    /// # Errors
    /// If git cannot be started.
    pub fn open(directory: &Path, operator: &[(OsString, OsString)]) -> anyhow::Result<Self> {
        let mut own =
            Own { directory: directory.to_owned(), operator: operator.to_vec(), filters: Vec::new() };
        // Exit code 1: there are none.
        own.filters = own::filters(&start(&own.list_filters())?.stdout);
        Ok(Self { own })
    }

    /// Applies `patch` to the work tree, wholly or not at all.
    ///
    /// # Errors
    /// A [`Trouble`] that lists the files in the way; the tree is then as it was.
    pub fn apply(&self, patch: &Patch, contents: &[u8], retry: &str) -> anyhow::Result<()> {
        if !self.own.directory.join(".git").exists() {
            let what =
                format!("{} is a bare repository and has no files to change.", self.own.directory.display());
            return Err(Trouble::failed(what, "Put the patch on a branch with --branch NAME.").into());
        }
        if legwork_git::patch::has_copies(contents) {
            let what = "The patch copies files by name, which no task's patch does; nothing was changed.";
            return Err(Trouble::failed(what, "Look at it before you use it: legwork task diff").into());
        }
        let file = Spooled::new(contents)?;
        // Git's preflight looks at each file by itself, and a patch can want one to be a file and a directory.
        if start(&self.own.has(&patch.base_commit))?.status.success() {
            self.tree(patch, &file)?;
        }
        let preflight = start(&self.own.preflight(&file.path))?;
        if !preflight.status.success() {
            return Err(self.conflict(&preflight, retry).into());
        }
        let applied = start(&self.own.apply(&file.path))?;
        if !applied.status.success() {
            let what = format!(
                "Git stopped in the middle of applying the patch in {}: {}",
                self.own.directory.display(),
                String::from_utf8_lossy(&applied.stderr).trim()
            );
            let mend = "Part of it may be there: look with git status. The patch is kept: legwork task diff";
            return Err(Trouble::failed(what, mend).into());
        }
        Ok(())
    }

    fn conflict(&self, output: &Output, retry: &str) -> Trouble {
        let said = String::from_utf8_lossy(&output.stderr);
        let paths = hindered(&said);
        let mut what = format!(
            "The patch does not fit the files in {}; nothing was changed there, and the patch is kept.",
            self.own.directory.display()
        );
        let reasons = if paths.is_empty() { vec![said.trim().to_owned()] } else { paths };
        for reason in reasons {
            what.push_str(&format!("\n{reason}"));
        }
        let mend = format!(
            "Commit or stash your changes there, then: {retry}\nOr put it on a branch: {retry} --branch NAME"
        );
        Trouble::failed(what, mend)
    }

    /// Makes the branch `name` with one commit, base + `patch`. A branch of that name is taken only if it points at the
    /// base and is checked out nowhere.
    ///
    /// # Errors
    /// A [`Trouble`]; neither refs nor files are then changed.
    pub fn branch(
        &self,
        name: &str,
        patch: &Patch,
        contents: &[u8],
        message: &str,
    ) -> anyhow::Result<String> {
        if !start(&self.own.check_branch_name(name))?.status.success() {
            let what = format!("Git does not take {name:?} for the name of a branch.");
            return Err(Trouble::usage(what, "Choose letters, digits, - and /.").into());
        }
        let commit = self.commit(patch, contents, message)?;
        if self.checked_out(name) {
            let what = format!("The branch {name} is checked out; moving it would leave its files behind.");
            return Err(Trouble::failed(what, "Choose another name, or use --apply for the files.").into());
        }
        let mut create = self.own.create_branch(name, &commit);
        if !start(&create)?.status.success() {
            // The last argument is what the branch must be now; git compares and sets.
            if let Some(old) = create.argv.last_mut() {
                *old = patch.base_commit.clone().into();
            }
            if !start(&create)?.status.success() {
                let what = format!(
                    "The branch {name} exists and does not point at the task's base; it was left alone."
                );
                return Err(Trouble::failed(what, "Choose another name.").into());
            }
        }
        Ok(commit)
    }

    /// Commits base + `patch` without a ref, in an index of its own.
    ///
    /// # Errors
    /// If the base is not here, or if the patch gives another tree than the one that was checked.
    pub fn commit(&self, patch: &Patch, contents: &[u8], message: &str) -> anyhow::Result<String> {
        let base = patch.base_commit.as_str();
        if !start(&self.own.has(base))?.status.success() {
            let what = format!("The task's base {base} is not a commit of {}.", self.own.directory.display());
            let mend = "Fetch it there. A task with --include-changes has a base of its own: use --apply.";
            return Err(Trouble::failed(what, mend).into());
        }
        let tree = self.tree(patch, &Spooled::new(contents)?)?;
        let mut make = self.own.commit_tree(&tree, base, message);
        for (variable, fallback) in IDENTITY {
            let value =
                std::env::var_os(variable).or_else(|| (!self.has_identity()).then(|| fallback.into()));
            make.env.extend(value.map(|value| (variable.into(), value)));
        }
        said(&make)
    }

    /// Makes the tree of base + `patch` in an index of its own, and proves that it is the one that was checked.
    fn tree(&self, patch: &Patch, file: &Spooled) -> anyhow::Result<String> {
        let index = file.path.with_file_name("index");
        said(&self.own.read_tree(&index, &patch.base_commit))?;
        let kept = "The patch does not fit its own base; nothing was changed.";
        said(&self.own.apply_to_index(&index, &file.path)).context(kept)?;
        let tree = said(&self.own.write_tree(&index))?;
        anyhow::ensure!(
            tree == patch.tree,
            "The patch gives the tree {tree} here, not the {} that was checked; nothing was changed.",
            patch.tree
        );
        Ok(tree)
    }

    /// Whether the user told git who they are.
    fn has_identity(&self) -> bool {
        let mut ask = self.own.list_filters();
        if let Some(pattern) = ask.argv.last_mut() {
            *pattern = r"^user\.(name|email)$".into();
        }
        start(&ask).is_ok_and(|output| output.stdout.split(|byte| *byte == 0).count() > 2)
    }

    /// Pushes a commit as a new branch.
    ///
    /// # Errors
    /// What git said, without what may be secret in the URL.
    pub fn push(&self, remote: &Url, commit: &str, branch: &str) -> anyhow::Result<()> {
        let output = start(&self.own.push(remote.secret().as_ref(), commit, branch))?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr).replace(remote.secret(), remote.public());
        let what =
            format!("The branch {branch} could not be pushed to {}: {}", remote.public(), reason.trim());
        Err(Trouble::failed(
            what,
            "Check your right to push there, or choose another name: legwork task apply --branch NAME",
        )
        .into())
    }

    /// Whether a work tree of the repository stands on the branch.
    fn checked_out(&self, branch: &str) -> bool {
        let dot_git = self.own.directory.join(".git");
        let git_dir = match std::fs::read(&dot_git) {
            Ok(contents) => legwork_git::local::git_file(&contents, &self.own.directory).unwrap_or(dot_git),
            Err(_) if dot_git.is_dir() => dot_git,
            Err(_) => return false,
        };
        let common = std::fs::read(git_dir.join("commondir"))
            .ok()
            .and_then(|contents| legwork_git::local::common_dir(&contents, &git_dir))
            .unwrap_or_else(|| git_dir.clone());
        let linked = std::fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten();
        let heads = linked.map(|entry| entry.path()).chain([git_dir, common]);
        let wanted = format!("ref: refs/heads/{branch}");
        heads
            .into_iter()
            .any(|dir| std::fs::read_to_string(dir.join("HEAD")).is_ok_and(|head| head.trim_end() == wanted))
    }
}

/// Who commits where git was never told.
const IDENTITY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "Legwork"),
    ("GIT_AUTHOR_EMAIL", "legwork@localhost"),
    ("GIT_COMMITTER_NAME", "Legwork"),
    ("GIT_COMMITTER_EMAIL", "legwork@localhost"),
];

/// A patch in a file of its own, for git; gone with this value.
struct Spooled {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Spooled {
    fn new(patch: &[u8]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("No temporary directory could be made.")?;
        let path = dir.path().join("patch");
        std::fs::write(&path, patch).context("The patch could not be written to a temporary file.")?;
        Ok(Self { _dir: dir, path })
    }
}

/// Runs a command of the `git` room.
///
/// # Errors
/// If it could not be started.
pub fn start(invocation: &Invocation) -> anyhow::Result<Output> {
    let (program, args) = invocation.argv.split_first().context("An empty command.")?;
    std::process::Command::new(program)
        .args(args)
        .env_clear()
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| {
            Trouble::failed(format!("git could not be started: {error}."), "Install it: apt install git")
                .into()
        })
}

/// Runs one that must succeed and gives its one line.
fn said(invocation: &Invocation) -> anyhow::Result<String> {
    let output = start(invocation)?;
    if !output.status.success() {
        anyhow::bail!("git said: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The files that hinder a patch, each with git's reason.
fn hindered(stderr: &str) -> Vec<String> {
    let mut lines: Vec<String> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .filter(|line| !line.starts_with("patch failed:"))
        .map(str::to_owned)
        .collect();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_out_of_the_name() {
        let located = locate(Some("https://me:hunter2@example.org/a.git?x=1")).unwrap();
        assert_eq!(located.name, "https://example.org/a.git?x=1");
        let (key, value) = located.login.unwrap();
        assert_eq!(key, "url.https://me:hunter2@example.org/a.git?x=1.insteadOf");
        assert_eq!(value.to_str(), Some(located.name.as_str()));
        for plain in ["ssh://git@example.org/a", "git@example.org:a", "https://example.org/a"] {
            assert_eq!(locate(Some(plain)).unwrap(), Located { name: plain.to_owned(), login: None });
        }
        let ssh = locate(Some("ssh://git:pw@example.org/a")).unwrap();
        assert_eq!(ssh.name, "ssh://git@example.org/a");
        assert!(ssh.login.is_some());
    }

    #[test]
    fn the_files_in_the_way_are_named() {
        let stderr = "error: patch failed: src/a:3\nerror: src/a: patch does not apply\nerror: b: already exists in working directory\n";
        assert_eq!(
            hindered(stderr),
            ["src/a: patch does not apply", "b: already exists in working directory"]
        );
    }
}
