//! The recipe of a sandbox. A recipe is data: it may come out of a hostile repository, so nothing in it can
//! name a path of the host. What only an operator may say ([`Mount`]) is kept apart and never read from a checkout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Check;

/// Most patterns of [`Environment::approve`]: each is held against every command.
pub const APPROVE_MAX: usize = 64;

/// Longest of them, in bytes.
pub const APPROVE_BYTES_MAX: usize = 1024;

/// What a fresh sandbox for a repository is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// The base image. `host`: this machine's `/usr` and toolchains, read-only.
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
    /// Host directories that the operator shows inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
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
            mounts: Vec::new(),
        }
    }
}

/// What may leave a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Nothing; loopback only.
    #[default]
    None,
}

/// A host directory shown read-only inside. Only an operator's word makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path on the worker's machine.
    pub host: String,
    /// Absolute path inside.
    pub inside: String,
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
