//! Secrets that open the door: drawn here, shown once, and known afterwards by their digest alone.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::problem::Failure;

/// 256 bits: nobody guesses one, so a plain digest is enough to keep it by.
const BYTES: usize = 32;

/// What a secret is for. Its first letters say so, that people and secret scanners can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A user's API token.
    User,
    /// A worker's API token.
    Worker,
    /// A one-time link.
    Link,
    /// A browser's session.
    Session,
    /// A log-in that is under way at an identity provider.
    Login,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::User => "lw_",
            Self::Worker => "lww_",
            Self::Link => "lwl_",
            Self::Session => "lws_",
            Self::Login => "lwo_",
        }
    }
}

/// A new secret. It has no `Debug` and no `Display`, so that nothing prints it by accident.
pub(crate) struct Secret(String);

impl Secret {
    /// Draws one from the system's randomness.
    pub(crate) fn draw(kind: Kind) -> Result<Self, Failure> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            tracing::error!(%error, "the system gives no randomness");
            Failure::internal()
        })?;
        Ok(Self(format!("{}{}", kind.prefix(), hex::encode(bytes))))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// For the one answer that shows it.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

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

    #[test]
    fn secrets_differ_and_say_what_they_are_for() {
        let (one, two) = (Secret::draw(Kind::User).unwrap(), Secret::draw(Kind::Worker).unwrap());
        assert!(one.digest() != two.digest());
        let (one, two) = (one.reveal(), two.reveal());
        assert!(one.starts_with("lw_") && one.len() == 3 + 64, "{one}");
        assert!(two.starts_with("lww_"), "{two}");
    }
}
