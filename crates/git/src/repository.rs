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

/// A transport that may be used: each moves data only. Never `ext` or `fd`, which run commands, and not `file`, whose
/// `upload-pack` would run in a foreign repository on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP over TLS.
    Https,
    /// HTTP in the open.
    Http,
    /// Over ssh.
    Ssh,
    /// Git's own, in the open.
    Git,
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Https, Self::Http, Self::Ssh, Self::Git];

    /// As URLs and git's configuration have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::Git => "git",
        }
    }

    /// Where it is spoken if a URL does not say (git-daemon(1) for git's own).
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Ssh => 22,
            Self::Git => 9418,
        }
    }

    fn of(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == scheme)
    }
}

impl Url {
    /// What is spoken there.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.text.split_once("://").and_then(|(scheme, _)| Protocol::of(scheme)).unwrap_or(Protocol::Ssh)
    }

    /// `HOST` or `HOST:PORT`, without user and password, as it stands in the URL.
    #[must_use]
    pub fn authority(&self) -> &str {
        let (authority, _) = self.split();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    /// The URL to the same place at another authority.
    pub(crate) fn at(&self, authority: &str) -> String {
        let (_, path) = self.split();
        format!("{}://{authority}{path}", self.protocol().name())
    }

    /// The authority, and the path behind it.
    fn split(&self) -> (&str, &str) {
        match self.text.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash)),
            None => self.text.split_once(':').unwrap_or((&self.text, "")),
        }
    }

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
                let path = unescaped(path.strip_prefix("localhost").unwrap_or(path));
                if !path.starts_with('/') || path.contains(['\0', '\n']) {
                    return Err(refused(
                        "a file URL names an absolute path of this machine, as in file:///srv/project",
                    ));
                }
                Ok(Self::Path(PathBuf::from(path)))
            }
            Some(("https" | "http" | "ssh" | "git", rest)) if !names_host(authority_of(rest)) => {
                Err(refused("the URL names no host"))
            }
            // Git and its libraries do not agree on where a host ends that holds one of these.
            Some(("https" | "http" | "ssh" | "git", rest)) if authority_of(rest).contains(is_odd) => {
                Err(refused("a character stands before or in its host that belongs in no host"))
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

fn authority_of(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest)
}

/// Whether a host stands behind the login, and nothing that ssh would take for an option.
fn names_host(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    !host.is_empty() && !host.starts_with(['-', ':']) && !authority.starts_with('-')
}

fn is_odd(letter: char) -> bool {
    matches!(letter, '?' | '#' | '\\') || letter.is_whitespace() || letter.is_control()
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
        let hex = hex.filter(|two| bytes[at] == b'%' && two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
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
            "https://me:password@",
            "https://me@:80/x",
            "ssh://me@-oProxyCommand=id/x",
            "file://",
            "file://relative",
            "file://elsewhere/srv/a",
            "file:///srv/a%00b",
            "/a\nb",
            "host::x",
            "https://evil.example?@good.example/x",
            "https://evil.example#@good.example/x",
            "https://good.example\\@evil.example/x",
            "git://a b/x",
        ] {
            assert!(Repository::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_url_says_where_it_leads() {
        let leads = |text: &str| match Repository::parse(text).unwrap() {
            Repository::Url(url) => (url.protocol(), url.authority().to_owned()),
            Repository::Path(path) => unreachable!("{path:?}"),
        };
        for (text, protocol, authority) in [
            ("https://me:p@w@h.example:8443/a/b", Protocol::Https, "h.example:8443"),
            ("git://h.example/a", Protocol::Git, "h.example"),
            ("ssh://git@[::2]:22/a", Protocol::Ssh, "[::2]:22"),
            ("git@h.example:a/b", Protocol::Ssh, "h.example"),
            ("http://h.example", Protocol::Http, "h.example"),
        ] {
            assert_eq!(leads(text), (protocol, authority.to_owned()), "{text}");
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
