use std::ffi::OsString;

use crate::Protocol;

/// A git command for the host, complete: a runner starts it with exactly these arguments and this environment, nothing
/// inherited, standard input empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
}

/// Settings of every invocation on the host. What a repository says about them is overruled, since `-c` comes last.
const SETTINGS: [&str; 19] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.alternateRefsCommand=",
    "core.pager=cat",
    // A patch fits or it does not.
    "apply.ignoreWhitespace=no",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "transfer.fsckObjects=true",
    // Flaws of old tools that stand in the history of well-known repositories and harm nobody.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "transfer.bundleURI=false",
    "fetch.uriProtocols=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    "advice.detachedHead=false",
];

/// The search path where the caller passes none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Invocation {
    /// `git` with the hardening of this room and then `args`.
    ///
    /// `env` is what the composition root passes on (`PATH`, for the network also `HOME`, `SSH_AUTH_SOCK`, proxies).
    pub(crate) fn git(env: &[(OsString, OsString)], args: &[&str]) -> Self {
        let mut argv: Vec<OsString> = vec!["git".into()];
        for setting in SETTINGS {
            argv.extend(["-c".into(), setting.into()]);
        }
        for protocol in Protocol::ALL {
            argv.extend(["-c".into(), format!("protocol.{}.allow=always", protocol.name()).into()]);
        }
        argv.extend(args.iter().map(OsString::from));
        let mut invocation = Self { argv, env: env.to_vec() };
        if !env.iter().any(|(name, _)| name == "PATH") {
            invocation = invocation.with_env("PATH", PATH);
        }
        invocation
            .with_env("GIT_TERMINAL_PROMPT", "0")
            .with_env("GIT_NO_LAZY_FETCH", "1")
            .with_env("LC_ALL", "C")
    }

    /// Cuts it off from the configuration of machine and operator, for all that needs no credentials.
    pub(crate) fn without_config(self) -> Self {
        self.with_env("GIT_CONFIG_NOSYSTEM", "1")
            .with_env("GIT_CONFIG_GLOBAL", "/dev/null")
            .with_env("GIT_ATTR_NOSYSTEM", "1")
    }

    pub(crate) fn with_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// A setting beside those of every invocation.
    pub(crate) fn with_setting(mut self, setting: &str) -> Self {
        self.argv.splice(1..1, ["-c".into(), setting.into()]);
        self
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }
}

/// A shell script for a clean sandbox. What varies is in the environment only, so no name can become shell text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// For `/bin/sh -c`.
    pub text: &'static str,
    /// Its variables, and the ones that keep git from looking anywhere but into our own repository.
    pub env: Vec<(String, String)>,
}

impl Script {
    pub(crate) fn new(text: &'static str, variables: &[(&str, &str)]) -> Self {
        /// The machine's and the user's configuration, attributes and prompts do not exist for a script.
        const PRISTINE: [(&str, &str); 8] = [
            ("PATH", "/usr/bin:/bin:/usr/local/bin"),
            ("HOME", "/tmp"),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/tmp/legwork-gitconfig"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ];
        let env = PRISTINE.iter().chain(variables).map(|(name, value)| ((*name).into(), (*value).into()));
        Self { text, env: env.collect() }
    }
}
