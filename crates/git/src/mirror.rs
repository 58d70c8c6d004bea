//! Bare mirrors of remote repositories: the only repositories that git touches on the host.
//!
//! They are made by us and hold nothing of the remote but objects and refs, so no configuration, hook or attribute of the
//! repository is ever alive here. Only these commands see the operator's own git configuration: private repositories need
//! its credential helpers, ssh settings, proxies and certificate stores.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use crate::refs::is_object_id;
use crate::{Invocation, Protocol, Url};

/// What the composition root should pass on from its environment, where set: how to reach and prove oneself to hosts.
pub const OPERATOR_ENV: [&str; 21] = [
    "PATH",
    "HOME",
    "USER",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_ASKPASS",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
];

/// How git gets to a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// As name and host lead it, redirects and all: whoever named the URL may reach what this machine reaches.
    Open,
    /// To the host that the URL names, and at these addresses alone, whatever the name says by then; without an address as
    /// the name leads. No redirect is followed. Over ssh the host's key is what holds: git is told no address.
    Fixed(Vec<IpAddr>),
}

impl Route {
    /// The invocation on this route, and the URL to name.
    fn lead(&self, url: &Url, invocation: Invocation) -> (Invocation, String) {
        let text = url.secret().to_owned();
        let Self::Fixed(addresses) = self else { return (invocation, text) };
        // With redirects, so-called alternates of a host without git's own protocol are off too.
        let invocation = invocation.with_setting("http.followRedirects=false");
        let Some(first) = addresses.first() else { return (invocation, text) };
        match url.protocol() {
            Protocol::Https | Protocol::Http => {
                let all: Vec<String> = addresses.iter().map(|address| in_brackets(*address)).collect();
                let pin = format!("http.curloptResolve={}:{}", with_port(url), all.join(","));
                (invocation.with_setting(&pin), text)
            }
            Protocol::Git => {
                let port = port_of(url);
                let there = url.at(&format!("{}:{port}", in_brackets(*first)));
                // A daemon may keep a directory for each name.
                (invocation.with_env("GIT_OVERRIDE_VIRTUAL_HOST", url.authority()), there)
            }
            Protocol::Ssh => (invocation, text),
        }
    }
}

fn in_brackets(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn with_port(url: &Url) -> String {
    let authority = url.authority();
    let host = authority.strip_suffix(&format!(":{}", port_of(url))).unwrap_or(authority);
    format!("{host}:{}", port_of(url))
}

fn port_of(url: &Url) -> u16 {
    let port = url.authority().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(url.protocol().port())
}

/// Lists the remote's refs with what each tag points to and what `HEAD` names; read by [`crate::refs::Refs::listed`].
#[must_use]
pub fn list(url: &Url, route: &Route, operator: &[(OsString, OsString)]) -> Invocation {
    let list = Invocation::git(operator, &["ls-remote", "--quiet", "--symref", "--end-of-options"]);
    let (list, url) = route.lead(url, list);
    list.arg(url)
}

/// Makes an empty mirror at `directory`. A second call changes nothing.
#[must_use]
pub fn init(directory: &Path, object_format: &str) -> Invocation {
    let format = format!("--object-format={object_format}");
    Invocation::git(
        &[],
        &["init", "--quiet", "--bare", "--shared=0644", "--template=", &format, "--end-of-options"],
    )
    .without_config()
    .arg(directory)
}

/// Fetches all branches and tags of the remote, and `commit` too, which need not be on any of them.
#[must_use]
pub fn fetch(
    directory: &Path,
    url: &Url,
    route: &Route,
    commit: Option<&str>,
    operator: &[(OsString, OsString)],
) -> Invocation {
    let (invocation, url) = route.lead(url, Invocation::git(operator, &["--git-dir"]));
    let mut invocation = invocation
        .arg(directory)
        .arg("fetch")
        .arg("--quiet")
        .arg("--prune")
        .arg("--no-auto-gc")
        .arg("--no-write-fetch-head")
        .arg("--no-recurse-submodules")
        .arg("--update-shallow")
        .arg("--end-of-options")
        .arg(url)
        .arg("+refs/heads/*:refs/heads/*")
        .arg("+refs/tags/*:refs/tags/*");
    if let Some(commit) = commit {
        invocation = invocation.arg(commit);
    }
    invocation
}

/// Fetches one commit without what came before it, into a mirror that is looked at and thrown away.
#[must_use]
pub fn fetch_shallow(
    directory: &Path,
    url: &Url,
    commit: &str,
    operator: &[(OsString, OsString)],
) -> Invocation {
    Invocation::git(operator, &["--git-dir"])
        .arg(directory)
        .arg("fetch")
        .arg("--quiet")
        .arg("--depth=1")
        .arg("--no-tags")
        .arg("--no-auto-gc")
        .arg("--no-write-fetch-head")
        .arg("--no-recurse-submodules")
        .arg("--end-of-options")
        .arg(url.secret())
        .arg(commit)
}

/// Lists a commit's files of a mirror with their sizes, NUL after each; [`files`] reads it.
#[must_use]
pub fn list_files(directory: &Path, commit: &str) -> Invocation {
    let git = Invocation::git(&[], &["--git-dir"]).without_config().arg(directory);
    git.arg("ls-tree").arg("-r").arg("-l").arg("-z").arg("--full-tree").arg(commit)
}

/// Reads a file's content by its object.
#[must_use]
pub fn read_file(directory: &Path, object: &str) -> Invocation {
    let git = Invocation::git(&[], &["--git-dir"]).without_config().arg(directory);
    git.arg("cat-file").arg("blob").arg(object)
}

/// Path, object and size of the regular files of such a listing; paths that are not UTF-8 are left out.
#[must_use]
pub fn files(output: &[u8]) -> Vec<(String, String, usize)> {
    let entry = |entry: &[u8]| {
        let (head, path) = std::str::from_utf8(entry).ok()?.split_once('\t')?;
        let mut words = head.split_whitespace();
        let is_file = matches!((words.next()?, words.next()?), ("100644" | "100755", "blob"));
        let (object, size) = (words.next()?, words.next()?.parse().ok()?);
        (is_file && is_object_id(object)).then(|| (path.to_owned(), object.to_owned(), size))
    };
    output.split(|byte| *byte == 0).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repository;

    fn parsed(text: &str) -> Url {
        match Repository::parse(text).unwrap() {
            Repository::Url(url) => url,
            Repository::Path(path) => unreachable!("{path:?}"),
        }
    }

    #[test]
    fn a_fixed_route_leads_to_its_addresses_alone() {
        let fixed = Route::Fixed(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let led = |text: &str| {
            let (invocation, url) = fixed.lead(&parsed(text), Invocation::git(&[], &[]));
            let settings = invocation.argv.into_iter().map(|arg| arg.into_string().unwrap());
            let settings: Vec<_> = settings.filter(|arg| arg.starts_with("http.")).collect();
            let host = invocation.env.into_iter().find(|(name, _)| name == "GIT_OVERRIDE_VIRTUAL_HOST");
            (settings.join(" "), url, host.map(|(_, host)| host.into_string().unwrap()).unwrap_or_default())
        };
        let off = "http.followRedirects=false";
        let pin = |place: &str| format!("http.curloptResolve={place}:192.0.2.1,[2001:db8::1] {off}");
        for (text, settings, url, host) in [
            ("https://h.example/a", pin("h.example:443"), "https://h.example/a", ""),
            ("http://u:p@h.example:8080/a", pin("h.example:8080"), "http://u:p@h.example:8080/a", ""),
            ("git://h.example/a", off.to_owned(), "git://192.0.2.1:9418/a", "h.example"),
            ("git@h.example:a", off.to_owned(), "git@h.example:a", ""),
        ] {
            assert_eq!(led(text), (settings, url.to_owned(), host.to_owned()), "{text}");
        }
    }

    #[test]
    fn files_are_listed_with_object_and_size() {
        let object = "a".repeat(40);
        let listing = format!(
            "100644 blob {object}      12\ta b\0120000 blob {object} 3\tlink\0160000 commit {object} -\tsub\0100755 blob {object} 7\tx/y\0"
        );
        let found = [("a b".to_owned(), object.clone(), 12), ("x/y".to_owned(), object, 7)];
        assert_eq!(files(listing.as_bytes()), found);
    }

    #[test]
    fn a_fetch_names_only_safe_transports_and_ends_its_options() {
        let url = parsed("https://example.org/x");
        let fetch = fetch(Path::new("/m"), &url, &Route::Open, None, &[]);
        let argv: Vec<_> = fetch.argv.iter().map(|arg| arg.to_str().unwrap()).collect();
        for setting in ["protocol.allow=never", "core.hooksPath=/dev/null", "transfer.fsckObjects=true"] {
            assert!(argv.contains(&setting), "{setting}");
        }
        assert!(!argv.iter().any(|arg| arg.starts_with("protocol.ext") || arg.starts_with("protocol.file")));
        let end = argv.iter().position(|arg| *arg == "--end-of-options").unwrap();
        assert_eq!(argv[end + 1], "https://example.org/x");
        assert!(fetch.env.contains(&("GIT_TERMINAL_PROMPT".into(), "0".into())));
    }
}
