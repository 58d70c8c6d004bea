//! From the agent's last layer to a saved patch.

use legwork_client::Client;
use legwork_domain::{Patch, SecretAt};
use legwork_git::patch::{
    COMPUTED, Changed, Files, PATCH_BYTES_MAX, compute, diff, is_packed, path_at, stat, tree, unpacked,
};
use legwork_sandbox::{Error, Exit, Sandbox, WORKSPACE};

use crate::backoff::patiently;
use crate::clean;
use crate::decoy::Decoy;
use crate::end::{End, stripped};
use crate::ground::Ground;
use crate::worker::Worker;

/// A patch that is stored, and its bytes for the checks.
pub(crate) struct Saved {
    pub(crate) patch: Patch,
    pub(crate) bytes: Vec<u8>,
    /// What could not be taken into it.
    pub(crate) left_out: Option<String>,
}

/// What a work tree that may differ turned out to be.
pub(crate) enum Change {
    /// None that a patch could hold; and what it could not hold.
    None(Option<String>),
    Patch(Box<Saved>),
}

/// Computes the patch in a clean sandbox and stores its bytes before anything is done with it. A stack that touches no file
/// costs nothing.
///
/// # Errors
/// The turn's end. The layers stay, so that nothing of the work is lost.
pub(crate) async fn save(
    worker: &Worker,
    client: &Client,
    ground: &Ground,
    decoy: &Decoy,
) -> Result<Change, End> {
    let Ground { checkout, stack, .. } = ground;
    if !stack.may_differ() {
        return Ok(Change::None(None));
    }
    let Diff { tree, patch, unpacked, left_out } = computed(worker, ground).await?;
    if tree == checkout.tree {
        return Ok(Change::None(left_out));
    }
    if decoy.is_in_patch(&patch) || decoy.is_in_patch(&unpacked) {
        return Err(End::decoy(decoy.tripwire().place().unwrap_or_default()));
    }
    let stored = patiently(|| client.put_blob(patch.clone().into())).await;
    let blob = stored.map_err(|error| not_stored(&error, &patch))?;
    let saved = Patch { blob, base_commit: checkout.commit.clone(), tree, stat: stat(&patch) };
    Ok(Change::Patch(Box::new(Saved { patch: saved, bytes: patch, left_out })))
}

/// Why there is no patch. One that holds a secret is not kept anywhere but in the files themselves.
fn not_stored(error: &legwork_client::Error, patch: &[u8]) -> End {
    match error.problem().and_then(|problem| problem.secret.as_ref()) {
        Some(SecretAt { name, offset }) => End::secret(name, path_at(patch, *offset).as_deref()),
        None => End::internal(format!("The patch could not be stored: {}", stripped(&error.to_string()))),
    }
}

struct Diff {
    tree: String,
    patch: Vec<u8>,
    /// With the contents of binary files as they are; empty if there is none.
    unpacked: Vec<u8>,
    left_out: Option<String>,
}

/// Time for a patch of all files. Only files that changed are read, so it is seconds in any honest work tree.
const ALL_MS: u64 = 60 * 1000;

/// Time for one without the huge ones. A turn that was cancelled waits for it too.
const NONE_HUGE_MS: u64 = 5 * 60 * 1000;

async fn computed(worker: &Worker, ground: &Ground) -> Result<Diff, End> {
    match attempt(worker, ground, Files::All).await? {
        Some(diff) => Ok(diff),
        None => attempt(worker, ground, Files::NoneHuge).await?.ok_or_else(|| {
            End::internal("The patch could not be computed: the changed files take too long to read")
        }),
    }
}

/// `None`: it took too long.
async fn attempt(worker: &Worker, ground: &Ground, files: Files) -> Result<Option<Diff>, End> {
    let Ground { checkout, stack, made, .. } = ground;
    /// A tree's name and a line end.
    const ANSWER_BYTES_MAX: u64 = 128;
    let failed = |error| End::sandbox(&error);
    let backend = worker.config.backend.as_ref();
    let sandbox =
        clean::sandbox(backend, worker.name("patch"), stack.clean(), Vec::new()).await.map_err(failed)?;
    let changed = Changed { base_tree: &checkout.tree, submodules: checkout.submodules, files, made };
    let script = compute(changed, WORKSPACE);
    let ms = if files == Files::All { ALL_MS } else { NONE_HUGE_MS };
    let said = clean::run_within(ms, sandbox.as_ref(), &script, ANSWER_BYTES_MAX).await.map_err(failed)?;
    match said.exit {
        Exit::Code(0) => {}
        Exit::TimedOut => return Ok(None),
        Exit::Code(30) => {
            let words = said.last_words();
            return Err(End::internal(format!("No diff of git's reproduces the work tree: {words}")));
        }
        Exit::Code(_) | Exit::Signal(_) | Exit::Lost => {
            return Err(End::internal(format!("The patch could not be computed: {}", said.last_words())));
        }
    }
    let tree = tree(&said.stdout).map_err(End::internal)?;
    let patch = if tree == checkout.tree { Vec::new() } else { read(sandbox.as_ref()).await? };
    let unpacked = if is_packed(&patch) {
        let script = unpacked(&checkout.tree, &tree);
        clean::run_within(ms, sandbox.as_ref(), &script, PATCH_BYTES_MAX).await.map_err(failed)?.stdout
    } else {
        Vec::new()
    };
    // Nobody waits for its removal.
    tokio::spawn(async move { sandbox.destroy().await });
    Ok(Some(Diff {
        tree,
        patch,
        unpacked,
        left_out: Some(said.last_words()).filter(|words| !words.is_empty()),
    }))
}

async fn read(sandbox: &dyn Sandbox) -> Result<Vec<u8>, End> {
    match sandbox.read(COMPUTED.as_ref(), PATCH_BYTES_MAX).await {
        Ok(file) => Ok(diff(&file.contents).to_vec()),
        Err(Error::Path { .. }) => Err(End::internal(format!(
            "The patch is larger than {} MiB; build output may be missing from .gitignore",
            PATCH_BYTES_MAX >> 20
        ))),
        Err(error) => Err(End::sandbox(&error)),
    }
}
