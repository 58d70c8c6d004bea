//! Repositories beside the checkout.
//!
//! Each comes by the same way as the checkout itself, into layers of its own: what is laid beside one task's checkout is there for
//! the next task's. Nobody's commands have run over these layers, and our own git never looks at them: they are files for programs.

use legwork_domain::{ExtraRepository, LaidRepository, LocalChanges, Source};

use super::{Beside, Checkout, Place, find, get_at};
use crate::cache;
use crate::compartment::Compartment;
use crate::end::End;
use crate::worker::Worker;

impl Checkout {
    /// Lays these beside it; `pinned` is what the attempt stands on already.
    ///
    /// # Errors
    /// The turn's end, as a failed checkout.
    pub(crate) async fn lay(
        &mut self,
        worker: &Worker,
        extras: &[ExtraRepository],
        pinned: &[LaidRepository],
        compartment: &Compartment,
    ) -> Result<(), End> {
        for extra in extras {
            let is_it = |laid: &&LaidRepository| laid.path == extra.path && laid.url == extra.url;
            let pinned = pinned.iter().find(is_it).map(|laid| laid.commit.as_str());
            let source = Source {
                repository: extra.url.clone(),
                base: extra.reference.clone(),
                local_changes: LocalChanges::Leave,
            };
            let mut found = find(worker, &source, pinned).await?;
            // Its layers hold its place.
            found.key = cache::key(&[found.key.as_bytes(), b"beside", extra.path.as_bytes()]);
            found.place = Place::Beside(extra.path.clone());
            let checkout = get_at(worker, found, pinned, compartment).await?.checkout;
            let commit = checkout.commit.clone();
            let repository = LaidRepository { url: extra.url.clone(), commit, path: extra.path.clone() };
            self.beside.push(Beside { repository, checkout });
        }
        Ok(())
    }

    /// What is laid beside it.
    pub(crate) fn repositories(&self) -> Vec<LaidRepository> {
        self.beside.iter().map(|one| one.repository.clone()).collect()
    }

    /// Names all of it exactly.
    pub(crate) fn laid(&self) -> String {
        let one = |laid: LaidRepository| format!("{}\0{}\0{}\0", laid.path, laid.commit, laid.url);
        self.repositories().into_iter().map(one).collect()
    }
}
