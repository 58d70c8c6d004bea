//! What the cases have in common: sandboxes of their own, and commands run to their end.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Outcome;
use crate::{
    Access, Backend, Command, Doors, Error, Exit, IfLost, Image, Layer, Limits, Output, Process, Sandbox,
    Spec, Stdin, WORKSPACE,
};

/// More than any case says.
pub(super) const PLENTY: u64 = 1 << 20;

/// A command that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) omitted: u64,
    pub(super) exit: Exit,
}

pub(super) fn spec(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        image: Image::Host,
        layers: Vec::new(),
        binds: Vec::new(),
        workspace: Access::Write,
        env: Vec::new(),
        limits: Limits { memory_bytes: 1 << 30, processes: 256, disk_bytes: 1 << 30, ..Limits::default() },
        if_lost: IfLost::Removed,
        doors: Doors::Closed,
    }
}

pub(super) fn on_layer(name: &str, layer: &Layer) -> Spec {
    Spec { layers: vec![layer.clone()], ..spec(name) }
}

/// `sh -c SCRIPT` in the workspace.
pub(super) fn sh(script: &str) -> Command {
    Command {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        workdir: WORKSPACE.to_owned(),
        output_bytes_max: PLENTY,
        ..Command::default()
    }
}

/// The same, with its input open.
pub(super) fn sh_open(script: &str) -> Command {
    Command { stdin: Stdin::Open, ..sh(script) }
}

/// Reads a process to its end.
pub(super) async fn end(process: &mut Process) -> Result<Ended, Error> {
    let (mut out, mut err, mut omitted) = (Vec::new(), Vec::new(), 0);
    while let Some(output) = process.next().await {
        match output {
            Output::Stdout(bytes) => out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => err.extend_from_slice(&bytes),
            Output::Omitted(count) => omitted += count,
            Output::Exited(exit) => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Ended { out: text(out), err: text(err), omitted, exit });
            }
        }
    }
    Err(Error::Protocol("output without an end".to_owned()))
}

pub(super) async fn run(sandbox: &Arc<dyn Sandbox>, script: &str) -> Result<Ended, Error> {
    end(&mut sandbox.exec(sh(script)).await?).await
}

/// The output of a command that must succeed.
pub(super) async fn say(
    sandbox: &Arc<dyn Sandbox>,
    script: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let ended = run(sandbox, script).await?;
    ensure(ended.exit == Exit::Code(0), || format!("{script}: {ended:?}"))?;
    Ok(ended.out.trim_end().to_owned())
}

/// Reads until the output so far ends with this text.
pub(super) async fn until(process: &mut Process, text: &str) -> Outcome {
    let mut seen = String::new();
    while !seen.trim_end().ends_with(text) {
        match process.next().await {
            Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => {
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            other => return Err(format!("{other:?} after {seen:?}, before {text:?}").into()),
        }
    }
    Ok(())
}

pub(super) async fn write(sandbox: &Arc<dyn Sandbox>, path: &str, contents: &str) -> Result<(), Error> {
    sandbox.write(Path::new(path), contents.as_bytes(), None).await
}

pub(super) async fn read(sandbox: &Arc<dyn Sandbox>, path: &str) -> Result<Bytes, Error> {
    Ok(sandbox.read(Path::new(path), PLENTY).await?.contents)
}

pub(super) async fn create(backend: &Arc<dyn Backend>, name: &str) -> Result<Arc<dyn Sandbox>, Error> {
    backend.create(spec(name)).await
}

/// Fails a case.
pub(super) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why().into()) }
}

/// Fails a case unless both are the same.
#[expect(clippy::needless_pass_by_value, reason = "cases compare what they have just made")]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}").into()) }
}
