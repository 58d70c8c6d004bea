//! A backend of its own for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_sandbox::{
    Access, Backend, Command, Doors, Exit, IfLost, Image, Limits, Output, Sandbox, Spec, WORKSPACE,
};
use legwork_sandbox_docker::{Options, Settings};

use crate::engine::Engine;

pub(crate) fn options(state: &Path, socket: PathBuf) -> Options {
    Options {
        state: state.into(),
        guest: env!("CARGO_BIN_EXE_legwork-container-guest").into(),
        engine: Settings { socket, runtime: None },
    }
}

pub(crate) struct World {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) engine: Engine,
    state: tempfile::TempDir,
}

impl World {
    /// `None`: there are no containers here, which was said.
    pub(crate) fn new() -> Option<Self> {
        let engine = Engine::start()?;
        let state = tempfile::tempdir().unwrap();
        let backend = legwork_sandbox_docker::open(options(state.path(), engine.socket().into())).unwrap();
        Some(Self { backend: Arc::new(backend), engine, state })
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }
}

pub(crate) fn spec(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        image: Image::Host,
        layers: Vec::new(),
        binds: Vec::new(),
        workspace: Access::Write,
        env: Vec::new(),
        limits: Limits { memory_bytes: 1 << 30, processes: 128, disk_bytes: 1 << 30, ..Limits::default() },
        if_lost: IfLost::Removed,
        doors: Doors::Closed,
    }
}

pub(crate) fn sh(script: &str) -> Command {
    Command {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        workdir: WORKSPACE.to_owned(),
        output_bytes_max: 1 << 20,
        ..Command::default()
    }
}

/// Runs a command to its end: all that it said, and how it ended.
pub(crate) async fn run(sandbox: &Arc<dyn Sandbox>, script: &str) -> (String, Exit) {
    let mut process = sandbox.exec(sh(script)).await.unwrap();
    let mut said = Vec::new();
    while let Some(output) = process.next().await {
        match output {
            Output::Stdout(bytes) | Output::Stderr(bytes) => said.extend_from_slice(&bytes),
            Output::Omitted(_) => {}
            Output::Exited(exit) => return (String::from_utf8_lossy(&said).into_owned(), exit),
        }
    }
    panic!("output without an end");
}
