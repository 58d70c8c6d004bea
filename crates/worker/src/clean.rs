//! Runs our own git scripts in clean sandboxes: no variable, toolchain or limit of a task, no layer of an agent.

use std::path::Path;
use std::sync::Arc;

use legwork_git::Script;
use legwork_sandbox::{
    Access, Backend, Bind, Command, Doors, Error, Exit, IfLost, Image, Layer, Limits, Output, Sandbox, Spec,
    Stdin,
};

/// Time for one script: a clone of the largest repositories takes some minutes.
const SCRIPT_MS: u64 = 30 * 60 * 1000;

/// Standard error that is kept: what a person reads.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// What a script said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
    /// Whether all of its output is here.
    pub(crate) whole: bool,
}

impl Said {
    pub(crate) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0) && self.whole
    }

    /// Its last words, for a sentence.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.stderr, 4)
    }
}

/// The last lines of a text that say something, on one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}

/// A clean sandbox from `layers` with `binds` shown.
pub(crate) async fn sandbox(
    backend: &dyn Backend,
    name: String,
    layers: Vec<Layer>,
    binds: Vec<Bind>,
) -> Result<Arc<dyn Sandbox>, Error> {
    let spec = Spec {
        name,
        image: Image::Host,
        layers,
        binds,
        workspace: Access::Write,
        env: Vec::new(),
        limits: Limits { disk_bytes: 64 << 30, wall_ms: SCRIPT_MS * 2, ..Limits::default() },
        if_lost: IfLost::Removed,
        doors: Doors::Closed,
    };
    backend.create(spec).await
}

/// Runs a script of which at most `stdout_max` bytes of output are wanted.
pub(crate) async fn run(sandbox: &dyn Sandbox, script: &Script, stdout_max: u64) -> Result<Said, Error> {
    run_within(SCRIPT_MS, sandbox, script, stdout_max).await
}

/// The same, for at most `ms`.
pub(crate) async fn run_within(
    ms: u64,
    sandbox: &dyn Sandbox,
    script: &Script,
    stdout_max: u64,
) -> Result<Said, Error> {
    let command = Command {
        argv: vec!["/bin/sh".into(), "-c".into(), script.text.into()],
        workdir: "/".into(),
        env: script.env.clone(),
        terminal: None,
        stdin: Stdin::Empty,
        timeout_ms: Some(ms),
        // The two streams share the bound.
        output_bytes_max: stdout_max.saturating_add(STDERR_BYTES_MAX as u64),
    };
    let mut process = sandbox.exec(command).await?;
    let mut said = Said { stdout: Vec::new(), stderr: String::new(), exit: Exit::Lost, whole: true };
    while let Some(output) = process.next().await {
        match output {
            Output::Stdout(bytes) => said.stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) if said.stderr.len() < STDERR_BYTES_MAX => {
                said.stderr.push_str(&String::from_utf8_lossy(&bytes));
            }
            Output::Stderr(_) => {}
            Output::Omitted(_) => said.whole = false,
            Output::Exited(exit) => said.exit = exit,
        }
    }
    Ok(said)
}

/// Shows a host path inside.
pub(crate) fn bind(host: &Path, inside: &str) -> Bind {
    Bind { host: host.to_path_buf(), inside: inside.into() }
}
