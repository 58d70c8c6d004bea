//! One turn, from its lease to its end.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use legwork_agent::{Job, Past, Report, Stop, Timeline, Watch, now};
use legwork_domain::{
    Assignment, Ended, EventKind, Kind, Level, Limit, Message, Patch, Saved as Kept, Transition, Usage,
    Verdict, Waiting,
};
use legwork_sandbox::Sandbox;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::backoff::patiently;
use crate::checks::Room;
use crate::decoy::Decoy;
use crate::end::End;
use crate::ground::Ground;
use crate::patch::{self, Change, Saved};
use crate::purse::Purse;
use crate::recorder::{self, Line, Recorder, Signals, Why};
use crate::worker::Worker;

/// How long a turn may still run to its own end when its worker is to stop. With what comes after (the agent's calls end
/// within a second, freezing takes milliseconds, the last batch one call) it stays well below 30 s.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// How long the patch of a turn that is given back may take: as long as one of a hundred thousand changed files, and less than
/// the rest of the time. Without it an earlier patch stands.
const DRAIN_PATCH: Duration = Duration::from_secs(10);

/// Runs a leased turn and reports its end, or gives it back. A panic ends the turn as a failure of ours; a lost lease ends
/// it without a word, and its files stay for whoever has the next one.
pub(crate) async fn run(worker: Arc<Worker>, assignment: Assignment) {
    let Line { recorder, timeline, signals, messages } =
        recorder::start(worker.config.client.clone(), &assignment);
    let _drain = drain_later(worker.draining.clone(), signals.clone());
    let lost = signals.lost.clone();
    let (recorder, machine) = (Arc::new(recorder), Arc::default());
    let turn = Turn {
        worker,
        assignment,
        recorder: Arc::clone(&recorder),
        timeline,
        signals,
        machine: Arc::clone(&machine),
        started: Instant::now(),
    };
    // Dropping it, here or with the whole worker, drops its sandboxes, and with them every process of the turn.
    let work = AbortOnDropHandle::new(tokio::spawn(turn.run(messages).in_current_span()));
    let last = tokio::select! {
        biased;
        () = lost.cancelled() => return leave(&machine).await,
        last = work => last,
    };
    match last {
        Ok(Last::Ended(ended)) => recorder.finish(ended).await,
        Ok(Last::Leaves(transition)) => recorder.leave(transition).await,
        Err(_) => {
            let end = End::internal("The worker's own code failed in this turn");
            recorder.finish(Ended::nothing(end.outcome, end.sentence, now())).await;
        }
    }
}

/// Stops a turn that has not ended some time after its worker was told to stop.
fn drain_later(draining: CancellationToken, signals: Signals) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        draining.cancelled().await;
        tokio::time::sleep(DRAIN_GRACE).await;
        signals.cancel(Why::Drain);
    }))
}

/// Ends a sandbox whose turn is somebody else's by now, and leaves its files where they are found by its name.
async fn leave(machine: &OnceLock<Arc<dyn Sandbox>>) {
    let Some(machine) = machine.get() else { return };
    if let Err(error) = machine.snapshot().await {
        tracing::warn!(%error, "the files of a turn that was lost could not be kept");
    }
}

/// A turn under a lease.
pub(crate) struct Turn {
    pub(crate) worker: Arc<Worker>,
    pub(crate) assignment: Assignment,
    recorder: Arc<Recorder>,
    pub(crate) timeline: Timeline,
    signals: Signals,
    /// The agent's sandbox, once there is one.
    pub(crate) machine: Arc<OnceLock<Arc<dyn Sandbox>>>,
    started: Instant,
}

/// What a worker says last of a turn.
enum Last {
    /// It is over.
    Ended(Ended),
    /// Another lease may go on from here.
    Leaves(Transition),
}

/// Why a worker lets go of a turn that has not ended.
enum Leaving {
    /// A person is to say something.
    Waits(Waiting),
    /// The worker is to stop.
    Drained,
}

/// How a turn's way under this lease ends.
enum Way {
    Ends(End),
    Leaves(Transition),
}

impl From<End> for Way {
    fn from(end: End) -> Self {
        Self::Ends(end)
    }
}

/// What a turn leaves, as far as it got.
pub(crate) struct Left {
    decoy: Arc<Decoy>,
    patch: Option<Patch>,
    pub(crate) verdicts: Vec<Verdict>,
    usage: Usage,
}

impl Turn {
    async fn run(mut self, messages: tokio::sync::mpsc::Receiver<Message>) -> Last {
        let decoy = match Decoy::of(&self.worker.config.data, &self.assignment) {
            Ok(decoy) => decoy,
            Err(sentence) => {
                let end = End::internal(sentence);
                return Last::Ended(Ended::nothing(end.outcome, end.sentence, now()));
            }
        };
        self.timeline = self.timeline.watched_by(Arc::clone(&decoy) as Arc<dyn Watch>);
        let _secrets = self.worker.keyring.keep(&self.assignment, Arc::clone(&decoy));
        let _alarm = self.stop_at(Arc::clone(&decoy));
        self.tell_missing_secrets().await;
        let _clock = self.start_clock();
        let spent = self.assignment.turn.usage;
        let mut left = Left { decoy, patch: None, verdicts: Vec::new(), usage: spent };
        let way = match self.steps(messages, &mut left).await {
            Ok(way) | Err(way) => way,
        };
        self.last(way, left).await
    }

    /// Stops the turn once its decoy is touched.
    fn stop_at(&self, decoy: Arc<Decoy>) -> AbortOnDropHandle<()> {
        let signals = self.signals.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            decoy.tripwire().touched().await;
            signals.cancel(Why::Decoy);
        }))
    }

    async fn last(&self, way: Way, left: Left) -> Last {
        let spent = self.assignment.turn.usage;
        let way = match left.decoy.tripwire().place() {
            // Whatever else it came to: also what it said last counts.
            Some(place) => {
                let end = End::decoy(place);
                tracing::error!(turn = %self.timeline.turn(), place, "a decoy secret was touched; the turn was stopped");
                self.timeline.notice(Level::Error, format!("Alarm: {}", end.sentence)).await;
                Way::Ends(end)
            }
            None => way,
        };
        let Left { patch, verdicts, mut usage, .. } = left;
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        usage.worked_ms = spent.worked_ms.saturating_add(here);
        match way {
            Way::Ends(End { outcome, sentence }) => {
                Last::Ended(Ended { outcome, sentence, patch, verdicts, usage, at: now() })
            }
            Way::Leaves(transition) => {
                self.timeline.tell(EventKind::Usage { turn: self.timeline.turn(), usage }).await;
                Last::Leaves(transition)
            }
        }
    }

    /// A secret that was not handed over is one whose value is not on record, or that the server cannot open.
    async fn tell_missing_secrets(&self) {
        let uses = &self.assignment.task.request.environment.secrets;
        let is_missing = |name: &&str| self.assignment.secrets.iter().all(|handed| handed.name != **name);
        let missing: Vec<&str> = uses.iter().map(|one| one.name.as_str()).filter(is_missing).collect();
        if !missing.is_empty() {
            let text = format!(
                "The server gave no value for these secrets, so what needs them will fail: {}.",
                missing.join(", ")
            );
            self.timeline.notice(Level::Warning, text).await;
        }
    }

    /// Cancels the turn when its time over all leases is over, set-up and checks included.
    fn start_clock(&self) -> AbortOnDropHandle<()> {
        let all = self.assignment.task.request.limits.wall_ms;
        let wall = Duration::from_millis(all.saturating_sub(self.assignment.turn.usage.worked_ms));
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
    ) -> Result<Way, Way> {
        self.recorder.advance(Transition::Prepare).await;
        if self.assignment.task.request.kind == Kind::Prepare {
            return self.unless_cancelled(self.try_out(left)).await.map(Way::Ends);
        }
        let model = self.worker.config.catalog.open(&self.assignment.task.request.model);
        let model = self.unless_cancelled(async { model.await.map_err(|error| End::model(&error)) }).await?;
        let mut ground = self.unless_cancelled(self.prepare()).await?;
        let sandbox = self.unless_cancelled(self.sandbox(&ground)).await?;
        let job = self.job(model, Arc::clone(&sandbox), &ground, messages).await?;
        self.recorder.advance(Transition::Run).await;
        let Report { stop, usage } = legwork_agent::run_turn(job).await;
        left.usage = usage;
        if let Some(leaving) = self.leaving(&stop) {
            return self.leave_with(leaving, sandbox.as_ref(), &mut ground, left).await;
        }
        let saved = self.save(sandbox.as_ref(), &mut ground, left).await;
        // What the agent ran into comes before what saving its work ran into.
        let Some(end) = self.ending(stop) else {
            let saved = saved?;
            return self.unless_cancelled(self.verify(&ground, saved.as_deref(), left)).await.map(Way::Ends);
        };
        Ok(Way::Ends(end))
    }

    /// Why the turn is let go of though it has not ended.
    fn leaving(&self, stop: &Stop) -> Option<Leaving> {
        match stop {
            Stop::Parked { on } => Some(Leaving::Waits(*on)),
            Stop::Cancelled if self.signals.why() == Why::Drain => Some(Leaving::Drained),
            Stop::Cancelled
            | Stop::EndTurn { .. }
            | Stop::Refusal { .. }
            | Stop::Limit { .. }
            | Stop::Model(_)
            | Stop::Sandbox(_) => None,
        }
    }

    /// Freezes the files, so that whoever goes on here finds them, and saves a patch for a person to look at and for who goes
    /// on elsewhere.
    async fn leave_with(
        &self,
        leaving: Leaving,
        sandbox: &dyn Sandbox,
        ground: &mut Ground,
        left: &mut Left,
    ) -> Result<Way, Way> {
        self.freeze(sandbox, ground).await?;
        if self.assignment.task.request.kind == Kind::Code {
            let saves = self.save_patch(ground, left);
            let saved = match leaving {
                Leaving::Waits(_) => Some(saves.await),
                Leaving::Drained => tokio::time::timeout(DRAIN_PATCH, saves).await.ok(),
            };
            if let Some(Err(end)) = saved {
                // The files are frozen; the patch is made again at the end.
                self.timeline.notice(Level::Warning, end.sentence).await;
            }
        }
        Ok(Way::Leaves(match leaving {
            Leaving::Drained => Transition::Release,
            Leaving::Waits(on) => Transition::Park { on, patch: left.patch.clone() },
        }))
    }

    /// Runs a part of the turn that has nothing to save if it is cancelled.
    async fn unless_cancelled<T>(&self, part: impl Future<Output = Result<T, End>>) -> Result<T, Way> {
        tokio::select! {
            biased;
            () = self.signals.cancel.cancelled() => Err(self.cancelled()),
            done = part => done.map_err(Way::Ends),
        }
    }

    fn cancelled(&self) -> Way {
        match self.signals.why() {
            // Where a decoy was touched is told at the very end.
            Why::User | Why::Decoy => Way::Ends(End::cancelled()),
            Why::WallTime => Way::Ends(self.out_of_time()),
            Why::Drain => Way::Leaves(Transition::Release),
        }
    }

    fn out_of_time(&self) -> End {
        let seconds = self.assignment.task.request.limits.wall_ms / 1000;
        End::limit(Limit::WallTime, &format!("its {seconds} s of wall time are over"))
    }

    async fn job(
        &self,
        model: Arc<dyn legwork_model::Model>,
        sandbox: Arc<dyn Sandbox>,
        ground: &Ground,
        messages: tokio::sync::mpsc::Receiver<Message>,
    ) -> Result<Job, End> {
        let Assignment { task, attempt, turn, history, .. } = &self.assignment;
        let mut images = Vec::new();
        for blob in &turn.images {
            let bytes = patiently(|| self.worker.config.client.blob(blob)).await;
            let bytes =
                bytes.map_err(|error| End::internal(format!("An image could not be read: {error}")))?;
            images.push(data_url(&bytes));
        }
        let client = self.worker.config.client.clone();
        let purse = Purse::new(client, &self.assignment, self.signals.budgeted.clone());
        Ok(Job {
            model,
            sandbox,
            timeline: self.timeline.clone(),
            kind: task.request.kind,
            past: Past { history: history.clone(), files: ground.files, spent: turn.usage },
            input: turn.input.clone(),
            images,
            brief: ground.brief(),
            approve: ground.environment.approve.clone(),
            purse: Some(Arc::new(purse)),
            limits: task.request.limits,
            started: self.started,
            cache_key: attempt.id.to_string(),
            messages,
            cancel: self.signals.cancel.clone(),
        })
    }

    /// Freezes what the agent did and tells the log.
    async fn freeze(&self, sandbox: &dyn Sandbox, ground: &mut Ground) -> Result<(), End> {
        let frozen = sandbox.snapshot().await.map_err(|error| End::sandbox(&error))?;
        self.put_on(&mut ground.stack, &frozen)?;
        let (turn, layers) = (self.timeline.turn(), ground.stack.names());
        self.timeline.tell(EventKind::Snapshot { turn, layers, live: None, saved: None }).await;
        Ok(())
    }

    /// Freezes what the agent did and saves it as a patch, also when the agent was stopped.
    async fn save(
        &self,
        sandbox: &dyn Sandbox,
        ground: &mut Ground,
        left: &mut Left,
    ) -> Result<Option<Box<Saved>>, End> {
        if self.assignment.task.request.kind == Kind::Ask {
            sandbox.destroy().await.map_err(|error| End::sandbox(&error))?;
            return Ok(None);
        }
        self.freeze(sandbox, ground).await?;
        self.save_patch(ground, left).await
    }

    async fn save_patch(&self, ground: &Ground, left: &mut Left) -> Result<Option<Box<Saved>>, End> {
        let turn = self.timeline.turn();
        let client = &self.worker.config.client;
        match patch::save(&self.worker, client, ground, &left.decoy).await? {
            Change::None(left_out) => {
                self.tell_left_out(left_out.as_deref()).await;
                // Else whoever goes on elsewhere would take an earlier patch for these files.
                let saved = Some(Kept { patch: None });
                let layers = ground.stack.names();
                self.timeline.tell(EventKind::Snapshot { turn, layers, live: None, saved }).await;
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
            Stop::EndTurn { .. } | Stop::Parked { .. } => None,
            Stop::Refusal { .. } => Some(End::refusal()),
            Stop::Cancelled => Some(match self.signals.why() {
                Why::WallTime => self.out_of_time(),
                Why::User | Why::Drain | Why::Decoy => End::cancelled(),
            }),
            Stop::Limit { limit, detail } => Some(End::limit(limit, &detail)),
            Stop::Model(error) => Some(End::model(&error)),
            Stop::Sandbox(error) => Some(End::sandbox(&error)),
        }
    }

    async fn verify(&self, ground: &Ground, saved: Option<&Saved>, left: &mut Left) -> Result<End, End> {
        let kind = self.assignment.task.request.kind;
        if kind == Kind::Code {
            let Ground { checkout, environment, root, clean, .. } = ground;
            let (worker, timeline) = (self.worker.as_ref(), &self.timeline);
            let room = Room { worker, timeline, environment, root, checkout, stack: clean };
            left.verdicts = room.judge(saved).await?;
        }
        Ok(End::done(kind, left.patch.as_ref().map(|patch| patch.stat), &left.verdicts))
    }
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
    fn images_are_known_by_their_first_bytes() {
        assert_eq!(data_url(b"\x89PNG"), "data:image/png;base64,iVBORw==");
        assert!(data_url(b"RIFF1234WEBPxx").starts_with("data:image/webp;"));
    }
}
