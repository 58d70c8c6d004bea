//! `apply_patch`, as free text with a grammar or as a function with one string.

use async_trait::async_trait;
use legwork_domain::{Change, ChangeKind};
use legwork_model::{CallInput, ToolInput};
use legwork_sandbox::WORKSPACE;
use serde::Deserialize;
use serde_json::json;

use super::files::{absolute, change, relative, written};
use super::{Call, Order, Outcome, Tool, spec};
use crate::apply_patch::{Applied, Effect, Error, GRAMMAR, Hunk, parse};

const NAME: &str = "apply_patch";
const DESCRIPTION: &str = "Edits files of the checkout by a patch: *** Begin Patch, then for each file *** Add File: PATH, *** Delete File: PATH or *** Update File: PATH (with an optional *** Move to: PATH), then *** End Patch. Lines of an added file start with +. Chunks of an update start with @@ or @@ CONTEXT, and their lines with a blank (context), - (old) or + (new).";

/// Applies a patch.
pub(super) enum ApplyPatch {
    /// For models that write it as free text.
    Freeform,
    /// For all others.
    Function,
}

#[derive(Deserialize)]
struct Arguments {
    input: String,
}

#[async_trait]
impl Tool for ApplyPatch {
    fn spec(&self) -> legwork_model::Tool {
        match self {
            Self::Freeform => legwork_model::Tool {
                name: NAME.to_owned(),
                description: DESCRIPTION.to_owned(),
                input: ToolInput::Grammar(GRAMMAR.to_owned()),
            },
            Self::Function => spec(
                NAME,
                DESCRIPTION,
                json!({
                    "type": "object",
                    "properties": {"input": {"type": "string", "description": "The whole patch."}},
                    "required": ["input"],
                    "additionalProperties": false
                }),
            ),
        }
    }

    fn order(&self) -> Order {
        Order::Alone
    }

    async fn call(&self, call: Call) -> Outcome {
        let patch = match &call.input {
            CallInput::Text(patch) => patch.clone(),
            CallInput::Json(_) => match call.arguments::<Arguments>() {
                Ok(arguments) => arguments.input,
                Err(outcome) => {
                    call.record(&outcome).await;
                    return outcome;
                }
            },
        };
        let mut work =
            Work { call: &call, applied: Applied::default(), changes: Vec::new(), writes: Vec::new() };
        let mut outcome = match work.apply(&patch).await {
            Ok(()) => Outcome::done(work.applied.to_string()),
            Err(Failure::Patch(error)) => Outcome::failed(work.told(&error.to_string())),
            Err(Failure::Sandbox(error)) => Outcome::refused(error),
            Err(Failure::Cancelled) => Outcome::failed(work.told("Cancelled before all of it was applied.")),
        };
        outcome.trace.call = patch;
        outcome.trace.writes = work.writes;
        call.record_changes(work.changes, &outcome).await;
        outcome
    }
}

enum Failure {
    Patch(Error),
    Sandbox(legwork_sandbox::Error),
    Cancelled,
}

/// A patch under way.
struct Work<'a> {
    call: &'a Call,
    applied: Applied,
    changes: Vec<Change>,
    writes: Vec<(String, Option<u64>)>,
}

impl Work<'_> {
    async fn apply(&mut self, patch: &str) -> Result<(), Failure> {
        let hunks = parse(patch).map_err(Failure::Patch)?;
        // Every path is checked before anything is written: what leads outside is no accident of one hunk.
        for path in hunks.iter().flat_map(Hunk::paths) {
            inside(path)?;
        }
        for hunk in &hunks {
            if self.call.cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            self.hunk(hunk).await?;
        }
        Ok(())
    }

    async fn hunk(&mut self, hunk: &Hunk) -> Result<(), Failure> {
        let before = match hunk.source() {
            Some(path) => {
                Some(self.call.read(&inside(path)?).await.map_err(|error| failure("read", path, error))?)
            }
            None => None,
        };
        let mut kind = Some(self.kind(hunk).await?);
        let effects = hunk.effects(before.as_ref().map(|file| &*file.contents)).map_err(Failure::Patch)?;
        for effect in effects {
            self.perform(&effect, before.as_ref().map(|file| file.mode)).await?;
            // With its first effect the change has happened, whatever becomes of a second.
            self.changes.extend(kind.take());
        }
        self.applied.note(hunk);
        Ok(())
    }

    /// What the change is to a reader: adding over a file that exists is an update.
    async fn kind(&self, hunk: &Hunk) -> Result<Change, Failure> {
        Ok(match hunk {
            Hunk::Add { path, .. } => {
                let path = inside(path)?;
                let exists = self.call.read(&path).await.is_ok();
                change(&path, if exists { ChangeKind::Update } else { ChangeKind::Add })
            }
            Hunk::Delete { path } => change(&inside(path)?, ChangeKind::Delete),
            Hunk::Update { path, move_to: None, .. } => change(&inside(path)?, ChangeKind::Update),
            Hunk::Update { path, move_to: Some(to), .. } => {
                Change { moved_from: Some(inside(path)?), ..change(&inside(to)?, ChangeKind::Update) }
            }
        })
    }

    async fn perform(&mut self, effect: &Effect, mode: Option<u32>) -> Result<(), Failure> {
        match effect {
            Effect::Write { path, contents, mode_of } => {
                let target = inside(path)?;
                let mode = mode_of.as_ref().and(mode);
                self.call
                    .write(&target, contents, mode)
                    .await
                    .map_err(|error| failure("write", path, error))?;
                self.writes.push(written(&target, contents));
            }
            Effect::Remove { path } => {
                let target = inside(path)?;
                let removed = self.call.scene.sandbox.remove(&absolute(&target)).await;
                removed.map_err(|error| failure("delete", path, error))?;
                self.writes.push((target, None));
            }
        }
        Ok(())
    }

    /// The failure, and what was applied before it.
    fn told(&self, why: &str) -> String {
        if self.changes.is_empty() {
            return why.to_owned();
        }
        let paths = self.changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>().join(", ");
        format!("{why}\n\nThese files were changed before that and stay so: {paths}")
    }
}

fn inside(path: &str) -> Result<String, Failure> {
    relative(path)
        .ok_or_else(|| Failure::Patch(Error::Outside { path: path.to_owned(), root: WORKSPACE.to_owned() }))
}

fn failure(action: &'static str, path: &str, error: legwork_sandbox::Error) -> Failure {
    if let legwork_sandbox::Error::Path { why, .. } = error {
        return Failure::Patch(Error::File { action, path: path.to_owned(), why });
    }
    Failure::Sandbox(error)
}
