//! The recipe of a sandbox. A recipe is data: it may come out of a hostile repository, so nothing in it can
//! name a path of the host. What of the host a sandbox shows is for the worker's operator alone to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Check, EnvironmentId, ExtraRepository, NetworkPolicy, RepositoryId, SECRET_USES_MAX, SecretUse,
    Timestamp, UserId, extra,
};

/// Most patterns of [`Environment::approve`]: each is held against every command.
pub const APPROVE_MAX: usize = 64;

/// Longest of them, in bytes.
pub const APPROVE_BYTES_MAX: usize = 1024;

/// What a fresh sandbox for a repository is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// The base image: `host` (the worker's own `/usr` and toolchains, read-only), a name that its operator gave, or one of a
    /// registry, such as `debian:12-slim`.
    pub image: String,
    /// A shell script that runs once after the checkout, before the agent.
    pub setup: Option<String>,
    /// A shell script that brings a set-up that is used again up to date with another commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// A shell script that starts services, run in each sandbox before anything else. It must come to its end: what is to
    /// stay goes into the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// System packages by the distribution's names. On `host` they must be there; what is not is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Toolchains by name (`python`, `node`, `rust`, `go`, `java`, `ruby`, …) and version.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub toolchains: BTreeMap<String, String>,
    /// Where set-up, checks and services run, from the root of the checkout; left out: there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Environment variables inside. `$PATH` in the value of `PATH` is the sandbox's own.
    pub variables: BTreeMap<String, String>,
    /// What may leave the sandbox while the agent works and checks run.
    pub network: NetworkPolicy,
    /// What may leave it while the set-up runs.
    pub setup_network: NetworkPolicy,
    /// Secrets that programs may use without seeing them. Only what a stored recipe says counts. At most
    /// [`SECRET_USES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Commands that must pass on a clean sandbox with the patch.
    pub checks: Vec<Check>,
    /// Commands that the agent runs only if a person says yes: patterns such as `git push *`, where `*` stands for any text,
    /// held against each command of a line. At most [`APPROVE_MAX`]. A courtesy, no wall: a command can be hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
    /// Repositories that are laid beside the checkout. Only what a team's stored recipe says counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<ExtraRepository>,
    /// What the sandbox may take of the machine.
    pub resources: Resources,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            image: "host".to_owned(),
            setup: None,
            maintenance: None,
            start: None,
            packages: Vec::new(),
            toolchains: BTreeMap::new(),
            workdir: None,
            variables: BTreeMap::new(),
            network: NetworkPolicy::default(),
            setup_network: NetworkPolicy::PackageManagers,
            secrets: Vec::new(),
            checks: Vec::new(),
            approve: Vec::new(),
            repositories: Vec::new(),
            resources: Resources::default(),
        }
    }
}

/// Most packages, and toolchains, of a recipe.
pub(crate) const NEEDS_MAX: usize = 128;

/// Longest name or version of one, and longest working directory, in bytes.
pub(crate) const NEED_BYTES_MAX: usize = 256;

impl Environment {
    /// Says in one sentence what is wrong with what it needs, if anything is: names that could be an option, a path or a
    /// command, a working directory outside the checkout.
    ///
    /// # Errors
    /// The sentence, for whoever wrote it.
    pub fn validate_needs(&self) -> Result<(), String> {
        if self.packages.len() > NEEDS_MAX || self.toolchains.len() > NEEDS_MAX {
            return Err(format!("More than {NEEDS_MAX} packages or toolchains were named."));
        }
        let pairs = self.toolchains.iter().flat_map(|(name, version)| [name, version]);
        if let Some(word) = self.packages.iter().chain(pairs).find(|word| !is_word(word)) {
            return Err(format!("{word:?} is no name of a package or toolchain, and no version."));
        }
        match &self.workdir {
            Some(at) if !is_inside(at) => {
                Err(format!("The working directory {at:?} is not one inside the checkout."))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether its network policies and secrets are within their bounds.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub fn check_network(&self) -> Result<(), String> {
        self.network.check()?;
        self.setup_network.check()?;
        if self.secrets.len() > SECRET_USES_MAX {
            return Err(format!("A recipe uses at most {SECRET_USES_MAX} secrets."));
        }
        self.secrets.iter().try_for_each(SecretUse::check)
    }

    /// Whether the repositories beside the checkout are within their bounds.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub fn check_repositories(&self) -> Result<(), String> {
        extra::check(&self.repositories)
    }

    /// This recipe, with what `stored` says where this one says nothing.
    #[must_use]
    pub fn or(self, stored: Self) -> Self {
        let plain = Self::default();
        Self {
            image: if self.image == plain.image { stored.image } else { self.image },
            setup: self.setup.or(stored.setup),
            maintenance: self.maintenance.or(stored.maintenance),
            start: self.start.or(stored.start),
            packages: if self.packages.is_empty() { stored.packages } else { self.packages },
            toolchains: stored.toolchains.into_iter().chain(self.toolchains).collect(),
            workdir: self.workdir.or(stored.workdir),
            variables: stored.variables.into_iter().chain(self.variables).collect(),
            // Whoever hands a task over does not widen what the record allows.
            network: stored.network,
            setup_network: stored.setup_network,
            // Or they could name a host of their own for a secret that they may not see.
            secrets: stored.secrets,
            // Or they could name one that they may not see.
            repositories: stored.repositories,
            checks: if self.checks.is_empty() { stored.checks } else { self.checks },
            resources: if self.resources == plain.resources { stored.resources } else { self.resources },
            // Both: what needs a person's yes by the record needs it whatever a task says.
            approve: stored.approve.into_iter().chain(self.approve).collect(),
        }
    }
}

/// A name or version: letters, digits and a few signs, beginning with a letter or digit.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+:~".contains(&byte);
    text.len() <= NEED_BYTES_MAX
        && text.bytes().all(is_part)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn is_inside(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= NEED_BYTES_MAX && !path.contains(['\0', '\n']) && path.split('/').all(is_part)
}

/// A recipe on record, as its newest or one of its earlier versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredEnvironment {
    /// Its id.
    pub id: EnvironmentId,
    /// For which repository.
    pub repository: RepositoryId,
    /// Its name, unique in the repository.
    pub name: String,
    /// 1, 2, …: each change makes a new one.
    pub version: u64,
    /// The recipe.
    pub recipe: Environment,
    /// Whose own it is; left out: the team's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// The names of the secrets that are kept for it. Their values are never shown.
    pub secrets: Vec<String>,
    /// When this version was made.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: UserId,
}

/// The body of a call that makes or changes a stored recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentDraft {
    /// Its name, 1 to 100 bytes without control characters and without a space at its ends.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub name: String,
    /// The recipe.
    #[serde(default)]
    pub recipe: Environment,
    /// Whose it is to be. It counts when it is made and is not changed later.
    #[serde(default)]
    pub audience: Audience,
}

/// The name of the stored recipe that tasks use which name none.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// Whose a stored recipe is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Everybody's who works on the repository; it takes the right to configure it.
    #[default]
    Team,
    /// The caller's alone; it takes the right to run tasks, and cannot say anything of the network.
    Personal,
}

/// The stored recipes of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentList {
    /// By name.
    pub environments: Vec<StoredEnvironment>,
}

/// What a sandbox may take of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Memory of all its processes, MiB.
    pub memory_mib: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Thousandths of a processor; 0: no limit.
    pub cpu_millis: u32,
    /// Bytes it may write to disk, MiB.
    pub disk_mib: u64,
    /// Open files a process.
    pub open_files: u32,
    /// Wall time of one set-up or check command, ms.
    pub command_ms: u64,
}

impl Default for Resources {
    /// What a rival's small machine offers (8 GiB memory and disk), room for `make -j` and a test suite's threads, and
    /// 30 minutes for a test suite.
    fn default() -> Self {
        Self {
            memory_mib: 8192,
            processes: 4096,
            cpu_millis: 0,
            disk_mib: 8192,
            open_files: 65_536,
            command_ms: 30 * 60 * 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_words_and_stay_inside() {
        let good = Environment {
            packages: vec!["libssl-dev".into(), "g++".into()],
            toolchains: [("python".into(), "3.11".into())].into(),
            workdir: Some("a/b".into()),
            ..Environment::default()
        };
        assert_eq!(good.validate_needs(), Ok(()));
        for packages in ["--allow-downgrades", "a b", "", "$(id)", "../x"] {
            assert!(
                Environment { packages: vec![packages.into()], ..Environment::default() }
                    .validate_needs()
                    .is_err()
            );
        }
        for workdir in ["/etc", "..", "a/../..", "", "a//b", "."] {
            assert!(
                Environment { workdir: Some(workdir.into()), ..Environment::default() }
                    .validate_needs()
                    .is_err()
            );
        }
    }

    #[test]
    fn what_a_task_says_goes_before_what_is_stored() {
        let check = |name: &str| Check::new(name, "true");
        let variables = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let stored = Environment {
            setup: Some("stored".into()),
            variables: variables(&[("A", "stored"), ("B", "stored")]),
            checks: vec![check("stored")],
            approve: vec!["rm *".into()],
            resources: Resources { memory_mib: 1, ..Resources::default() },
            ..Environment::default()
        };
        assert_eq!(Environment::default().or(stored.clone()), stored);
        let said = Environment {
            variables: variables(&[("A", "said")]),
            checks: vec![check("said")],
            approve: vec!["git push*".into()],
            ..Environment::default()
        };
        let both = said.or(stored.clone());
        assert_eq!(both.variables, variables(&[("A", "said"), ("B", "stored")]));
        assert_eq!(both.approve, ["rm *", "git push*"]);
        assert_eq!((both.checks, both.setup), (vec![check("said")], stored.setup));
    }
}
