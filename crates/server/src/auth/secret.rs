//! Secrets that open the door, known by their digest alone.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a secret. It shows as hexadecimal, as the database has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

/// Takes the same time for every other digest: all are compared to their end.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let key = Digest::of(b"token");
        assert!(key == Digest::of(b"token"));
        for wrong in ["", "toke", "token ", "TOKEN", "tokem"] {
            assert!(key != Digest::of(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
