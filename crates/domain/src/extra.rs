//! Repositories that are laid beside the checkout.
//!
//! They are fetched with what the workers' operator has, and whoever gets a task's sandbox reads them. So only a team's stored
//! recipe names them, and who creates a task must be allowed to run tasks on each.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check_no_login;

/// Most of one recipe: each is a directory that every sandbox of a task stands on.
pub const EXTRA_REPOSITORIES_MAX: usize = 8;

/// Longest URL and ref, as the API takes them elsewhere, and longest path, in bytes.
const URL_BYTES_MAX: usize = 2048;
const PATH_BYTES_MAX: usize = 100;

/// A repository beside the checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtraRepository {
    /// A URL without user and password, or an absolute path on the worker's machine.
    #[schema(min_length = 1, max_length = 2048)]
    pub url: String,
    /// Branch, tag or commit; left out: what `HEAD` names.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its directory below `/repositories`: words of letters, digits and `._-`, with `/` between them.
    #[schema(min_length = 1, max_length = 100)]
    pub path: String,
}

/// One as an attempt stands on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaidRepository {
    /// Its URL.
    pub url: String,
    /// The commit.
    pub commit: String,
    /// Its directory below `/repositories`.
    pub path: String,
}

/// Whether a recipe's are within their bounds, and no two lie in one another.
///
/// # Errors
/// A sentence for whoever sent it.
pub(crate) fn check(extras: &[ExtraRepository]) -> Result<(), String> {
    if extras.len() > EXTRA_REPOSITORIES_MAX {
        return Err(format!("A recipe names at most {EXTRA_REPOSITORIES_MAX} repositories beside its own."));
    }
    for extra in extras {
        extra.check()?;
    }
    let within = |one: &ExtraRepository, other: &ExtraRepository| {
        one.path == other.path || one.path.starts_with(&format!("{}/", other.path))
    };
    for (at, one) in extras.iter().enumerate() {
        if let Some(other) = extras.iter().skip(at + 1).find(|other| within(one, other) || within(other, one))
        {
            return Err(format!(
                "The repositories at {:?} and {:?} would lie in one another.",
                one.path, other.path
            ));
        }
    }
    Ok(())
}

impl ExtraRepository {
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= URL_BYTES_MAX && text.chars().all(|c| !c.is_control())
        };
        if !plain(&self.url) || self.reference.as_deref().is_some_and(|reference| !plain(reference)) {
            return Err(format!(
                "A repository's URL and ref have 1 to {URL_BYTES_MAX} bytes without control characters."
            ));
        }
        check_no_login(&self.url)?;
        let word = |word: &str| {
            word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        if self.path.len() > PATH_BYTES_MAX || !self.path.split('/').all(word) {
            return Err(format!(
                "{:?} is no directory for a repository: words of letters, digits and ._-, each beginning with a letter or digit.",
                self.path
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> ExtraRepository {
        ExtraRepository { url: "https://h.example/x".into(), reference: None, path: path.into() }
    }

    #[test]
    fn paths_stay_inside_and_apart() {
        assert_eq!(check(&[at("lib"), at("lib2"), at("a/b"), at("a/c")]), Ok(()));
        for path in ["", "/etc", "..", "a/../b", "a//b", ".git", "a b", "$(id)", "a/", &"x".repeat(101)] {
            assert!(check(&[at(path)]).is_err(), "{path}");
        }
        for (one, other) in [("a", "a"), ("a", "a/b"), ("a/b", "a")] {
            assert!(check(&[at(one), at(other)]).is_err(), "{one} {other}");
        }
        assert!(check(&(0..9).map(|n| at(&format!("r{n}"))).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn no_password_is_kept() {
        let with = |url: &str| check(&[ExtraRepository { url: url.into(), ..at("a") }]);
        assert!(with("https://me:secret@h.example/x").is_err());
        assert!(with("").is_err() && with("https://h.example/\n").is_err());
    }
}
