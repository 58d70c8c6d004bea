//! The values of secrets and the decoys of the turns that run, by turn: whoever makes a sandbox of a turn finds them here, and they are
//! gone when the turn is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// All turns'. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Arc<Mutex<HashMap<TurnId, Handed>>>);

/// A turn's place, until this is dropped.
pub(crate) struct Kept {
    keyring: Keyring,
    turn: TurnId,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(assignment.turn.id, handed);
        Kept { keyring: self.clone(), turn: assignment.turn.id }
    }

    /// `None`: the turn is over.
    pub(crate) fn of(&self, turn: TurnId) -> Option<Handed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&turn).cloned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keyring.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.turn);
    }
}
