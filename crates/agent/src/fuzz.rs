//! What a hostile model may call, for fuzzing.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use legwork_domain::{Kind, TurnId};
use legwork_model::{CallInput, EditTool, Info, Part};
use legwork_sandbox::{Command, Error, File, Layer, Outlet, Process, Sandbox};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Timeline;
use crate::tools::{Approval, Call, Processes, Scene, Toolbox};

/// A sandbox in which every file holds the same and nothing else can be done.
struct Still(Vec<u8>);

#[async_trait]
impl Sandbox for Still {
    async fn exec(&self, _: Command) -> Result<Process, Error> {
        Err(Error::Gone)
    }

    async fn read(&self, _: &Path, bytes_max: u64) -> Result<File, Error> {
        let most = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(self.0.len());
        Ok(File { contents: self.0[..most].to_vec().into(), mode: 0o644 })
    }

    async fn write(&self, _: &Path, _: &[u8], _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    async fn remove(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }

    fn outlet(&self) -> Option<Outlet> {
        None
    }

    async fn snapshot(&self) -> Result<Layer, Error> {
        Err(Error::Gone)
    }

    async fn destroy(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Hands `input` to every tool there is; each says something to the model, whatever comes.
pub async fn call(input: &str, files: &[u8]) {
    let (log, mut told) = mpsc::channel(64);
    let heard = tokio::spawn(async move { while told.recv().await.is_some() {} });
    let scene = Arc::new(Scene {
        sandbox: Arc::new(Still(files.to_vec())),
        timeline: Timeline::new(TurnId::from_u128(1), 1, log),
        processes: Processes::new(),
        approve: vec!["rm *".to_owned()],
    });
    for edit_tool in [EditTool::Freeform, EditTool::ApplyPatch, EditTool::EditFile] {
        let info = Info { edit_tool, images: true, ..Info::unknown("fuzz/fuzz") };
        let toolbox = Toolbox::new(&info, Kind::Code);
        for spec in toolbox.specs() {
            let input = match spec.input {
                legwork_model::ToolInput::Grammar(_) => CallInput::Text(input.to_owned()),
                legwork_model::ToolInput::Json(_) => CallInput::Json(input.to_owned()),
            };
            let call = Call {
                name: spec.name.clone(),
                input,
                scene: Arc::clone(&scene),
                cancel: CancellationToken::new(),
                approval: Approval::Open,
            };
            let outcome = toolbox.find(&spec.name).call(call).await;
            let says = outcome.parts.iter().any(|part| !matches!(part, Part::Text(text) if text.is_empty()));
            assert!(says, "{} says nothing", spec.name);
        }
    }
    drop(scene);
    // The log ends with its last teller.
    let _ = heard.await;
}
