//! A sandbox with its proxy. To whoever holds it, it is a sandbox; a command that wanted what it did not get says so at the
//! end of its output, where the agent and people look.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use legwork_egress::Watch;
use legwork_sandbox::{Command, Error, File, Layer, Outlet, Output, Process, Sandbox};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::receipts::Receipts;
use super::routes::Routes;
use super::tools::Laid;
use crate::decoy::Decoy;

/// Output that waits between the sandbox and whoever reads.
const OUTPUT_MAX: usize = 4;

/// As much of a command as a sentence can name.
const COMMAND_CHARS_MAX: usize = 80;

pub(super) struct Guarded {
    inner: Arc<dyn Sandbox>,
    decoy: Arc<Decoy>,
    receipts: Arc<Receipts>,
    routes: Arc<Routes>,
    _looks: AbortOnDropHandle<()>,
    held: Held,
}

/// What lives as long as the sandbox.
pub(super) struct Held {
    #[expect(dead_code, reason = "its files go when it is dropped")]
    pub(super) laid: Laid,
    pub(super) work: JoinHandle<()>,
}

impl Guarded {
    pub(super) fn new(
        inner: Arc<dyn Sandbox>,
        decoy: Arc<Decoy>,
        (receipts, looks): (Arc<Receipts>, AbortOnDropHandle<()>),
        held: Held,
    ) -> Self {
        let routes = Arc::new(Routes::of(&inner));
        Self { inner, decoy, receipts, routes, _looks: looks, held }
    }
}

impl Guarded {
    /// Tells of what was still open: every process in it is dead.
    async fn finish(&self) {
        self.held.work.abort();
        self.receipts.close().await;
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.held.work.abort();
    }
}

/// Listens for the decoy in what a command says, which goes to the log and the model.
struct Ears {
    stdout: Watch,
    stderr: Watch,
    place: String,
}

impl Ears {
    fn of(decoy: &Decoy, command: &Command) -> Self {
        // A script of ours is the shell's second argument, and what it runs its fourth.
        let argv = &command.argv;
        let line = argv.get(4).or_else(|| argv.get(2)).or_else(|| argv.first());
        let line: String = line.into_iter().flat_map(|line| line.chars()).take(COMMAND_CHARS_MAX).collect();
        let watch = || decoy.tripwire().watch();
        Self { stdout: watch(), stderr: watch(), place: format!("the log, in the output of `{line}`") }
    }

    fn hear(&mut self, said: &Output) {
        match said {
            Output::Stdout(bytes) => self.stdout.looks_at(bytes, &self.place),
            Output::Stderr(bytes) => self.stderr.looks_at(bytes, &self.place),
            Output::Omitted(_) | Output::Exited(_) => false,
        };
    }
}

/// Whether the last line of a command's output is a whole one.
#[derive(Clone, Copy)]
enum Line {
    Whole,
    Begun,
}

impl Line {
    fn note(&mut self, said: &Output) {
        if let Output::Stdout(bytes) | Output::Stderr(bytes) = said
            && let Some(last) = bytes.last()
        {
            *self = if *last == b'\n' { Self::Whole } else { Self::Begun };
        }
    }

    /// Words of ours, on lines of their own.
    fn words(self, words: &str) -> Output {
        Output::Stderr(match self {
            Self::Whole => words.to_owned().into(),
            Self::Begun => format!("\n{words}").into(),
        })
    }
}

#[async_trait]
impl Sandbox for Guarded {
    async fn exec(&self, command: Command) -> Result<Process, Error> {
        let mut ears = Ears::of(&self.decoy, &command);
        let starting = self.receipts.starting();
        let process = self.inner.exec(command).await?;
        let id = process.id();
        let listener = starting.started(id);
        let (mut process, control) = process.into_parts();
        let (output, outputs) = mpsc::channel(OUTPUT_MAX);
        let routes = Arc::clone(&self.routes);
        tokio::spawn(async move {
            let mut line = Line::Whole;
            loop {
                let said = tokio::select! {
                    biased;
                    said = process.recv() => said,
                    words = listener.words() => Some(line.words(&words)),
                };
                let Some(said) = said else { return };
                ears.hear(&said);
                line.note(&said);
                let words = match &said {
                    Output::Exited(_) => listener.last_words(routes.fresh().await).await,
                    Output::Stdout(_) | Output::Stderr(_) | Output::Omitted(_) => None,
                };
                if let Some(words) = words
                    && output.send(line.words(&words)).await.is_err()
                {
                    return;
                }
                if output.send(said).await.is_err() {
                    return;
                }
            }
        });
        Ok(Process::new(outputs, control).with_id(id))
    }

    async fn read(&self, path: &Path, bytes_max: u64) -> Result<File, Error> {
        self.inner.read(path, bytes_max).await
    }

    async fn write(&self, path: &Path, contents: &[u8], mode: Option<u32>) -> Result<(), Error> {
        self.inner.write(path, contents, mode).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        self.inner.remove(path).await
    }

    fn outlet(&self) -> Option<Outlet> {
        None
    }

    async fn snapshot(&self) -> Result<Layer, Error> {
        let frozen = self.inner.snapshot().await;
        self.finish().await;
        frozen
    }

    async fn destroy(&self) -> Result<(), Error> {
        let destroyed = self.inner.destroy().await;
        self.finish().await;
        destroyed
    }
}
