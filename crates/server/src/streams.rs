//! How many streams a person has open. Each costs a connection and a page of events, so one person's may not be without
//! bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_domain::UserId;

use crate::problem::Failure;

/// Streams that one person may have open at a time: a wall of screens, and a team behind one token, but no loop that
/// forgets to close.
pub(crate) const STREAMS_MAX: usize = 1024;

/// The open streams of each person.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place among them; free again when this is dropped.
pub(crate) struct Place {
    streams: Streams,
    user: UserId,
}

impl Streams {
    /// Takes a place, if there is one left.
    pub(crate) fn take(&self, user: UserId) -> Result<Place, Failure> {
        // Each change to the map is one call, so a panic elsewhere leaves it whole.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user).or_default();
        if *count >= STREAMS_MAX {
            return Err(Failure::too_many_streams(STREAMS_MAX));
        }
        *count += 1;
        drop(open);
        Ok(Place { streams: self.clone(), user })
    }

    /// How many there are of all people.
    pub(crate) fn open(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count = count.saturating_sub(1);
        }
        open.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_stream_has_gone() {
        let streams = Streams::default();
        let (one, two) = (UserId::from_u128(1), UserId::from_u128(2));
        let mut places: Vec<Place> = (0..STREAMS_MAX).map(|_| streams.take(one).unwrap()).collect();
        assert!(streams.take(one).is_err());
        assert!(streams.take(two).is_ok());
        places.pop();
        assert!(streams.take(one).is_ok());
        drop(places);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
