use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{EditTool, Error, Price, Secret};

/// Everything that a [`crate::Catalog`] is made from. The caller reads files and environment; this room reads neither.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who can be asked, by name.
    pub providers: BTreeMap<String, Provider>,
    /// What is known better than the built-in table, by `provider/model`.
    pub models: BTreeMap<String, ModelFacts>,
    /// How long a silence may last.
    pub timing: Timing,
    /// How often a failed try is repeated.
    pub retries: Retries,
    /// Which files may be opened as scripted models.
    pub scripts: Scripts,
}

/// Which files may be opened as scripted models. A script is read, and may name a log that is written.
#[derive(Clone, Debug, Default)]
pub enum Scripts {
    /// All: whoever names a model may read and write this machine's files anyway.
    #[default]
    Any,
    /// Those below these directories.
    Below(Vec<PathBuf>),
}

impl Scripts {
    /// Where the file really is, if it may be opened.
    pub(crate) fn allowed(&self, file: &str) -> Result<PathBuf, Error> {
        let Self::Below(directories) = self else { return Ok(file.into()) };
        let refused = || {
            Error::Config(
                "this machine's operator does not allow that script: name a model, or allow its directory with `scripts` under [worker] of the worker's configuration"
                    .to_owned(),
            )
        };
        let path = Path::new(file).canonicalize().map_err(|_| refused())?;
        let is_below =
            |directory: &PathBuf| directory.canonicalize().is_ok_and(|directory| path.starts_with(directory));
        if directories.iter().any(is_below) { Ok(path) } else { Err(refused()) }
    }
}

/// Somebody who offers models over HTTP.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Which format it speaks.
    pub wire: Wire,
    /// Where; the wire's own path (`responses`, `chat/completions`, `v1/messages`) is added. A query is kept.
    pub base_url: String,
    /// Sent as bearer token, or as `x-api-key` over [`Wire::Messages`].
    pub api_key: Option<Secret>,
    /// Sent with each request; they win over our own. Values never appear in errors.
    pub headers: BTreeMap<String, String>,
}

/// A streaming format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// OpenAI Responses.
    #[default]
    Responses,
    /// Chat Completions, as OpenAI, Ollama, vLLM, llama.cpp and OpenRouter speak it.
    Chat,
    /// Anthropic Messages.
    Messages,
}

impl Wire {
    /// Its name, as in configuration and in [`crate::Entry::Reasoning`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Responses => "responses",
            Self::Chat => "chat",
            Self::Messages => "messages",
        }
    }
}

/// What configuration says of a model. What it leaves out comes from the table of known models, then from defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelFacts {
    /// Tokens of context, output included.
    pub context_window: Option<u64>,
    /// The most output tokens that are asked for.
    pub output_max: Option<u64>,
    /// Which editing tool it was trained on.
    pub edit_tool: Option<EditTool>,
    /// Whether it reads images.
    pub images: Option<bool>,
    /// What it costs.
    pub price: Option<Price>,
    /// How thinking is asked for.
    pub reasoning: Option<Reasoning>,
}

/// How a model is asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// Not at all; parameters of reasoning would be refused.
    Off,
    /// As much as it finds right. Responses: encrypted items and summaries; Messages: adaptive thinking.
    Adaptive,
    /// With a fixed budget, for Messages models from before adaptive thinking.
    Budget,
}

/// How long a provider may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// To a TCP (and TLS) connection.
    pub connect_ms: u64,
    /// To the first byte of an answer over plain HTTP.
    pub load_ms: u64,
    /// From one data event to the next, and to the first byte over HTTPS.
    pub idle_ms: u64,
    /// From one event that brings the answer forward to the next; a server that only pings ends here.
    pub progress_ms: u64,
}

impl Default for Timing {
    /// 10 s to connect: no honest path takes longer. 90 s of silence: hosted providers ping every 10–30 s. 15 min without
    /// progress: above the longest thinking without a summary. 5 min for a local server, which speaks plain HTTP and may
    /// load the model first (Ollama's own limit for that).
    fn default() -> Self {
        Self { connect_ms: 10_000, load_ms: 300_000, idle_ms: 90_000, progress_ms: 900_000 }
    }
}

/// How often a failed try is repeated, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// After a 429, a 5xx or no connection; counted anew once an answer begins.
    pub connect: u32,
    /// After an answer that broke off.
    pub stream: u32,
    /// The first wait; it doubles with each failure in a row, ± 10 %.
    pub base_ms: u64,
    /// The first wait after "too many requests" or "overloaded" without a named time.
    pub busy_ms: u64,
    /// The longest wait that a provider may ask for; beyond it the call fails at once.
    pub wait_max_ms: u64,
}

impl Default for Retries {
    /// Codex CLI's figures (4, 5, 200 ms); 1 s when busy since rate limits count by the minute; 5 min since a person who
    /// waits longer wants to be told instead.
    fn default() -> Self {
        Self { connect: 4, stream: 5, base_ms: 200, busy_ms: 1000, wait_max_ms: 300_000 }
    }
}

/// A provider that needs no configuration but a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinProvider {
    /// Its name.
    pub name: &'static str,
    /// Which format it speaks.
    pub wire: Wire,
    /// Where.
    pub base_url: &'static str,
    /// The variable that usually holds its key.
    pub api_key_env: Option<&'static str>,
    /// The variable that usually holds another base URL.
    pub base_url_env: Option<&'static str>,
}

/// The providers that need no configuration, in the order in which a default is looked for.
#[must_use]
pub const fn builtin_providers() -> &'static [BuiltinProvider] {
    &[
        BuiltinProvider {
            name: "openai",
            wire: Wire::Responses,
            base_url: "https://api.openai.com/v1",
            api_key_env: Some("OPENAI_API_KEY"),
            base_url_env: Some("OPENAI_BASE_URL"),
        },
        BuiltinProvider {
            name: "anthropic",
            wire: Wire::Messages,
            base_url: "https://api.anthropic.com",
            api_key_env: Some("ANTHROPIC_API_KEY"),
            base_url_env: Some("ANTHROPIC_BASE_URL"),
        },
        BuiltinProvider {
            name: "openrouter",
            wire: Wire::Chat,
            base_url: "https://openrouter.ai/api/v1",
            api_key_env: Some("OPENROUTER_API_KEY"),
            base_url_env: None,
        },
        BuiltinProvider {
            name: "ollama",
            wire: Wire::Chat,
            base_url: "http://127.0.0.1:11434/v1",
            api_key_env: None,
            base_url_env: Some("OLLAMA_BASE_URL"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_lies_below_a_directory_that_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        for file in [inside.join("a"), outside.clone()] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let below = Scripts::Below(vec![inside.clone()]);
        let allowed = |path: std::path::PathBuf| below.allowed(path.to_str().unwrap()).is_ok();
        assert!(allowed(inside.join("a")));
        for path in [outside.clone(), inside.join("link"), inside.join("../out"), inside.join("none")] {
            assert!(!allowed(path));
        }
        assert!(Scripts::Any.allowed(outside.to_str().unwrap()).is_ok());
    }
}
