//! An attempt's work on a machine that does not have its files: its last patch, put onto a fresh checkout.
//!
//! The patch is laid onto checkout and set-up in a clean sandbox, as for the checks, and what that changes is a layer like any
//! that an agent left. So everything after it is as ever: later patches are against the same base and hold the earlier
//! work too. What a patch does not hold is gone, and the log and the model are told so.

use legwork_agent::Files;
use legwork_domain::{Level, Patch, Saved};
use legwork_git::patch::{PATCH, apply};
use legwork_sandbox::{Layer, Sandbox, WORKSPACE};

use crate::backoff::patiently;
use crate::checkout::Checkout;
use crate::clean;
use crate::end::End;
use crate::layers::Stack;
use crate::turn::Turn;
use crate::worker::Worker;

/// A patch on the host, where a sandbox can be shown it; gone with this, also when the turn is cancelled.
pub(crate) struct LaidOut<'a> {
    pub(crate) file: std::path::PathBuf,
    /// What base and patch must give.
    pub(crate) tree: &'a str,
}

impl Drop for LaidOut<'_> {
    fn drop(&mut self) {
        // One that stays costs a little disk, never a turn.
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Worker {
    /// Writes a patch where a sandbox can be shown it. The name is this call's alone: attempts at one task often come to
    /// the same patch, and the one that is done first takes its file away.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn lay_out<'a>(&self, patch: &'a Patch, bytes: &[u8]) -> std::io::Result<LaidOut<'a>> {
        let directory = self.config.data.join("patches");
        std::fs::create_dir_all(&directory)?;
        let laid = LaidOut { file: directory.join(self.name("patch")), tree: &patch.tree };
        std::fs::write(&laid.file, bytes)?;
        make_readable(&laid.file)?;
        Ok(laid)
    }

    /// Puts a patch onto checkout and set-up on our own root, where nothing of the repository has run but the set-up's files
    /// lie, and freezes what that changed.
    ///
    /// # Errors
    /// The turn's end.
    pub(crate) async fn patched(
        &self,
        checkout: &Checkout,
        stack: &Stack,
        laid: &LaidOut<'_>,
    ) -> Result<Layer, End> {
        let backend = self.config.backend.as_ref();
        let failed = |error| End::sandbox(&error);
        let binds = vec![clean::bind(&laid.file, PATCH)];
        let sandbox = clean::sandbox(backend, self.name("patched"), stack.clean(), binds);
        let sandbox = sandbox.await.map_err(failed)?;
        put_on(sandbox.as_ref(), checkout, laid).await?;
        let layer = sandbox.snapshot().await.map_err(failed)?;
        // Should the turn be cancelled, it goes with what nobody uses.
        self.shelf.used([layer.path.as_path()]);
        Ok(layer)
    }
}

/// Applies the patch in a sandbox that shows it.
///
/// # Errors
/// The turn's end, if it does not give its tree.
pub(crate) async fn put_on(
    sandbox: &dyn Sandbox,
    checkout: &Checkout,
    laid: &LaidOut<'_>,
) -> Result<(), End> {
    /// The script says nothing but errors.
    const WORDS_MAX: u64 = 4096;
    let script = apply(&checkout.tree, laid.tree, WORKSPACE);
    let said = clean::run(sandbox, &script, WORDS_MAX).await.map_err(|error| End::sandbox(&error))?;
    if said.succeeded() {
        return Ok(());
    }
    Err(End::internal(format!("The patch does not apply to its own base: {}", said.last_words())))
}

/// A sandbox reads it as an ordinary user; its directory is ours alone.
fn make_readable(file: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
}

impl Turn {
    /// The files as the server has them, on top of checkout and set-up.
    ///
    /// # Errors
    /// The turn's end, if the patch cannot be had or does not give its tree.
    pub(crate) async fn carry(
        &self,
        (checkout, clean): (&Checkout, &Stack),
        saved: &Saved,
    ) -> Result<(Stack, Files), End> {
        let seen = usize::try_from(self.assignment.saved_at).unwrap_or(usize::MAX);
        let mut stack = clean.clone();
        let Some(patch) = &saved.patch else {
            let text = "The files of the attempt's earlier work are not on this machine. None differed from the base when they were last looked at, so it goes on from a fresh checkout; what else was there (ignored files, commits, what was installed beside the set-up) is gone.";
            self.timeline.notice(Level::Warning, text).await;
            return Ok((stack, Files::Carried(seen)));
        };
        if patch.base_commit != checkout.commit {
            let sentence = format!(
                "The attempt's patch is against commit {}, and the checkout is {}. Its patches are kept; start a new task from one of them.",
                patch.base_commit, checkout.commit
            );
            return Err(End::internal(sentence));
        }
        let bytes = patiently(|| self.worker.config.client.blob(&patch.blob)).await;
        let bytes = bytes
            .map_err(|error| End::internal(format!("The attempt's patch could not be read: {error}")))?;
        let laid = self.worker.lay_out(patch, &bytes).map_err(End::internal)?;
        let layer = self.worker.patched(checkout, clean, &laid).await?;
        self.put_on(&mut stack, &layer)?;
        let files =
            if patch.stat.files == 1 { "1 file".to_owned() } else { format!("{} files", patch.stat.files) };
        let text = format!(
            "The files of the attempt's earlier work are not on this machine. It goes on from its last patch ({files}, +{} -{}) on a fresh checkout with its set-up; what a patch does not hold (ignored files, commits, what was installed beside the set-up) is gone.",
            patch.stat.added, patch.stat.removed
        );
        self.timeline.notice(Level::Warning, text).await;
        Ok((stack, Files::Carried(seen)))
    }
}
