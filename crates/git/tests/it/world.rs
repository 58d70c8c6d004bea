//! A repository whose hooks, filters and monitors leave a trace if they run.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use legwork_git::Invocation;
use legwork_git::own::{Own, filters};

pub(crate) struct Trapped {
    pub(crate) directory: tempfile::TempDir,
}

impl Trapped {
    pub(crate) fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.path()).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world.write("a", "a\n");
        world.write("b", "b\n");
        world.write(".gitattributes", "* filter=evil diff=evil\n");
        world.git(&["add", "-A"]);
        world.git(&["commit", "-q", "-m", "one"]);
        world.set_traps();
        world
    }

    fn set_traps(&self) {
        let trap = format!("touch {}", self.trace().display());
        let hooks = self.path().join(".git/hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        for hook in [
            "post-index-change",
            "reference-transaction",
            "pre-commit",
            "applypatch-msg",
            "fsmonitor-watchman",
        ] {
            std::fs::write(hooks.join(hook), format!("#!/bin/sh\n{trap}\n")).unwrap();
            std::fs::set_permissions(hooks.join(hook), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for key in [
            "core.fsmonitor",
            "filter.evil.clean",
            "filter.evil.smudge",
            "filter.evil.process",
            "diff.evil.textconv",
            "diff.external",
            "core.pager",
            "core.editor",
            "gpg.program",
            "credential.helper",
        ] {
            self.git(&["config", key, &trap]);
        }
        self.git(&["config", "filter.evil.required", "true"]);
    }

    /// One more filter, of a name that git takes and that is hard to pass on. Written as git writes it.
    pub(crate) fn trap_filter(&self, name: &[u8]) {
        let trap = format!("touch {}; cat", self.trace().display());
        let keys = format!("\"]\n\tclean = \"{trap}\"\n\tsmudge = \"{trap}\"\n");
        let config = self.path().join(".git/config");
        let before = std::fs::read(&config).unwrap();
        std::fs::write(&config, [&before[..], b"[filter \"", name, keys.as_bytes()].concat()).unwrap();
        let attributes = [b"* filter=", name, b" diff=evil\n"].concat();
        std::fs::write(self.path().join(".gitattributes"), attributes).unwrap();
        std::fs::remove_file(self.trace()).ok();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn trace(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// Whether anything of the repository ran.
    pub(crate) fn sprang(&self) -> bool {
        self.trace().exists()
    }

    pub(crate) fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path().join(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn patch(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("patch");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A user's own git, traps and all.
    pub(crate) fn git(&self, args: &[&str]) -> Output {
        let identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"];
        Command::new("git").args(identity).args(args).current_dir(self.path()).output().unwrap()
    }

    /// The repository with its filters known.
    pub(crate) fn own(&self) -> Own {
        let operator: Vec<(OsString, OsString)> = [
            ("PATH", std::env::var_os("PATH").unwrap()),
            ("GIT_AUTHOR_NAME", "T".into()),
            ("GIT_AUTHOR_EMAIL", "t@example.org".into()),
            ("GIT_COMMITTER_NAME", "T".into()),
            ("GIT_COMMITTER_EMAIL", "t@example.org".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .to_vec();
        let own = Own { directory: self.path(), operator, filters: Vec::new() };
        let listed = run(&own.list_filters());
        Own { filters: filters(&listed.stdout), ..own }
    }
}

pub(crate) fn run(invocation: &Invocation) -> Output {
    let (program, args) = invocation.argv.split_first().unwrap();
    Command::new(program)
        .args(args)
        .env_clear()
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .current_dir(Path::new("/"))
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed.
pub(crate) fn said(invocation: &Invocation) -> String {
    let output = run(invocation);
    assert!(output.status.success(), "{:?}: {}", invocation.argv, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
