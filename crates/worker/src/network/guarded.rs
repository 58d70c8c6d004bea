//! A sandbox with its proxy. To whoever holds it, it is a sandbox; a command that wanted what it did not get says so at the
//! end of its output, where the agent and people look.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use legwork_sandbox::{Command, Error, File, Layer, Outlet, Output, Process, Sandbox};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::receipts::Receipts;
use super::tools::Laid;

/// Output that waits between the sandbox and whoever reads.
const OUTPUT_MAX: usize = 4;

pub(super) struct Guarded {
    inner: Arc<dyn Sandbox>,
    receipts: Arc<Receipts>,
    _looks: AbortOnDropHandle<()>,
    work: JoinHandle<()>,
    _laid: Laid,
}

impl Guarded {
    pub(super) fn new(
        inner: Arc<dyn Sandbox>,
        (receipts, looks): (Arc<Receipts>, AbortOnDropHandle<()>),
        laid: Laid,
        work: JoinHandle<()>,
    ) -> Self {
        Self { inner, receipts, _looks: looks, work, _laid: laid }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.work.abort();
    }
}

#[async_trait]
impl Sandbox for Guarded {
    async fn exec(&self, command: Command) -> Result<Process, Error> {
        let (mut process, control) = self.inner.exec(command).await?.into_parts();
        let (output, outputs) = mpsc::channel(OUTPUT_MAX);
        let receipts = Arc::clone(&self.receipts);
        tokio::spawn(async move {
            while let Some(said) = process.recv().await {
                let words = match &said {
                    Output::Exited(_) => receipts.words().await,
                    Output::Stdout(bytes) | Output::Stderr(bytes) => {
                        receipts.hear(bytes);
                        None
                    }
                    Output::Omitted(_) => None,
                };
                if let Some(words) = words
                    && output.send(Output::Stderr(words.into())).await.is_err()
                {
                    return;
                }
                if output.send(said).await.is_err() {
                    return;
                }
            }
        });
        Ok(Process::new(outputs, control))
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
        self.receipts.look().await;
        frozen
    }

    async fn destroy(&self) -> Result<(), Error> {
        let destroyed = self.inner.destroy().await;
        self.receipts.look().await;
        destroyed
    }
}
