//! Uploads that are under way.
//!
//! What a user may upload is asked before the bytes are there, and noted once they are. So what is on its way counts as
//! if it were there: who sends many at once gets no more room than who sends one after the other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use legwork_domain::UserId;
use legwork_store::upload_weight;

/// What each user's uploads will take.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<UserId, u64>>);

/// One that is under way, until it is dropped.
pub(crate) struct UnderWay<'a> {
    uploads: &'a Uploads,
    user: UserId,
    weight: u64,
}

impl Uploads {
    /// One of so many bytes begins.
    pub(crate) fn begin(&self, user: UserId, bytes: u64) -> UnderWay<'_> {
        let weight = upload_weight(bytes);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = all.entry(user).or_default();
        *of_user = of_user.saturating_add(weight);
        UnderWay { uploads: self, user, weight }
    }
}

impl UnderWay<'_> {
    /// What the user's uploads will take that are under way, with this one.
    pub(crate) fn all(&self) -> u64 {
        let all = self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&self.user).copied().unwrap_or(self.weight)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut all = self.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_user) = all.get_mut(&self.user) else { return };
        *of_user = of_user.saturating_sub(self.weight);
        if *of_user == 0 {
            all.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_counts_until_it_is_over() {
        let (uploads, ada) = (Uploads::default(), UserId::from_u128(1));
        let big = uploads.begin(ada, 1 << 20);
        let small = uploads.begin(ada, 1);
        assert_eq!(small.all(), (1 << 20) + upload_weight(1));
        assert_eq!(uploads.begin(UserId::from_u128(2), 1).all(), upload_weight(1));
        drop(big);
        assert_eq!(small.all(), upload_weight(1));
        drop(small);
        assert!(uploads.0.lock().unwrap().is_empty());
    }
}
