//! The recipe of a sandbox. A recipe is data: it may come out of a hostile repository, so nothing in it can
//! name a path of the host. What of the host a sandbox shows is for the worker's operator alone to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Check, EnvironmentId, RepositoryId, Timestamp, UserId};

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
    /// Environment variables inside.
    pub variables: BTreeMap<String, String>,
    /// What may leave the sandbox.
    pub network: NetworkPolicy,
    /// Commands that must pass on a clean sandbox with the patch.
    pub checks: Vec<Check>,
    /// Commands that the agent runs only if a person says yes: patterns such as `git push *`, where `*` stands for any text,
    /// held against each command of a line. At most [`APPROVE_MAX`]. A courtesy, no wall: a command can be hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
    /// What the sandbox may take of the machine.
    pub resources: Resources,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            image: "host".to_owned(),
            setup: None,
            variables: BTreeMap::new(),
            network: NetworkPolicy::default(),
            checks: Vec::new(),
            approve: Vec::new(),
            resources: Resources::default(),
        }
    }
}

impl Environment {
    /// This recipe, with what `stored` says where this one says nothing.
    #[must_use]
    pub fn or(self, stored: Self) -> Self {
        let plain = Self::default();
        Self {
            image: if self.image == plain.image { stored.image } else { self.image },
            setup: self.setup.or(stored.setup),
            variables: stored.variables.into_iter().chain(self.variables).collect(),
            network: if self.network == plain.network { stored.network } else { self.network },
            checks: if self.checks.is_empty() { stored.checks } else { self.checks },
            resources: if self.resources == plain.resources { stored.resources } else { self.resources },
            // Both: what needs a person's yes by the record needs it whatever a task says.
            approve: stored.approve.into_iter().chain(self.approve).collect(),
        }
    }
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
}

/// The stored recipes of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentList {
    /// By name.
    pub environments: Vec<StoredEnvironment>,
}

/// What may leave a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Nothing; loopback only.
    #[default]
    None,
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
    fn what_a_task_says_goes_before_what_is_stored() {
        let check = |name: &str| Check { name: name.into(), command: "true".into() };
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
