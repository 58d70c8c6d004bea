//! Clean-room verification: every declared check on the base and on base + patch, each run in a sandbox of its own.
//!
//! The sandboxes come from the checkout and its set-up; of the agent they see the patch and nothing else, so tests that
//! pass only where the agent worked fail here. A run that fails is repeated once, to tell a failure from chance. The two
//! sides run at the same time: a machine that can run one test suite can mostly run two.

use std::path::{Path, PathBuf};

use legwork_agent::{Timeline, now};
use legwork_domain::{Check, CheckRun, Environment, EventKind, Phase, Verdict};
use legwork_git::patch::{PATCH, apply};
use legwork_sandbox::{Layer, Sandbox, WORKSPACE};

use crate::checkout::Checkout;
use crate::clean;
use crate::command::{self, Line, Ran};
use crate::end::End;
use crate::layers::Stack;
use crate::patch::Saved;
use crate::root::Root;
use crate::start;
use crate::turn::Worker;

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

/// The patch on the host, where a sandbox can be shown it.
struct Applied<'a> {
    file: &'a Path,
    tree: &'a str,
}

/// What a run's sandbox gets of the patch.
enum Side<'a> {
    /// Nothing.
    Base,
    /// The patch, to be applied in it.
    Patch(&'a Applied<'a>),
    /// A layer with the patched files: a foreign root has no git of ours.
    Layer(Layer),
}

/// A file that is gone with this, also when the turn is cancelled.
struct LaidOut(PathBuf);

impl Drop for LaidOut {
    fn drop(&mut self) {
        // One that stays costs a little disk, never a turn.
        let _ = std::fs::remove_file(&self.0);
    }
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
        let file = self.lay_out(saved).map_err(End::internal)?;
        let applied = Applied { file: &file.0, tree: &saved.patch.tree };
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

    /// Writes the patch where a sandbox can be shown it. The name is this turn's alone: attempts at one task often come to
    /// the same patch, and the one that is done first takes its file away.
    fn lay_out(&self, saved: &Saved) -> std::io::Result<LaidOut> {
        let directory = self.worker.config.data.join("patches");
        std::fs::create_dir_all(&directory)?;
        let file = LaidOut(directory.join(self.worker.name("patch")));
        std::fs::write(&file.0, &saved.bytes)?;
        make_readable(&file.0)?;
        Ok(file)
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
    async fn side(&self, applied: Option<&Applied<'_>>) -> Result<Vec<Vec<CheckRun>>, End> {
        let side = match applied {
            None => Side::Base,
            Some(applied) if self.root.has_our_programs() => Side::Patch(applied),
            Some(applied) => Side::Layer(self.patched(applied).await?),
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
            Side::Patch(applied) => spec.binds.push(clean::bind(applied.file, PATCH)),
            Side::Layer(layer) => spec.layers.push(layer.clone()),
        }
        let failed = |error| End::sandbox(&error);
        let phase = if matches!(side, Side::Base) { Phase::CheckBase } else { Phase::CheckPatched };
        let sandbox = self.worker.open(self.timeline, spec, self.environment, phase).await?;
        if let Side::Patch(applied) = side {
            self.put_on(sandbox.as_ref(), applied).await?;
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

    /// Applies the patch on our own root, where nothing of the repository has run but the set-up's files lie.
    async fn patched(&self, applied: &Applied<'_>) -> Result<Layer, End> {
        let backend = self.worker.config.backend.as_ref();
        let failed = |error| End::sandbox(&error);
        let binds = vec![clean::bind(applied.file, PATCH)];
        let sandbox = clean::sandbox(backend, self.worker.name("patched"), self.stack.clean(), binds);
        let sandbox = sandbox.await.map_err(failed)?;
        self.put_on(sandbox.as_ref(), applied).await?;
        let layer = sandbox.snapshot().await.map_err(failed)?;
        // Should the turn be cancelled, it goes with what nobody uses.
        self.worker.shelf.used([layer.path.as_path()]);
        Ok(layer)
    }

    async fn put_on(&self, sandbox: &dyn Sandbox, applied: &Applied<'_>) -> Result<(), End> {
        /// The script says nothing but errors.
        const WORDS_MAX: u64 = 4096;
        let script = apply(&self.checkout.tree, applied.tree, WORKSPACE);
        let said = clean::run(sandbox, &script, WORDS_MAX).await.map_err(|error| End::sandbox(&error))?;
        if said.succeeded() {
            return Ok(());
        }
        Err(End::internal(format!("The patch does not apply to its own base: {}", said.last_words())))
    }
}

/// A sandbox reads it as an ordinary user; its directory is ours alone.
fn make_readable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
}
