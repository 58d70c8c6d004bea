//! Which files a set-up made that git does not ignore.
//!
//! A set-up that somebody wrote is part of the work, and what it leaves belongs into the patch. One that was only detected is
//! not: nobody asked for a `Cargo.lock` or an `.egg-info`, so its files are left out of the patch. What they are called comes from
//! a clean sandbox's git and is used for nothing else.

use legwork_git::patch::{MADE_BYTES_MAX, made, made_script};
use legwork_sandbox::WORKSPACE;

use crate::cache;
use crate::clean;
use crate::compartment::Compartment;
use crate::end::End;
use crate::layers::Stack;
use crate::worker::Worker;

/// Their paths, or those of the directories that hold nothing else; looked for once a set-up.
///
/// # Errors
/// The turn's end, if a sandbox cannot be made.
pub(crate) async fn by_setup(
    worker: &Worker,
    stack: &Stack,
    compartment: &Compartment,
) -> Result<Vec<String>, End> {
    if !stack.may_differ() {
        return Ok(Vec::new());
    }
    let name = cache::key(&[b"made", stack.names().join("\n").as_bytes()]);
    if let Some(known) = compartment.names(&name).find_map(|name| worker.detections.read(&name)) {
        return Ok(known);
    }
    let key = compartment.own(&name);
    let failed = |error| End::sandbox(&error);
    let backend = worker.config.backend.as_ref();
    let sandbox =
        clean::sandbox(backend, worker.name("made"), stack.clean(), Vec::new()).await.map_err(failed)?;
    let said = clean::run(sandbox.as_ref(), &made_script(WORKSPACE), MADE_BYTES_MAX).await.map_err(failed)?;
    tokio::spawn(async move { sandbox.destroy().await });
    let paths = made(&said.stdout);
    let maker = worker.detections.lock(&key).await.map_err(End::internal)?;
    worker.detections.write(&key, &paths, &maker).map_err(End::internal)?;
    Ok(paths)
}
