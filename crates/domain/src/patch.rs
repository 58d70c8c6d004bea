use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::BlobId;

/// How much a patch changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffStat {
    /// Files touched.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// A git unified diff against the attempt's base commit.
///
/// `git apply --binary` on the base tree reproduces the agent's tree exactly. The bytes are a blob, so a patch of any
/// size costs the log one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Patch {
    /// The diff's bytes.
    pub blob: BlobId,
    /// The commit that it applies to, as full hexadecimal object id.
    pub base_commit: String,
    /// The tree that base + patch must have, as object id.
    pub tree: String,
    /// Its size.
    pub stat: DiffStat,
}

/// What the server has of an attempt's files, for who does not find them where they were worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Saved {
    /// Base and this are the files; `None`: no file differs from the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}
