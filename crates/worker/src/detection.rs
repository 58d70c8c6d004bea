//! What a checkout's own files say that it needs.
//!
//! The listing comes from the commit's tree and the files from the checkout, both through a clean sandbox: the host opens
//! no file of the repository, and no link in it leads anywhere.

use std::path::Path;

use legwork_environment::{Detected, FILE_BYTES_MAX, Listing, detect};
use legwork_git::checkout::{PATHS_BYTES_MAX, paths, paths_script};
use legwork_sandbox::{Error, WORKSPACE};

use crate::cache;
use crate::checkout::Checkout;
use crate::clean;
use crate::compartment::Compartment;
use crate::end::End;
use crate::worker::Worker;

/// Looks at the checkout; the same commit is looked at once.
///
/// # Errors
/// The turn's end, if a sandbox cannot be made. A tree that cannot be listed says nothing.
pub(crate) async fn of(
    worker: &Worker,
    checkout: &Checkout,
    compartment: &Compartment,
) -> Result<Detected, End> {
    let version = legwork_environment::VERSION.as_bytes();
    let name = cache::key(&[checkout.tree.as_bytes(), version, &compartment.generation()]);
    if let Some(known) = compartment.names(&name).find_map(|name| worker.detections.read(&name)) {
        return Ok(known);
    }
    let key = compartment.own(&name);
    let detected = look(worker, checkout).await.map_err(|error| End::sandbox(&error))?;
    let maker = worker.detections.lock(&key).await.map_err(End::internal)?;
    worker.detections.write(&key, &detected, &maker).map_err(End::internal)?;
    Ok(detected)
}

async fn look(worker: &Worker, checkout: &Checkout) -> Result<Detected, Error> {
    let backend = worker.config.backend.as_ref();
    let sandbox = clean::sandbox(backend, worker.name("detect"), checkout.layers(), Vec::new()).await?;
    let said = clean::run(sandbox.as_ref(), &paths_script(&checkout.tree), PATHS_BYTES_MAX).await?;
    let listing = Listing::new(paths(&said.stdout));
    let wanted: Vec<String> = listing.wanted().into_iter().map(str::to_owned).collect();
    let mut files = Vec::new();
    for path in wanted {
        match sandbox.read(&Path::new(WORKSPACE).join(&path), FILE_BYTES_MAX as u64).await {
            Ok(file) => files.push((path, file.contents.to_vec())),
            // Too large, or not what the tree says: it says nothing.
            Err(Error::Path { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    tokio::spawn(async move { sandbox.destroy().await });
    Ok(detect(&listing.with(files)))
}
