//! The values of secrets and the decoys of the turns that run, by turn: whoever makes a sandbox of a turn finds them here, and they are
//! gone when the turn is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_domain::{Assignment, HandedSecret, TurnId};

use crate::compartment::Compartment;
use crate::decoy::Decoy;

/// What a turn was handed.
#[derive(Clone)]
pub(crate) struct Handed {
    pub(crate) secrets: Vec<HandedSecret>,
    pub(crate) decoy: Arc<Decoy>,
    /// Whose they are: the stored recipe's, else the task's.
    pub(crate) owner: String,
    pub(crate) compartment: Compartment,
    /// Whether the attempt begins with it. Later turns stay on what the first one began on, however old that is.
    pub(crate) begins: bool,
}

/// All turns'.
pub(crate) type Keyring = Places<Handed>;

/// What belongs to turns. A worker whose lease has lapsed may get the turn again while it still ends what it did under the old one:
/// each has a place of its own, and the newest holds. Clones share it.
pub(crate) struct Places<T>(Arc<Mutex<HashMap<TurnId, Vec<Arc<T>>>>>);

/// A turn's place, until this is dropped.
pub(crate) struct Kept<T = Handed> {
    places: Places<T>,
    turn: TurnId,
    it: Arc<T>,
}

impl Keyring {
    pub(crate) fn keep(&self, assignment: &Assignment, decoy: Arc<Decoy>) -> Kept {
        let task = &assignment.task;
        let owner = task.request.environment_id.map_or_else(|| task.id.to_string(), |id| id.to_string());
        let handed = Handed {
            secrets: assignment.secrets.clone(),
            decoy,
            owner,
            compartment: Compartment::of(assignment),
            begins: assignment.pins.commit.is_none(),
        };
        self.put(assignment.turn.id, handed)
    }

    /// `None`: the turn is over.
    pub(crate) fn of(&self, turn: TurnId) -> Option<Handed> {
        self.newest(turn).map(Arc::unwrap_or_clone)
    }
}

impl<T> Places<T> {
    fn put(&self, turn: TurnId, it: T) -> Kept<T> {
        let it = Arc::new(it);
        self.lock().entry(turn).or_default().push(Arc::clone(&it));
        Kept { places: self.clone(), turn, it }
    }

    fn newest(&self, turn: TurnId) -> Option<Arc<T>> {
        self.lock().get(&turn)?.last().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, Vec<Arc<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Places<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        let Some(of_turn) = places.get_mut(&self.turn) else { return };
        of_turn.retain(|one| !Arc::ptr_eq(one, &self.it));
        if of_turn.is_empty() {
            places.remove(&self.turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_came_back_outlives_what_was_left_of_it() {
        let (places, turn) = (Places::default(), TurnId::from_u128(1));
        let old = places.put(turn, "old");
        let new = places.put(turn, "new");
        assert_eq!(places.newest(turn).as_deref(), Some(&"new"));
        drop(old);
        assert_eq!(places.newest(turn).as_deref(), Some(&"new"));
        drop(new);
        assert_eq!(places.newest(turn), None);
        assert!(places.lock().is_empty(), "nothing stays");
    }
}
