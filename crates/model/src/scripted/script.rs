use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::fault::Fault;
use crate::settings::{ModelFacts, Wire};
use crate::{EditTool, Error, Price};

/// Longest script taken. A replay of a real fix with its files is below 1 MiB.
const SCRIPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A script. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Which client a catalog opens. The endpoint itself answers all three.
    pub wire: Wire,
    /// The model's window.
    pub context_window: Option<u64>,
    /// The most output tokens.
    pub output_max: Option<u64>,
    /// The editing tool; by default the one of the wire's own models.
    pub edit_tool: Option<EditTool>,
    /// Whether it reads images; by default it does.
    pub images: Option<bool>,
    /// What it costs; by default unknown.
    pub price: Option<Price>,
    /// A file that every request is appended to, as one line of JSON.
    pub log: Option<PathBuf>,
    /// The answers, in order.
    #[serde(rename = "turn")]
    pub turns: Vec<Turn>,
    /// Answers to certain inputs, out of order.
    #[serde(rename = "aside")]
    pub asides: Vec<Turn>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Only if the newest input holds this. Turns in a row with `when` and the next one without are one step.
    pub when: Option<String>,
    /// What the request must hold.
    pub expect: Texts,
    /// Thinking.
    pub reasoning: String,
    /// What it says.
    pub text: String,
    /// What it calls.
    pub calls: Vec<Call>,
    /// Why it stops; by default as the calls say.
    pub stop: Option<String>,
    /// Its figures; by default four bytes a token.
    pub usage: Option<Figures>,
    /// How long it thinks before the first byte.
    pub delay_ms: u64,
    /// What goes wrong: the first try gets the first, and so on; then the answer comes whole.
    pub faults: Vec<Fault>,
}

/// None, one or more texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Texts {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        };
        texts.iter().map(String::as_str)
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool; it need not exist.
    pub tool: String,
    /// Its arguments: a table, or a string that is sent as it is, valid JSON or not.
    #[serde(default)]
    pub arguments: Option<Arguments>,
    /// Free text for a tool with a grammar. Where the request has the tool as a function, it becomes the value of the
    /// function's one required parameter.
    #[serde(default)]
    pub input: Option<String>,
    /// An id of one's own, to have it empty or twice.
    #[serde(default)]
    pub id: Option<String>,
}

/// Arguments of a call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Arguments {
    /// Sent as it is.
    Raw(String),
    /// Sent as JSON.
    Table(serde_json::Map<String, serde_json::Value>),
}

/// What an answer costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Tokens sent, cached ones included.
    pub input: u64,
    /// The part that came from the cache.
    #[serde(default)]
    pub cached: u64,
    /// Tokens received.
    pub output: u64,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`Error::Config`] with the place in the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let script: Self = toml::from_str(text)
            .map_err(|error| Error::Config(format!("the script does not parse: {error}")))?;
        if script.asides.iter().any(|aside| aside.when.as_deref().unwrap_or_default().is_empty()) {
            return Err(Error::Config("an [[aside]] of the script has no `when`".to_owned()));
        }
        Ok(script)
    }

    /// Reads a script from a file.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be read, is too large or does not parse.
    pub async fn load(path: &Path) -> Result<Self, Error> {
        let failed = |what: String| Error::Config(format!("the script {}: {what}", path.display()));
        let size = tokio::fs::metadata(path).await.map_err(|error| failed(error.to_string()))?.len();
        if size > SCRIPT_BYTES_MAX {
            return Err(failed(format!("{size} bytes, at most {SCRIPT_BYTES_MAX} are taken")));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
        let mut script = Self::parse(&text).map_err(|error| failed(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        script.log = script.log.map(|log| folder.join(log));
        Ok(script)
    }

    /// The model's facts, for the catalog.
    pub(crate) fn facts(&self) -> ModelFacts {
        let edit_tool = match self.wire {
            Wire::Responses => EditTool::Freeform,
            Wire::Chat => EditTool::ApplyPatch,
            Wire::Messages => EditTool::EditFile,
        };
        ModelFacts {
            context_window: self.context_window,
            output_max: self.output_max,
            edit_tool: Some(self.edit_tool.unwrap_or(edit_tool)),
            images: Some(self.images.unwrap_or(true)),
            price: self.price,
            reasoning: None,
        }
    }

    /// The turn for a request that holds `position` answers and whose newest input is found by `newest`.
    pub(crate) fn choose(&self, position: usize, newest: impl Fn(&str) -> bool) -> Choice<'_> {
        let fits = |turn: &&Turn| turn.when.as_deref().is_none_or(&newest);
        if let Some(aside) = self.asides.iter().find(fits) {
            return Choice::Aside(aside);
        }
        let mut steps = self.turns.split_inclusive(|turn| turn.when.is_none());
        match steps.nth(position) {
            None => Choice::Over,
            Some(step) => step.iter().find(fits).map_or(Choice::NoAlternative, Choice::Turn),
        }
    }
}

/// What a script has for a request.
pub(crate) enum Choice<'a> {
    Turn(&'a Turn),
    Aside(&'a Turn),
    /// No `when` of the step fits.
    NoAlternative,
    /// All turns were played.
    Over,
}
