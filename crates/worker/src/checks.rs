//! Clean-room verification: every declared check on the base and on base + patch, each run in a sandbox of its own.
//!
//! The sandboxes come from the checkout and its set-up; of the agent they see the patch and nothing else, so tests that
//! pass only where the agent worked fail here. A run that fails is repeated once, to tell a failure from chance. The two
//! sides run at the same time: a machine that can run one test suite can mostly run two.

use legwork_agent::{Timeline, now};
use legwork_domain::{Check, CheckRun, Environment, EventKind, Phase, Verdict};
use legwork_git::patch::PATCH;
use legwork_sandbox::Layer;

use crate::carried::{self, LaidOut};
use crate::checkout::Checkout;
use crate::clean;
use crate::command::{self, Line, Ran};
use crate::end::End;
use crate::layers::Stack;
use crate::patch::Saved;
use crate::root::Root;
use crate::start;
use crate::worker::Worker;

/// What checks are run on.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) timeline: &'a Timeline,
    pub(crate) environment: &'a Environment,
    pub(crate) root: &'a Root,
    pub(crate) checkout: &'a Checkout,
    /// Checkout and set-up, without the agent.
    pub(crate) stack: &'a Stack,
}

/// What a run's sandbox gets of the patch.
enum Side<'a> {
    /// Nothing.
    Base,
    /// The patch, to be applied in it.
    Patch(&'a LaidOut<'a>),
    /// A layer with the patched files: a foreign root has no git of ours.
    Layer(Layer),
}

impl Room<'_> {
    /// Judges all declared checks, in their order. A tree that was not changed is base and patched at once: its runs count
    /// for both sides, and a check that fails on it is *still failing*.
    ///
    /// # Errors
    /// The turn's end, if a sandbox cannot be made or the patch does not give its tree.
    pub(crate) async fn judge(&self, saved: Option<&Saved>) -> Result<Vec<Verdict>, End> {
        let nobody_asked = self.environment.checks.iter().all(|check| !check.origin.is_declared());
        if self.environment.checks.is_empty() || (nobody_asked && saved.is_none()) {
            return Ok(Vec::new());
        }
        let Some(saved) = saved else {
            let base = self.side(None).await?;
            return Ok(self.tell(base.clone(), base).await);
        };
        let applied = self.worker.lay_out(&saved.patch, &saved.bytes).map_err(End::internal)?;
        let (base, patched) = tokio::join!(self.side(None), self.side(Some(&applied)));
        Ok(self.tell(base?, patched?).await)
    }

    /// Runs each check once on the base: both sides of its verdict are that run.
    ///
    /// # Errors
    /// The turn's end, if a sandbox cannot be made.
    pub(crate) async fn try_once(&self) -> Result<Vec<Verdict>, End> {
        let mut runs = Vec::new();
        for check in &self.environment.checks {
            runs.push(vec![self.run(check, &Side::Base).await?]);
        }
        Ok(self.tell(runs.clone(), runs).await)
    }

    async fn tell(&self, base: Vec<Vec<CheckRun>>, patched: Vec<Vec<CheckRun>>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for ((check, base), patched) in self.environment.checks.iter().zip(base).zip(patched) {
            let verdict = Verdict::new(check.clone(), base, patched);
            self.timeline
                .tell(EventKind::Verdict { turn: self.timeline.turn(), verdict: verdict.clone() })
                .await;
            verdicts.push(verdict);
        }
        verdicts
    }

    /// All checks on one side, one after the other.
    async fn side(&self, applied: Option<&LaidOut<'_>>) -> Result<Vec<Vec<CheckRun>>, End> {
        let side = match applied {
            None => Side::Base,
            Some(applied) if self.root.has_our_programs() => Side::Patch(applied),
            Some(applied) => Side::Layer(self.worker.patched(self.checkout, self.stack, applied).await?),
        };
        let runs = self.runs(&side).await;
        if let Side::Layer(layer) = side
            && let Err(error) = self.worker.config.backend.discard(layer).await
        {
            tracing::warn!(%error, "a layer of patched files could not be removed");
        }
        runs
    }

    async fn runs(&self, side: &Side<'_>) -> Result<Vec<Vec<CheckRun>>, End> {
        let mut runs = Vec::new();
        for check in &self.environment.checks {
            let first = self.run(check, side).await?;
            let again = if first.passed() { None } else { Some(self.run(check, side).await?) };
            runs.push([first].into_iter().chain(again).collect());
        }
        Ok(runs)
    }

    async fn run(&self, check: &Check, side: &Side<'_>) -> Result<CheckRun, End> {
        let mut spec = self.worker.spec("check", self.stack.all(), self.environment, self.root);
        match side {
            Side::Base => {}
            Side::Patch(applied) => spec.binds.push(clean::bind(&applied.file, PATCH)),
            Side::Layer(layer) => spec.layers.push(layer.clone()),
        }
        let failed = |error| End::sandbox(&error);
        let phase = if matches!(side, Side::Base) { Phase::CheckBase } else { Phase::CheckPatched };
        let sandbox = self.worker.open(self.timeline, spec, self.environment, phase).await?;
        if let Side::Patch(applied) = side {
            carried::put_on(sandbox.as_ref(), self.checkout, applied).await?;
        }
        let timeout_ms = self.environment.resources.command_ms;
        let at = now();
        start::run(self.timeline, sandbox.as_ref(), self.environment).await.map_err(failed)?;
        let workdir = start::workdir(self.environment);
        let line = Line { command: &check.command, phase, timeout_ms, workdir: &workdir };
        let Ran { item, exit } = command::run(self.timeline, sandbox.as_ref(), line).await.map_err(failed)?;
        tokio::spawn(async move { sandbox.destroy().await });
        Ok(CheckRun { item: item.id, exit_code: exit.code(), at })
    }
}
