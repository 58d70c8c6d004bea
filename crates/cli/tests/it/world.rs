//! A user with an empty home directory, a small repository and scripts for the model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(world.repo()).unwrap();
        world.write("greeting", "hello\n");
        world.write("test.sh", "grep -q goodbye greeting\n");
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world.git(&["add", "--all"]);
        world.git(&["commit", "--quiet", "--message=Greet"]);
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(crate) fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.repo().join(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.repo().join(name)).unwrap()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=U", "-c", "user.email=u@localhost"])
            .args(args)
            .current_dir(self.repo())
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The name of a model that plays `script`.
    pub(crate) fn model(&self, script: &str) -> String {
        let path = self.dir.path().join("model.toml");
        std::fs::write(&path, script).unwrap();
        format!("scripted/{}", path.display())
    }

    /// `legwork` with nothing of the environment of whoever runs the tests.
    pub(crate) fn legwork(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_legwork"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TMPDIR", self.dir.path())
            .current_dir(self.repo())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(self.legwork(args).output().unwrap())
    }

    /// `legwork run` with a model that plays `script`.
    pub(crate) fn task(&self, script: &str, args: &[&str]) -> Run {
        let model = self.model(script);
        self.run(&[&["run", "Say goodbye", "--model", &model], args].concat())
    }
}

/// What a command left.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// Edits the greeting, tests, and says so.
pub(crate) const GOODBYE: &str = r#"
[[turn]]
calls = [{ tool = "apply_patch", input = "*** Begin Patch\n*** Update File: greeting\n@@\n-hello\n+goodbye\n*** End Patch\n" }]

[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "sh test.sh" } }]

[[turn]]
text = "It says goodbye."
"#;
