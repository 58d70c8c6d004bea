//! The values of secrets of the turns that run, by turn: whoever makes a sandbox of a turn finds them here, and they are
//! gone when the turn is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_domain::{Assignment, HandedSecret, TurnId};

/// What a turn was handed.
#[derive(Clone, Default)]
pub(crate) struct Handed {
    pub(crate) secrets: Vec<HandedSecret>,
    /// Whose they are: the stored recipe's, else the task's.
    pub(crate) owner: String,
}

/// All turns'. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Arc<Mutex<HashMap<TurnId, Handed>>>);

/// A turn's place, until this is dropped.
pub(crate) struct Kept {
    keyring: Keyring,
    turn: TurnId,
}

impl Keyring {
    pub(crate) fn keep(&self, assignment: &Assignment) -> Kept {
        let task = &assignment.task;
        let owner = task.request.environment_id.map_or_else(|| task.id.to_string(), |id| id.to_string());
        let handed = Handed { secrets: assignment.secrets.clone(), owner };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(assignment.turn.id, handed);
        Kept { keyring: self.clone(), turn: assignment.turn.id }
    }

    pub(crate) fn of(&self, turn: TurnId) -> Handed {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&turn).cloned().unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keyring.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.turn);
    }
}
