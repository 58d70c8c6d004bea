use serde::{Deserialize, Serialize};

/// What is known of a model. Data, not code: a table has the known ones, config overrides it, unknown ones get
/// [`Info::unknown`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// `provider/model`.
    pub name: String,
    /// Tokens of context, output included.
    pub context_window: u64,
    /// The most output tokens that are asked for.
    pub output_max: u64,
    /// Which editing tool it was trained on.
    pub edit_tool: EditTool,
    /// Whether it reads images.
    pub images: bool,
    /// What it costs, where known.
    pub price: Option<Price>,
}

/// The editing tool that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditTool {
    /// `apply_patch` as a custom tool with a grammar.
    Freeform,
    /// `apply_patch` as a function with one string.
    ApplyPatch,
    /// `edit_file`, `write_file`, `read_file`.
    EditFile,
}

/// Prices in US dollars per million tokens, which is the same as millionths of a dollar per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Listed")]
pub struct Price {
    /// Tokens sent that were not cached.
    pub input: f64,
    /// Tokens read from the cache.
    pub cached: f64,
    /// Tokens received.
    pub output: f64,
}

/// A price as a list gives it: without a rebate for cached tokens they cost what the others do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    input: f64,
    cached: Option<f64>,
    output: f64,
}

impl From<Listed> for Price {
    fn from(Listed { input, cached, output }: Listed) -> Self {
        Self { input, cached: cached.unwrap_or(input), output }
    }
}

impl Info {
    /// The defaults for a model that no table names: a window that current small open models have, JSON tools, no
    /// images, no price.
    #[must_use]
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            context_window: 128_000,
            output_max: 16_384,
            edit_tool: EditTool::ApplyPatch,
            images: false,
            price: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_without_a_rebate_and_one_with_a_slip() {
        let read = |text: &str| serde_json::from_str::<Price>(text).ok();
        let whole = Price { input: 2.0, cached: 2.0, output: 8.0 };
        assert_eq!(read(r#"{"input": 2.0, "output": 8.0}"#), Some(whole));
        assert_eq!(read(r#"{"input": 2.0, "cashed": 0.1, "output": 8.0}"#), None);
    }
}
