//! Bare mirrors of remote repositories: the only repositories that git touches on the host.
//!
//! They are made by us and hold nothing of the remote but objects and refs, so no configuration, hook or attribute of the
//! repository is ever alive here. Only these commands see the operator's own git configuration: private repositories need
//! its credential helpers, ssh settings, proxies and certificate stores.

use std::ffi::OsString;
use std::path::Path;

use crate::{Invocation, Url};

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

/// Lists the remote's refs with what each tag points to and what `HEAD` names; read by [`crate::refs::Refs::listed`].
#[must_use]
pub fn list(url: &Url, operator: &[(OsString, OsString)]) -> Invocation {
    Invocation::git(operator, &["ls-remote", "--quiet", "--symref", "--end-of-options"]).arg(url.secret())
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
    commit: Option<&str>,
    operator: &[(OsString, OsString)],
) -> Invocation {
    let mut invocation = Invocation::git(operator, &["--git-dir"])
        .arg(directory)
        .arg("fetch")
        .arg("--quiet")
        .arg("--prune")
        .arg("--no-auto-gc")
        .arg("--no-write-fetch-head")
        .arg("--no-recurse-submodules")
        .arg("--update-shallow")
        .arg("--end-of-options")
        .arg(url.secret())
        .arg("+refs/heads/*:refs/heads/*")
        .arg("+refs/tags/*:refs/tags/*");
    if let Some(commit) = commit {
        invocation = invocation.arg(commit);
    }
    invocation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repository;

    #[test]
    fn a_fetch_names_only_safe_transports_and_ends_its_options() {
        let Repository::Url(url) = Repository::parse("https://example.org/x").unwrap() else {
            panic!("a URL")
        };
        let fetch = fetch(Path::new("/m"), &url, None, &[]);
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
