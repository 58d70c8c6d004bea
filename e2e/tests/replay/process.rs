//! Commands on the host, bounded in time by coreutils' `timeout`, so that a hanging registry ends a test with a reason.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// What a command did.
pub(crate) struct Ran {
    /// `None`: ended by a signal. 124: out of time.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn passed(&self) -> bool {
        self.code == Some(0)
    }

    /// The end of both outputs, for a message.
    pub(crate) fn tail(&self) -> String {
        const LINES: usize = 60;
        let all = format!("{}{}", self.stdout, self.stderr);
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// `program`, not yet started, in `dir`, killed after `seconds`. Git reads no configuration but the repository's own.
pub(crate) fn bounded(seconds: u32, dir: &Path, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &seconds.to_string(), program]).current_dir(dir).stdin(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Result<Ran> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
