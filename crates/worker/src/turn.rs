//! One turn, from its lease to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use legwork_agent::{Job, Report, Stop, Timeline, now};
use legwork_domain::{
    Assignment, Ended, Environment, EventKind, Kind, Level, Limit, Message, Patch, Transition, Usage, Verdict,
};
use legwork_sandbox::{Access, Layer, Limits, Sandbox, Spec};
use tokio_util::task::AbortOnDropHandle;

use crate::cache::Cache;
use crate::checkout::{self, Checkout};
use crate::checks::Room;
use crate::end::End;
use crate::layers::{self, Stack};
use crate::patch::{self, Change, Saved};
use crate::recorder::{self, Line, Recorder, Signals, Why};
use crate::shelf::Shelf;
use crate::{Config, recipe, setup};

/// What all turns of a worker share.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) checkouts: Cache,
    pub(crate) setups: Cache,
    pub(crate) shelf: Shelf,
    named: AtomicU64,
}

impl Worker {
    pub(crate) fn new(config: Config) -> Self {
        let checkouts = Cache::new(config.data.join("checkouts"));
        let setups = Cache::new(config.data.join("setups"));
        let shelf = Shelf::new(config.data.clone());
        Self { config, checkouts, setups, shelf, named: AtomicU64::new(0) }
    }

    /// A name for a sandbox, used once in this process.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{:x}-{}", now().micros(), self.named.fetch_add(1, Ordering::Relaxed))
    }

    /// A sandbox for commands of the repository or the agent.
    pub(crate) fn spec(&self, what: &str, layers: Vec<Layer>, environment: &Environment) -> Spec {
        let resources = environment.resources;
        let mounts =
            environment.mounts.iter().map(|mount| crate::clean::bind(mount.host.as_ref(), &mount.inside));
        let variables = environment.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
        Spec {
            name: self.name(what),
            layers,
            binds: self.config.toolchains.binds.iter().cloned().chain(mounts).collect(),
            workspace: Access::Write,
            env: self.config.toolchains.env.iter().cloned().chain(variables).collect(),
            limits: Limits {
                memory_bytes: resources.memory_mib << 20,
                processes: resources.processes,
                cpu_millis: resources.cpu_millis,
                disk_bytes: resources.disk_mib << 20,
                open_files: resources.open_files,
                ..Limits::default()
            },
        }
    }
}

/// Runs a leased turn and reports its end. A panic ends the turn as a failure of ours; a lost lease ends it without a word.
pub(crate) async fn run(worker: Arc<Worker>, assignment: Assignment) {
    let Line { recorder, timeline, signals, messages } =
        recorder::start(worker.config.client.clone(), &assignment);
    let lost = signals.lost.clone();
    let recorder = Arc::new(recorder);
    let turn = Turn { worker, assignment, recorder: Arc::clone(&recorder), timeline, signals };
    // Dropping it, here or with the whole worker, drops its sandboxes, and with them every process of the turn.
    let work = AbortOnDropHandle::new(tokio::spawn(turn.run(messages)));
    let ended = tokio::select! {
        biased;
        () = lost.cancelled() => return,
        ended = work => ended,
    };
    let ended = ended.unwrap_or_else(|_| {
        let end = End::internal("The worker's own code failed in this turn");
        Ended::nothing(end.outcome, end.sentence, now())
    });
    recorder.finish(ended).await;
}

struct Turn {
    worker: Arc<Worker>,
    assignment: Assignment,
    recorder: Arc<Recorder>,
    timeline: Timeline,
    signals: Signals,
}

/// What the agent starts from.
struct Prepared {
    checkout: Checkout,
    environment: Environment,
    /// Checkout and set-up.
    clean: Stack,
    /// And what earlier turns of the attempt did.
    stack: Stack,
}

/// What a turn leaves, as far as it got.
#[derive(Default)]
struct Left {
    patch: Option<Patch>,
    verdicts: Vec<Verdict>,
    usage: Usage,
}

impl Turn {
    async fn run(self, messages: tokio::sync::mpsc::Receiver<Message>) -> Ended {
        let _clock = self.start_clock();
        let mut left = Left::default();
        let end = match self.steps(messages, &mut left).await {
            Ok(end) | Err(end) => end,
        };
        let Left { patch, verdicts, usage } = left;
        Ended { outcome: end.outcome, sentence: end.sentence, patch, verdicts, usage, at: now() }
    }

    /// Cancels the turn when its time is over, set-up and checks included.
    fn start_clock(&self) -> AbortOnDropHandle<()> {
        let wall = Duration::from_millis(self.assignment.task.request.limits.wall_ms);
        let signals = self.signals.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(wall).await;
            signals.cancel(Why::WallTime);
        }))
    }

    async fn steps(
        &self,
        messages: tokio::sync::mpsc::Receiver<Message>,
        left: &mut Left,
    ) -> Result<End, End> {
        self.recorder.advance(Transition::Prepare).await;
        let model = self.worker.config.catalog.open(&self.assignment.task.request.model);
        let model = self.unless_cancelled(async { model.await.map_err(|error| End::model(&error)) }).await?;
        let mut prepared = self.unless_cancelled(self.prepare()).await?;
        let sandbox = self.unless_cancelled(self.sandbox(&prepared)).await?;
        let job = self.job(model, Arc::clone(&sandbox), &prepared, messages).await?;
        self.recorder.advance(Transition::Run).await;
        let Report { stop, usage } = legwork_agent::run_turn(job).await;
        left.usage = usage;
        let saved = self.save(sandbox.as_ref(), &mut prepared, left).await;
        // What the agent ran into comes before what saving its work ran into.
        let Some(end) = self.ending(stop) else {
            let saved = saved?;
            return self.unless_cancelled(self.verify(&prepared, saved.as_deref(), left)).await;
        };
        saved.map(|_| end.clone()).map_err(|_| end)
    }

    /// Runs a part of the turn that has nothing to save if it is cancelled.
    async fn unless_cancelled<T>(&self, part: impl Future<Output = Result<T, End>>) -> Result<T, End> {
        tokio::select! {
            biased;
            () = self.signals.cancel.cancelled() => Err(self.cancelled()),
            done = part => done,
        }
    }

    fn cancelled(&self) -> End {
        match self.signals.why() {
            Why::User => End::cancelled(),
            Why::WallTime => {
                let seconds = self.assignment.task.request.limits.wall_ms / 1000;
                End::limit(Limit::WallTime, &format!("its {seconds} s of wall time are over"))
            }
        }
    }

    async fn prepare(&self) -> Result<Prepared, End> {
        let assignment = &self.assignment;
        let request = &assignment.task.request;
        let pinned = assignment.base_commit.as_deref();
        let ready = checkout::get(&self.worker, &request.source, pinned).await?;
        let checkout = ready.checkout;
        if pinned.is_none() {
            self.tell_base(&checkout, ready.name).await;
        }
        let environment =
            recipe::complete(&request.environment, checkout.recipe.as_deref()).map_err(|why| {
                End::failed(
                    legwork_domain::Failure::Setup,
                    format!(
                        "{why} The agent was not started; mend it or name checks and set-up with the task."
                    ),
                )
            })?;
        let clean = setup::layers(&self.worker, &self.timeline, &checkout, &environment).await?;
        let stack = if assignment.layers.is_empty() {
            clean.clone()
        } else {
            Stack::from_names(&assignment.layers).ok_or_else(|| {
                End::failed(legwork_domain::Failure::Sandbox, "The files that the attempt's last turn left are no longer on this machine. Its patches are kept; start a new task from one of them.")
            })?
        };
        self.worker.shelf.used(clean.paths().chain(stack.paths()));
        Ok(Prepared { checkout, environment, clean, stack })
    }

    /// Tells what later patches are against, and what of the repository is not in the checkout.
    async fn tell_base(&self, checkout: &Checkout, name: Option<String>) {
        let (commit, tree) = (checkout.commit.clone(), checkout.tree.clone());
        self.timeline.tell(EventKind::Base { turn: self.timeline.turn(), commit, tree, name }).await;
        let mut missing = Vec::new();
        if checkout.submodules > 0 {
            missing.push(format!("submodules that are empty directories: {}", checkout.submodules));
        }
        if checkout.lfs > 0 {
            missing
                .push(format!("files of Git LFS that are pointers without their content: {}", checkout.lfs));
        }
        if checkout.shallow {
            missing.push("the history is cut off, as in the repository itself".to_owned());
        }
        if !missing.is_empty() {
            let text = format!("The checkout is not complete: {}.", missing.join("; "));
            self.timeline.notice(Level::Warning, text).await;
        }
    }

    async fn sandbox(&self, prepared: &Prepared) -> Result<Arc<dyn Sandbox>, End> {
        let mut spec = self.worker.spec("turn", prepared.stack.all(), &prepared.environment);
        if self.assignment.task.request.kind == Kind::Ask {
            spec.workspace = Access::Read;
        }
        self.worker.config.backend.create(spec).await.map_err(|error| End::sandbox(&error))
    }

    async fn job(
        &self,
        model: Arc<dyn legwork_model::Model>,
        sandbox: Arc<dyn Sandbox>,
        prepared: &Prepared,
        messages: tokio::sync::mpsc::Receiver<Message>,
    ) -> Result<Job, End> {
        let Assignment { task, attempt, turn, history, layers, .. } = &self.assignment;
        let mut images = Vec::new();
        for blob in &turn.images {
            let bytes = self.worker.config.client.blob(blob).await;
            let bytes =
                bytes.map_err(|error| End::internal(format!("An image could not be read: {error}")))?;
            images.push(data_url(&bytes));
        }
        let (history, input) = resumed(turn.tries, layers.is_empty(), history, &turn.input);
        Ok(Job {
            model,
            sandbox,
            timeline: self.timeline.clone(),
            kind: task.request.kind,
            history,
            input,
            images,
            checks: prepared.environment.checks.clone(),
            limits: task.request.limits,
            cache_key: attempt.id.to_string(),
            messages,
            cancel: self.signals.cancel.clone(),
        })
    }

    /// Freezes what the agent did and saves it as a patch, also when the agent was stopped.
    async fn save(
        &self,
        sandbox: &dyn Sandbox,
        prepared: &mut Prepared,
        left: &mut Left,
    ) -> Result<Option<Box<Saved>>, End> {
        if self.assignment.task.request.kind == Kind::Ask {
            sandbox.destroy().await.map_err(|error| End::sandbox(&error))?;
            return Ok(None);
        }
        let frozen = sandbox.snapshot().await.map_err(|error| End::sandbox(&error))?;
        if layers::work_tree_is_gone(&frozen) {
            return Err(End::failed(
                legwork_domain::Failure::Sandbox,
                "A command removed or replaced the work tree itself (/workspace), so there is nothing to make a patch of. Run the task again.",
            ));
        }
        prepared.stack.push(&frozen).map_err(End::internal)?;
        self.worker.shelf.used(prepared.stack.paths());
        let turn = self.timeline.turn();
        self.timeline.tell(EventKind::Snapshot { turn, layers: prepared.stack.names() }).await;
        let client = &self.worker.config.client;
        match patch::save(&self.worker, client, &prepared.checkout, &prepared.stack).await? {
            Change::None(left_out) => {
                self.tell_left_out(left_out.as_deref()).await;
                Ok(None)
            }
            Change::Patch(saved) => {
                self.tell_left_out(saved.left_out.as_deref()).await;
                self.timeline.tell(EventKind::Patch { turn, patch: saved.patch.clone() }).await;
                left.patch = Some(saved.patch.clone());
                Ok(Some(saved))
            }
        }
    }

    async fn tell_left_out(&self, words: Option<&str>) {
        if let Some(words) = words {
            let text = format!("Not everything fits into a patch as it is: {words}");
            self.timeline.notice(Level::Warning, text).await;
        }
    }

    /// How the agent's stop ends the turn; `None`: in good order, so the checks decide.
    fn ending(&self, stop: Stop) -> Option<End> {
        match stop {
            Stop::EndTurn { .. } => None,
            Stop::Refusal { .. } => Some(End::refusal()),
            Stop::Cancelled => Some(self.cancelled()),
            Stop::Limit { limit, detail } => Some(End::limit(limit, &detail)),
            Stop::Model(error) => Some(End::model(&error)),
            Stop::Sandbox(error) => Some(End::sandbox(&error)),
        }
    }

    async fn verify(&self, prepared: &Prepared, saved: Option<&Saved>, left: &mut Left) -> Result<End, End> {
        let kind = self.assignment.task.request.kind;
        if kind == Kind::Code {
            let Prepared { checkout, environment, clean, .. } = prepared;
            let (worker, timeline) = (self.worker.as_ref(), &self.timeline);
            let room = Room { worker, timeline, environment, checkout, stack: clean };
            left.verdicts = room.judge(saved).await?;
        }
        Ok(End::done(kind, left.patch.as_ref().map(|patch| patch.stat), &left.verdicts))
    }
}

/// Context and input of a turn that may have been tried before. What a lost try did to the files is gone, and a model
/// that believes otherwise goes wrong: so the context of a first turn starts afresh, and a later turn's says it.
fn resumed(
    tries: u32,
    is_first: bool,
    history: &[serde_json::Value],
    input: &str,
) -> (Vec<serde_json::Value>, String) {
    if tries <= 1 {
        return (history.to_vec(), input.to_owned());
    }
    if is_first {
        return (Vec::new(), input.to_owned());
    }
    let note = "(The machine was lost in the middle of this turn. All files are as they were before it; start it again.)";
    (history.to_vec(), format!("{note}\n\n{input}"))
}

/// An image for the model, its type told by its first bytes (the PNG, GIF, WebP and JPEG specifications).
fn data_url(bytes: &[u8]) -> String {
    let kind = match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => "jpeg",
    };
    format!("data:image/{kind};base64,{}", BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_try_is_not_believed() {
        let history = vec![serde_json::json!({ "entry": "assistant", "text": "edited" })];
        assert_eq!(resumed(1, true, &history, "go").0.len(), 1);
        assert_eq!(resumed(2, true, &history, "go"), (Vec::new(), "go".to_owned()));
        let (kept, input) = resumed(2, false, &history, "go");
        assert!(kept.len() == 1 && input.contains("lost") && input.ends_with("go"));
    }

    #[test]
    fn images_are_known_by_their_first_bytes() {
        assert_eq!(data_url(b"\x89PNG"), "data:image/png;base64,iVBORw==");
        assert!(data_url(b"RIFF1234WEBPxx").starts_with("data:image/webp;"));
    }
}
