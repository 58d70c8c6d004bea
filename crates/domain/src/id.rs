//! Identifiers: a prefix that names the kind and 26 Crockford base-32 digits of a 128-bit number.
//!
//! The callers draw the number (UUIDv7, so ids sort by creation); this module only gives it its type and its text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of the form {prefix}_ and 26 base-32 digits")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

/// Crockford's base 32: no i, l, o, u, so an id survives being read aloud.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

fn encode(mut number: u128) -> [u8; LENGTH] {
    let mut text = [b'0'; LENGTH];
    for slot in text.iter_mut().rev() {
        *slot = DIGITS[(number & 31) as usize];
        number >>= 5;
    }
    text
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |number, byte| {
        let digit = DIGITS.iter().position(|d| *d == byte)?;
        Some(number << 5 | digit as u128)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[schema(value_type = String, pattern = $pattern)]
        pub struct $name(u128);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The id with this number.
            #[must_use]
            pub const fn from_u128(number: u128) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn number(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                encode(self.0).iter().try_for_each(|digit| write!(f, "{}", *digit as char))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError { prefix: $prefix, text: text.chars().take(64).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Names a task.
    TaskId = "task", "^task_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names an attempt at a task.
    AttemptId = "att", "^att_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a turn of an attempt.
    TurnId = "turn", "^turn_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a lease of a turn.
    LeaseId = "lease", "^lease_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a worker process.
    WorkerId = "wrk", "^wrk_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a data directory of workers, where files of attempts lie.
    MachineId = "mach", "^mach_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a stored environment.
    EnvironmentId = "env", "^env_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a repository that the server knows.
    RepositoryId = "repo", "^repo_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a person or a program that acts for one.
    UserId = "usr", "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names an API token; it is not the token.
    TokenId = "tok", "^tok_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names what a person said to a turn that had begun.
    MessageId = "msg", "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a webhook.
    WebhookId = "hook", "^hook_[0-7][0-9a-hjkmnp-tv-z]{25}$";
    /// Names a delivery of a webhook.
    DeliveryId = "dlv", "^dlv_[0-7][0-9a-hjkmnp-tv-z]{25}$";
}

impl UserId {
    /// Who started the server on this machine: the owner of a server that knows no other user.
    pub const LOCAL: Self = Self::from_u128(0);

    /// [`UserId::LOCAL`], for what was recorded before there were users.
    #[must_use]
    pub const fn local() -> Self {
        Self::LOCAL
    }
}

/// Names an item within its attempt: `item_1`, `item_2`, … in the order of their start.
///
/// Small on purpose: models cite these in their final message as the evidence for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^item_[1-9][0-9]*$")]
pub struct ItemId(u32);

impl ItemId {
    /// The `n`th item of an attempt, from 1.
    #[must_use]
    pub const fn new(n: u32) -> Self {
        Self(n)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item_{}", self.0)
    }
}

impl FromStr for ItemId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("item_")
            .filter(|digits| !digits.starts_with(['0', '+']))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| IdError { prefix: "item", text: text.chars().take(64).collect() })
    }
}

impl Serialize for ItemId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ItemId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Names a stored byte string by its SHA-256, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct BlobId(String);

impl BlobId {
    /// The digest as 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BlobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(text.to_owned()))
            .ok_or_else(|| IdError { prefix: "sha256", text: text.chars().take(64).collect() })
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_keep_their_order() {
        let (a, b) = (TaskId::from_u128(7), TaskId::from_u128(u128::MAX));
        assert_eq!(a.to_string(), "task_00000000000000000000000007");
        assert_eq!(b.to_string().parse::<TaskId>(), Ok(b));
        assert!(a.to_string() < b.to_string());
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let turn = TurnId::from_u128(1).to_string();
        assert!(turn.parse::<TaskId>().is_err());
        assert!("task_80000000000000000000000000".parse::<TaskId>().is_err());
        assert!("item_0".parse::<ItemId>().is_err());
        assert_eq!("item_12".parse(), Ok(ItemId::new(12)));
    }
}
