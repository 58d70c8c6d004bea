//! Which servers the user has logged in to, and with which tokens.
//!
//! One file beside the configuration, `servers.json`, readable by the user alone. It is apart from `config.toml`, so that
//! the one can be shared and the other is written by this program only.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::exit::Trouble;

/// The file's name.
pub const FILE: &str = "servers.json";

/// What the file holds.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logins {
    /// The server that commands use if none is named.
    pub current: Option<String>,
    /// Tokens by the servers' URLs.
    tokens: BTreeMap<String, String>,
}

impl Logins {
    /// Reads the file at `path`; without one there are no logins.
    ///
    /// # Errors
    /// If it cannot be read, or others can read it too.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read.", path.display())),
        };
        let mode = std::fs::metadata(path).map(|file| file.permissions().mode()).unwrap_or_default();
        if mode & 0o077 != 0 {
            let what = format!("Others than you may read {}, which holds tokens.", path.display());
            let mend = format!("Revoke them if anyone may have looked, then: chmod 600 {}", path.display());
            return Err(Trouble::usage(what, mend).into());
        }
        serde_json::from_slice(&text).map_err(|error| {
            // Not the text around the error, which may be a token.
            let what =
                format!("{} is not as legwork login writes it (line {}).", path.display(), error.line());
            Trouble::usage(what, "Remove it and log in again: legwork login URL").into()
        })
    }

    /// Writes the file, wholly or not at all, for the user alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let unwritten = || format!("{} cannot be written.", path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(unwritten)?;
        // Made with mode 0600 by the library.
        let mut file = tempfile::NamedTempFile::new_in(dir).with_context(unwritten)?;
        file.write_all(&serde_json::to_vec_pretty(self)?).with_context(unwritten)?;
        file.as_file().sync_all().with_context(unwritten)?;
        file.persist(path).with_context(unwritten)?;
        Ok(())
    }

    /// The token for a server.
    #[must_use]
    pub fn token(&self, url: &str) -> Option<&str> {
        self.tokens.get(&trimmed(url)).map(String::as_str)
    }

    /// Keeps a token; the server is the current one from now on.
    pub fn add(&mut self, url: &str, token: &str) {
        let url = trimmed(url);
        self.current = Some(url.clone());
        self.tokens.insert(url, token.to_owned());
    }

    /// Forgets a server, and gives its token.
    pub fn remove(&mut self, url: &str) -> Option<String> {
        let url = trimmed(url);
        if self.current.as_ref() == Some(&url) {
            self.current = None;
        }
        self.tokens.remove(&url)
    }
}

/// A server's URL as it is written everywhere: two ways to write one are one server.
#[must_use]
pub fn trimmed(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_kept_for_its_user_alone_and_forgotten_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/servers.json");
        let mut logins = Logins::read(&path).unwrap();
        logins.add("https://a.example/", "one");
        logins.add("https://b.example", "two");
        logins.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let mut logins = Logins::read(&path).unwrap();
        assert_eq!(logins.current.as_deref(), Some("https://b.example"));
        assert_eq!(
            (logins.token("https://a.example"), logins.token("https://c.example")),
            (Some("one"), None)
        );
        assert_eq!(logins.remove("https://b.example/").as_deref(), Some("two"));
        assert_eq!((logins.current, logins.tokens.len()), (None, 1));
    }

    #[test]
    fn tokens_that_others_can_read_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let Err(error) = Logins::read(&path) else { unreachable!("it was read") };
        assert!(error.to_string().contains("Others than you"), "{error}");
    }
}
