//! The form of the configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use legwork_domain::{Limits, Resources};
use legwork_model::{ModelFacts, Wire};
use serde::{Deserialize, Deserializer, de};

use super::serving::{ServerFile, WorkerFile};
use super::{complaint, units};

/// The whole file. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    #[serde(deserialize_with = "model_name")]
    pub(super) model: Option<String>,
    pub(super) providers: BTreeMap<String, ProviderFile>,
    pub(super) models: BTreeMap<String, ModelFacts>,
    pub(super) limits: LimitsFile,
    pub(super) resources: Resources,
    pub(super) mounts: Vec<MountFile>,
    pub(super) server: ServerFile,
    pub(super) worker: WorkerFile,
}

/// `[[mounts]]`: a host directory that every sandbox of this machine's worker shows, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountFile {
    /// Absolute path on this machine.
    pub host: PathBuf,
    /// Absolute path inside.
    pub inside: PathBuf,
}

/// `[providers.NAME]`: overrides a built-in provider key by key, or adds one (then `wire` and `base_url` are needed).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderFile {
    /// `responses`, `chat` or `messages`.
    pub wire: Option<Wire>,
    /// Where its API starts.
    pub base_url: Option<String>,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsFile {
    #[serde(deserialize_with = "dollars")]
    cost: Option<u64>,
    #[serde(deserialize_with = "length")]
    time: Option<u64>,
    tokens: Option<u64>,
    model_requests: Option<u32>,
    tool_calls: Option<u32>,
}

impl LimitsFile {
    pub(super) fn into_limits(self) -> Limits {
        let default = Limits::default();
        Limits {
            tokens: self.tokens,
            cost_microusd: self.cost,
            wall_ms: self.time.unwrap_or(default.wall_ms),
            model_requests: self.model_requests.unwrap_or(default.model_requests),
            tool_calls: self.tool_calls.unwrap_or(default.tool_calls),
        }
    }
}

fn model_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Some(name)),
        _ => Err(de::Error::custom(format!("{name:?} is not of the form provider/model"))),
    }
}

fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    units::time(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let sum = toml::Value::deserialize(deserializer)?;
    let text = sum.as_str().map_or_else(|| sum.to_string(), str::to_owned);
    units::money(&text).map(Some).map_err(de::Error::custom)
}

/// Reads `text`, the content of the file at `path`.
///
/// # Errors
/// A [`crate::exit::Trouble`] that names file, line, key and the way out.
pub(super) fn parse(path: &Path, text: &str) -> anyhow::Result<File> {
    toml::from_str(text).map_err(|error| complaint::of(path, text, &error).into())
}
