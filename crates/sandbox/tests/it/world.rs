//! A backend of its own for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_sandbox::local::{self, Options};
use legwork_sandbox::{
    Access, Backend, Command, Doors, Exit, IfLost, Image, Limits, Output, Sandbox, Spec, WORKSPACE,
};

/// Where the guest is, for a run as another user to whom the build directory may be closed.
pub(crate) const GUEST_VARIABLE: &str = "LEGWORK_TEST_GUEST";

pub(crate) fn guest() -> PathBuf {
    std::env::var_os(GUEST_VARIABLE).map_or_else(|| env!("CARGO_BIN_EXE_legwork-guest").into(), PathBuf::from)
}

pub(crate) struct World {
    pub(crate) backend: Arc<dyn Backend>,
    state: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let backend = local::open(Options { state: state.path().into(), guest: guest() }).unwrap();
        Self { backend: Arc::new(backend), state }
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) async fn sandbox(&self) -> Arc<dyn Sandbox> {
        self.backend.create(spec("test")).await.unwrap()
    }

    /// Nothing of any sandbox is left: its name at once, its files soon.
    pub(crate) fn assert_clean(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let entries = std::fs::read_dir(self.state.path().join("live")).unwrap().flatten();
            let left: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            if left.is_empty() {
                return;
            }
            let is_trash = left.iter().all(|name| name.starts_with("discarded-"));
            assert!(is_trash && Instant::now() < until, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
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

pub(crate) fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|&part| part.to_owned()).collect(),
        workdir: WORKSPACE.to_owned(),
        output_bytes_max: 1 << 20,
        ..Command::default()
    }
}

/// Runs a command to its end: all that it said, and how it ended.
pub(crate) async fn run(sandbox: &Arc<dyn Sandbox>, argv: &[&str]) -> (String, Exit) {
    let mut process = sandbox.exec(command(argv)).await.unwrap();
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

pub(crate) async fn sh(sandbox: &Arc<dyn Sandbox>, script: &str) -> (String, Exit) {
    run(sandbox, &["sh", "-c", script]).await
}
