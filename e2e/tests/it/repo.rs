use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A real git repository on the branch `main`.
pub(crate) struct Repo {
    path: PathBuf,
}

impl Repo {
    /// An empty one.
    pub(crate) fn init(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let repo = Self { path };
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    /// A clone, made by plain git.
    pub(crate) fn clone_to(&self, path: PathBuf) -> Self {
        self.git(&["clone", "-q", ".", path.to_str().unwrap()]);
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file; parents are made.
    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        self.bytes(name.as_bytes(), text.as_bytes())
    }

    /// Writes a file whose name is any bytes.
    pub(crate) fn bytes(&self, name: &[u8], contents: &[u8]) -> &Self {
        let path = self.path.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self
    }

    /// Writes a script that can be run.
    pub(crate) fn program(&self, name: &str, text: &str) -> &Self {
        self.file(name, text);
        std::fs::set_permissions(self.path.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    /// Commits everything there is.
    pub(crate) fn commit(&self, message: &str) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap()
    }

    /// The object id of the tree of all files that are there, ignored ones left out.
    pub(crate) fn tree(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["write-tree"])
    }

    /// Applies a patch file.
    pub(crate) fn apply(&self, patch: &Path) -> &Self {
        self.git(&["apply", "--binary", patch.to_str().unwrap()]);
        self
    }

    /// Runs git with no configuration but the repository's own, and gives what it printed.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
            .args(arguments)
            .current_dir(&self.path)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("LC_ALL", "C.UTF-8")])
            .envs([("GIT_AUTHOR_NAME", "A. Uthor"), ("GIT_AUTHOR_EMAIL", "author@example.com")])
            .envs([("GIT_COMMITTER_NAME", "A. Uthor"), ("GIT_COMMITTER_EMAIL", "author@example.com")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// A small project in shell with a bug: `add.sh` takes away, and `test.sh` sees it.
pub(crate) fn with_a_bug(repo: Repo) -> Repo {
    repo.file("README.md", "# add\n\nAdds two numbers.\n")
        .program("add.sh", "#!/bin/sh\necho $(($1 - $2))\n")
        .program(
            "test.sh",
            "#!/bin/sh\nsum=$(sh add.sh 2 3)\n[ \"$sum\" = 5 ] || { echo \"2 + 3 = $sum\"; exit 1; }\n",
        )
        .commit("add: begin");
    repo
}

/// The patch that mends it, in the form that `apply_patch` takes.
pub(crate) const FIX: &str =
    "*** Begin Patch\n*** Update File: add.sh\n@@\n-echo $(($1 - $2))\n+echo $(($1 + $2))\n*** End Patch\n";
