//! The models that are known. Data of 2026-11-23 from the vendors' pages; configuration overrides all of it.
//!
//! Where a vendor asks more beyond a length of context, the window here ends at that length: so the price is right, and
//! nobody pays double unasked.

use crate::settings::{ModelFacts, Reasoning};
use crate::{EditTool, Price};

struct Known {
    /// A model whose name begins so; the longest match counts.
    prefix: &'static str,
    /// Tokens of context.
    window: u64,
    /// The vendor's limit; `None` for open models, whose servers set their own.
    output_max: Option<u64>,
    edit_tool: EditTool,
    images: bool,
    reasoning: Reasoning,
    /// Input, cached input, output in US dollars per million tokens.
    price: Option<[f64; 3]>,
}

/// Whether the table's prices are what this provider asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priced {
    /// The vendor itself.
    Yes,
    /// Somebody else.
    No,
}

/// What the table says of a model, by its bare name (`gpt-5.1`) or as routers write it (`anthropic/claude-opus-4.5:beta`).
pub(crate) fn facts(model: &str, priced: Priced) -> Option<ModelFacts> {
    let name = model.rsplit('/').next().unwrap_or(model).replace('.', "-");
    let known =
        TABLE.iter().filter(|known| name.starts_with(known.prefix)).max_by_key(|known| known.prefix.len())?;
    let price = known.price.filter(|_| priced == Priced::Yes);
    Some(ModelFacts {
        context_window: Some(known.window),
        output_max: known.output_max,
        edit_tool: Some(known.edit_tool),
        images: Some(known.images),
        price: price.map(|[input, cached, output]| Price { input, cached, output }),
        reasoning: Some(known.reasoning),
    })
}

/// OpenAI's reasoning models.
const fn gpt(prefix: &'static str, window: u64, price: [f64; 3]) -> Known {
    Known {
        prefix,
        window,
        output_max: Some(128_000),
        edit_tool: EditTool::Freeform,
        images: true,
        reasoning: Reasoning::Adaptive,
        price: Some(price),
    }
}

/// Anthropic's models with adaptive thinking.
const fn claude(prefix: &'static str, window: u64, output_max: u64, price: Option<[f64; 3]>) -> Known {
    Known {
        prefix,
        window,
        output_max: Some(output_max),
        edit_tool: EditTool::EditFile,
        images: true,
        reasoning: Reasoning::Adaptive,
        price,
    }
}

/// Anthropic's models from before.
const fn early_claude(prefix: &'static str, output_max: u64, price: [f64; 3]) -> Known {
    Known { reasoning: Reasoning::Budget, ..claude(prefix, 200_000, output_max, Some(price)) }
}

/// Models with open weights and others that are mostly reached through somebody else.
const fn open(prefix: &'static str, window: u64, edit_tool: EditTool) -> Known {
    Known {
        prefix,
        window,
        output_max: None,
        edit_tool,
        images: false,
        reasoning: Reasoning::Off,
        price: None,
    }
}

const TABLE: &[Known] = &[
    gpt("gpt-5", 400_000, [1.25, 0.125, 10.0]),
    gpt("gpt-5-mini", 400_000, [0.25, 0.025, 2.0]),
    gpt("gpt-5-nano", 400_000, [0.05, 0.005, 0.4]),
    gpt("gpt-5-2", 400_000, [1.75, 0.175, 14.0]),
    gpt("gpt-5-3", 400_000, [1.75, 0.175, 14.0]),
    gpt("gpt-5-4", 272_000, [2.5, 0.25, 15.0]),
    gpt("gpt-5-4-mini", 272_000, [0.75, 0.075, 4.5]),
    gpt("gpt-5-4-nano", 272_000, [0.2, 0.02, 1.25]),
    gpt("gpt-5-5", 272_000, [5.0, 0.5, 30.0]),
    gpt("gpt-5-6", 272_000, [5.0, 0.5, 30.0]),
    gpt("gpt-5-6-terra", 272_000, [2.5, 0.25, 15.0]),
    gpt("gpt-5-6-luna", 272_000, [1.0, 0.1, 6.0]),
    Known { price: None, ..gpt("gpt-", 272_000, [0.0; 3]) },
    Known {
        output_max: Some(32_768),
        edit_tool: EditTool::ApplyPatch,
        reasoning: Reasoning::Off,
        ..gpt("gpt-4-1", 1_000_000, [2.0, 0.5, 8.0])
    },
    Known {
        output_max: Some(16_384),
        edit_tool: EditTool::ApplyPatch,
        reasoning: Reasoning::Off,
        ..gpt("gpt-4o", 128_000, [2.5, 1.25, 10.0])
    },
    Known {
        output_max: Some(100_000),
        edit_tool: EditTool::ApplyPatch,
        ..gpt("o4-mini", 200_000, [1.1, 0.275, 4.4])
    },
    Known {
        output_max: Some(100_000),
        edit_tool: EditTool::ApplyPatch,
        ..gpt("o3", 200_000, [2.0, 0.5, 8.0])
    },
    claude("claude-", 200_000, 64_000, None),
    claude("claude-fable-5", 1_000_000, 128_000, Some([10.0, 1.0, 50.0])),
    claude("claude-fable-5-2", 1_000_000, 128_000, Some([8.0, 0.8, 40.0])),
    claude("claude-opus-5", 1_000_000, 128_000, Some([5.0, 0.5, 25.0])),
    claude("claude-opus-5-5", 1_000_000, 128_000, Some([4.0, 0.4, 20.0])),
    claude("claude-sonnet-5", 1_000_000, 128_000, Some([2.0, 0.2, 10.0])),
    claude("claude-haiku-5", 1_000_000, 128_000, None),
    claude("claude-opus-4-6", 200_000, 128_000, Some([5.0, 0.5, 25.0])),
    claude("claude-opus-4-7", 200_000, 128_000, Some([5.0, 0.5, 25.0])),
    claude("claude-opus-4-8", 200_000, 128_000, Some([5.0, 0.5, 25.0])),
    claude("claude-sonnet-4-6", 200_000, 64_000, Some([3.0, 0.3, 15.0])),
    early_claude("claude-haiku-4-5", 64_000, [1.0, 0.1, 5.0]),
    early_claude("claude-opus-4-5", 64_000, [5.0, 0.5, 25.0]),
    early_claude("claude-sonnet-4", 64_000, [3.0, 0.3, 15.0]),
    early_claude("claude-opus-4", 32_000, [15.0, 1.5, 75.0]),
    open("gpt-oss", 131_072, EditTool::ApplyPatch),
    open("qwen3-coder", 262_144, EditTool::EditFile),
    open("qwen", 131_072, EditTool::EditFile),
    open("deepseek", 131_072, EditTool::EditFile),
    open("kimi-k2", 262_144, EditTool::EditFile),
    open("glm-", 200_000, EditTool::EditFile),
    open("devstral", 131_072, EditTool::EditFile),
    Known { images: true, ..open("gemini-", 1_000_000, EditTool::EditFile) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts_whatever_the_router_writes() {
        let window = |name: &str| facts(name, Priced::No).and_then(|facts| facts.context_window);
        assert_eq!(window("gpt-5.1-codex-max"), Some(400_000));
        assert_eq!(window("openai/gpt-5.4:floor"), Some(272_000));
        assert_eq!(window("no-such-model"), None);
        let facts = |name| facts(name, Priced::Yes).unwrap();
        assert_eq!(facts("claude-opus-4-20250514").reasoning, Some(Reasoning::Budget));
        assert_eq!(facts("claude-opus-4-7").reasoning, Some(Reasoning::Adaptive));
        assert_eq!(facts("claude-opus-5-5").price.unwrap().output, 20.0);
        assert_eq!(facts("gpt-oss:20b").edit_tool, Some(EditTool::ApplyPatch));
        assert_eq!(facts("gpt-7").price, None);
    }

    #[test]
    fn no_model_is_in_the_table_twice() {
        let mut prefixes: Vec<&str> = TABLE.iter().map(|known| known.prefix).collect();
        prefixes.sort_unstable();
        assert!(prefixes.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
