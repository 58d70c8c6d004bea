//! From a recipe's secrets to what programs see and what the proxy puts in its place.

use std::io;
use std::path::Path;

use legwork_domain::{HandedSecret, Phase, SecretPhase, SecretUse};
use legwork_egress::{Pattern, Place, Secret};
use sha2::{Digest as _, Sha256};

use crate::once;

/// Where the salt of placeholders is kept, in the worker's data directory.
const SALT: &str = "placeholders.salt";
const SALT_BYTES: usize = 32;

/// Bytes of a placeholder's random part: nobody guesses 128 bits, or has them by chance.
const RANDOM_BYTES: usize = 16;

/// How many pairs of key and value git finds in its variables.
const GIT_CONFIG_COUNT: &str = "GIT_CONFIG_COUNT";

/// The user beside a token: hosts take any (GitLab, Gitea, Azure) or want this one (GitHub).
const GIT_USER: &str = "x-access-token";

/// The secrets of a phase, and the variables that hold their placeholders.
pub(super) struct Hidden {
    pub(super) secrets: Vec<Secret>,
    pub(super) variables: Vec<(String, String)>,
}

/// What placeholders and decoys of this worker are made of. They stay the same from task to task, for set-ups write them
/// into files that are used again; without the salt nobody can tell them, or a value from one.
pub(crate) struct Salt([u8; SALT_BYTES]);

impl Salt {
    /// The one of a data directory, made now if there is none.
    pub(crate) fn of(data: &Path) -> io::Result<Self> {
        let bytes = once::file(&data.join(SALT), || Ok(once::random::<SALT_BYTES>()?.to_vec()))?;
        bytes.try_into().map(Self).map_err(|_| io::Error::other("the salt of placeholders is not whole"))
    }

    /// Tells a secret's value from another one, and nothing else of it.
    pub(crate) fn version(&self, name: &str, value: &str) -> String {
        self.text("version", &format!("version\n{}\n{name}\n{value}", name.len()))
    }

    /// A text for a purpose, the same every time.
    pub(crate) fn text(&self, prefix: &str, purpose: &str) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(purpose).finalize();
        format!("{prefix}_{}", hex::encode(&digest[..RANDOM_BYTES]))
    }
}

/// The secrets that are there in a phase.
///
/// # Errors
/// A sentence on what cannot be used.
pub(super) fn of(
    uses: &[SecretUse],
    handed: &[HandedSecret],
    phase: Phase,
    salt: &Salt,
    owner: &str,
) -> Result<Hidden, String> {
    let mut hidden = Hidden { secrets: Vec::new(), variables: Vec::new() };
    for one in uses.iter().filter(|one| one.phase == SecretPhase::Always || phase == Phase::Setup) {
        let placeholder = salt.text("legwork", &format!("{owner}\n{}", one.name));
        hidden.variables.push((one.variable().to_owned(), placeholder.clone()));
        let Some(handed) = handed.iter().find(|handed| handed.name == one.name) else { continue };
        let hosts = one.hosts.iter().map(|host| host.parse().map_err(|_| wrong(&one.name, host)));
        hidden.secrets.push(Secret {
            name: one.name.clone(),
            value: handed.value.0.clone(),
            placeholder,
            hosts: hosts.collect::<Result<_, _>>()?,
            places: one.places.iter().filter_map(|place| place_of(place)).collect(),
        });
    }
    Ok(hidden)
}

/// A helper that git asks for logins (gitcredentials(7)), in variables as git(1) has them, so that it says these secrets to
/// their hosts by itself: `git clone`, and package managers that call git, need nothing in a URL. `known` are the variables
/// that are set already.
pub(super) fn git_logins(
    uses: &[SecretUse],
    hidden: &Hidden,
    known: &[(String, String)],
) -> Vec<(String, String)> {
    let at = known.iter().find(|(name, _)| name == GIT_CONFIG_COUNT);
    let at: usize = at.and_then(|(_, count)| count.parse().ok()).unwrap_or_default();
    let of = |secret: &Secret| {
        let one = uses.iter().find(|one| one.name == secret.name)?;
        let hosts: Vec<_> = secret.hosts.iter().map(shell_pattern).collect();
        secret
            .places
            .contains(&Place::Basic)
            .then(|| format!("{}) v=${};; ", hosts.join("|"), one.variable()))
    };
    let cases: String = hidden.secrets.iter().filter_map(of).collect();
    if cases.is_empty() {
        return Vec::new();
    }
    let helper = format!(
        "!f() {{ test \"$1\" = get || return 0; p= h= v=; while read -r l; do case $l in protocol=*) p=${{l#*=}};; \
         host=*) h=${{l#*=}};; esac; done; case \"$p ${{h%:[0-9]*}}\" in {cases}*) return 0;; esac; \
         printf 'username={GIT_USER}\\npassword=%s\\n' \"$v\"; }}; f"
    );
    vec![
        (format!("GIT_CONFIG_KEY_{at}"), "credential.helper".to_owned()),
        (format!("GIT_CONFIG_VALUE_{at}"), helper),
        (GIT_CONFIG_COUNT.to_owned(), (at + 1).to_string()),
    ]
}

/// What a host of a secret is as a pattern of the shell, after the protocol.
fn shell_pattern(host: &Pattern) -> String {
    let text = host.to_string();
    if let Some(name) = text.strip_prefix("**.") {
        return format!("'https {name}'|'https '*'.{name}'");
    }
    text.strip_prefix("*.").map_or_else(|| format!("'https {text}'"), |name| format!("'https '*'.{name}'"))
}

fn wrong(name: &str, host: &str) -> String {
    format!("The secret {name} names {host:?}, which is no host.")
}

fn place_of(text: &str) -> Option<Place> {
    match text {
        "header" => Some(Place::Header(None)),
        "basic" => Some(Place::Basic),
        "query" => Some(Place::Query),
        "form" => Some(Place::Form),
        text => text.strip_prefix("header:").map(|name| Place::Header(Some(name.to_ascii_lowercase()))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Stdio;

    use legwork_domain::SecretValue;

    use super::*;

    #[test]
    fn a_placeholder_stays_and_tells_nothing() {
        let data = tempfile::tempdir().unwrap();
        let salt = Salt::of(data.path()).unwrap();
        let uses: Vec<SecretUse> = serde_json::from_str(
            r#"[{"name":"A","hosts":["a.example"]},{"name":"B","variable":"VAR","hosts":["b.example"],"phase":"setup"}]"#,
        )
        .unwrap();
        let handed = [HandedSecret { name: "A".into(), value: SecretValue("hunter2".into()) }];
        let setup = of(&uses, &handed, Phase::Setup, &salt, "env").unwrap();
        let names: Vec<_> = setup.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names.as_slice(), setup.secrets.len()), (&["A", "VAR"][..], 1));
        let agent = of(&uses, &handed, Phase::Agent, &Salt::of(data.path()).unwrap(), "env").unwrap();
        assert_eq!(agent.variables, setup.variables[..1], "the same again, and the set-up's own is gone");
        assert_ne!(of(&uses, &[], Phase::Agent, &salt, "other").unwrap().variables, agent.variables);
    }

    /// What git would say to a host.
    fn login(variables: &[(String, String)], asked: &str) -> String {
        let mut git = std::process::Command::new("git");
        git.args(["credential", "fill"]).env("GIT_TERMINAL_PROMPT", "0").env("HOME", "/nowhere");
        git.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
        let said = String::from_utf8(git.wait_with_output().unwrap().stdout).unwrap();
        said.lines().filter(|line| line.starts_with("password=")).collect()
    }

    #[test]
    fn git_says_a_placeholder_to_the_hosts_of_its_secret_alone() {
        let data = tempfile::tempdir().unwrap();
        let salt = Salt::of(data.path()).unwrap();
        let uses: Vec<SecretUse> = serde_json::from_str(
            r#"[{"name":"ONE","hosts":["one.example"]},{"name":"TWO","variable":"V2","hosts":["*.two.example","**.three.example"]},
                {"name":"HEADER","hosts":["four.example"],"places":["header"]},{"name":"NONE","hosts":["five.example"]}]"#,
        )
        .unwrap();
        let handed = ["ONE", "TWO", "HEADER"]
            .map(|name| HandedSecret { name: name.into(), value: SecretValue(format!("hunter-{name}")) });
        let hidden = of(&uses, &handed, Phase::Agent, &salt, "env").unwrap();
        let own = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "user.name"), ("GIT_CONFIG_VALUE_0", "a")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut variables = own.to_vec();
        variables.extend(hidden.variables.clone());
        variables.extend(git_logins(&uses, &hidden, &own));
        assert!(!format!("{variables:?}").contains("hunter"));
        let placeholder = |variable: &str| {
            let found = hidden.variables.iter().find(|(name, _)| name == variable).unwrap();
            format!("password={}", found.1)
        };
        for (asked, said) in [
            ("protocol=https\nhost=one.example\n", placeholder("ONE")),
            ("protocol=https\nhost=one.example:8443\npath=a/b\n", placeholder("ONE")),
            ("protocol=https\nhost=a.b.two.example\n", placeholder("V2")),
            ("protocol=https\nhost=three.example\n", placeholder("V2")),
            ("protocol=https\nhost=two.example\n", String::new()),
            ("protocol=http\nhost=one.example\n", String::new()),
            ("protocol=https\nhost=one.example.evil.example\n", String::new()),
            ("protocol=https\nhost=four.example\n", String::new()),
            ("protocol=https\nhost=five.example\n", String::new()),
        ] {
            assert_eq!(login(&variables, asked), said, "{asked}");
        }
    }
}
