use std::path::PathBuf;

use crate::Error;

/// A repository as a task names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A directory on the worker's machine: a work tree, a bare repository or a linked work tree.
    Path(PathBuf),
    /// Somewhere on the network.
    Url(Url),
}

/// A URL that git can fetch from.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    public: String,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Url").field(&self.public).finish()
    }
}

impl Url {
    /// As it was given; it may hold a password, so it goes to git and nowhere else.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// The URL without user and password, and the beginning of the URL with them if a password stands there (or, on
    /// http, a user, which is how tokens are written): the two sides of git's `url.BASE.insteadOf`.
    #[must_use]
    pub fn without_login(&self) -> (String, Option<String>) {
        let Some((scheme, rest)) = self.text.split_once("://") else { return (self.text.clone(), None) };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') || scheme.starts_with("http") => {
                let plain = user.split(':').next().filter(|_| scheme == "ssh");
                let plain = plain.map(|user| format!("{user}@")).unwrap_or_default();
                (format!("{scheme}://{plain}{host}{path}"), Some(self.text.clone()))
            }
            _ => (self.text.clone(), None),
        }
    }

    /// Without user and password; fit for logs and for `origin` inside a sandbox.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }
}

impl Repository {
    /// Reads what a task names: an absolute path, a URL (`https`, `http`, `ssh`, `git`, `file`), or `host:path` as ssh
    /// has it.
    ///
    /// # Errors
    /// [`Error::Repository`] for anything else, above all for transports that run commands (`ext::`).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::Repository { repository: cut(text), why: why.to_owned() };
        if text.is_empty() || text.starts_with('-') {
            return Err(refused("that is not a path or URL"));
        }
        if text.contains('\0') || text.contains('\n') {
            return Err(refused("a path or URL here has no line ends and no NUL"));
        }
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match text.split_once("://") {
            Some(("file", path)) => {
                Ok(Self::Path(PathBuf::from(unescaped(path.trim_start_matches("localhost")))))
            }
            Some(("https" | "http" | "ssh" | "git", rest))
                if rest.starts_with(['-', '/']) || rest.is_empty() =>
            {
                Err(refused("the URL names no host"))
            }
            Some((scheme @ ("https" | "http" | "ssh" | "git"), rest)) => Ok(Self::Url(url(scheme, rest))),
            Some(_) => Err(refused("only https, http, ssh, git and file URLs are taken")),
            None => scp_like(text).ok_or_else(|| {
                refused(
                    "a local repository is named by its absolute path, a remote one by its URL or host:path",
                )
            }),
        }
    }

    /// Fit for people and logs.
    #[must_use]
    pub fn public(&self) -> String {
        match self {
            Self::Path(path) => path.to_string_lossy().into_owned(),
            Self::Url(url) => url.public.clone(),
        }
    }
}

fn url(scheme: &str, rest: &str) -> Url {
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    // ssh's user is part of the address (git@host), a password never is.
    let user = user.split(':').next().filter(|user| scheme == "ssh" && !user.is_empty());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or("");
    Url { text: format!("{scheme}://{rest}"), public: format!("{scheme}://{user}{host}{path}") }
}

/// `git@host:path`, but not `ext::command` and nothing that ssh would take for an option.
fn scp_like(text: &str) -> Option<Repository> {
    let (host, path) = text.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    let good =
        !host.is_empty() && host.chars().all(plain) && !path.starts_with(':') && !path.starts_with('-');
    let host_named = host.rsplit('@').next().is_some_and(|name| !name.is_empty() && !name.starts_with('-'));
    (good && host_named && !path.is_empty())
        .then(|| Repository::Url(Url { text: text.to_owned(), public: text.to_owned() }))
}

fn unescaped(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A name for an error message: bounded, and without what could be a password.
fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    text.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> Option<String> {
        Repository::parse(text).ok().map(|repository| repository.public())
    }

    #[test]
    fn a_password_never_shows() {
        let text = "https://me:hunter2@example.org/a/b.git?token=x";
        let parsed = Repository::parse(text).unwrap();
        assert_eq!(parsed.public(), "https://example.org/a/b.git");
        assert!(!format!("{parsed:?}").contains("hunter2"));
        let Repository::Url(url) = parsed else { panic!("a URL") };
        assert_eq!(url.secret(), text);
        assert_eq!(public("ssh://git:pw@host:22/x").as_deref(), Some("ssh://git@host:22/x"));
        assert!(!Repository::parse("ftp://me:pw@host/x").unwrap_err().to_string().contains("pw"));
    }

    #[test]
    fn what_runs_commands_is_refused() {
        for text in [
            "ext::sh -c id",
            "fd::3",
            "--upload-pack=id",
            "-x:y",
            "git@-oProxyCommand=id:x",
            "ssh://-oProxyCommand=id/x",
            "relative/path",
            "",
            "https://",
            "https:///x",
            "/a\nb",
            "host::x",
        ] {
            assert!(Repository::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn usual_names_are_taken() {
        assert_eq!(public("/srv/a b").as_deref(), Some("/srv/a b"));
        assert_eq!(public("file:///srv/a%20b").as_deref(), Some("/srv/a b"));
        assert_eq!(public("git@example.org:a/b").as_deref(), Some("git@example.org:a/b"));
        assert_eq!(public("git://example.org/a").as_deref(), Some("git://example.org/a"));
    }
}
