//! Anthropic Messages (docs.claude.com/en/api/messages-streaming).
//!
//! Roles alternate and each result follows its call in the very next message, so entries in a row are merged. Two cache
//! marks move along at the end and one stays on the system prompt: the provider reads back from the last mark that it
//! knows, and one mark before the last is known from the request before.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Ended, Fold, LEFT_OUT, Next, Shape, arguments_object, clean_name, data_url, freeform_schema, known,
    parse, with_grammar,
};
use crate::answer::Answer;
use crate::fault::Fault;
use crate::settings::{Reasoning, Wire};
use crate::sse::Event;
use crate::usage::Tokens;
use crate::{Entry, Part, Request, Stop, Tool, ToolInput};

/// Tokens of thinking for models that want a number: Anthropic's own advice for coding agents to start with.
const THINKING_BUDGET: u64 = 8192;

/// The request's body.
pub(super) fn body(shape: &Shape, request: &Request) -> Value {
    let mut messages = messages(shape, &request.entries);
    let output_max = shape.output_max(request);
    mark(&mut messages);
    let mut body = json!({
        "model": shape.model,
        "max_tokens": output_max,
        "stream": true,
        "messages": messages,
    });
    if !request.instructions.is_empty() {
        let cache = json!({ "type": "ephemeral" });
        body["system"] = json!([{ "type": "text", "text": request.instructions, "cache_control": cache }]);
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    if shape.reasoning == Reasoning::Adaptive {
        // Newer models leave the thoughts out unless asked for a summary.
        body["thinking"] = json!({ "type": "adaptive", "display": "summarized" });
    } else if shape.reasoning == Reasoning::Budget && output_max > THINKING_BUDGET {
        body["thinking"] = json!({ "type": "enabled", "budget_tokens": THINKING_BUDGET });
    }
    body
}

fn tool(tool: &Tool) -> Value {
    let (description, schema) = match &tool.input {
        ToolInput::Json(schema) => (tool.description.clone(), schema.clone()),
        ToolInput::Grammar(grammar) => (with_grammar(&tool.description, grammar), freeform_schema()),
    };
    json!({ "name": tool.name, "description": description, "input_schema": schema })
}

fn messages(shape: &Shape, entries: &[Entry]) -> Vec<Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for entry in entries {
        let (role, blocks) = blocks(shape, entry);
        match messages.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, content)) if *last == role => content.extend(blocks),
            _ => messages.push((role, blocks)),
        }
    }
    messages.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

fn blocks(shape: &Shape, entry: &Entry) -> (&'static str, Vec<Value>) {
    match entry {
        Entry::User { parts } => ("user", content(shape, parts)),
        Entry::Assistant { text } if text.trim().is_empty() => ("assistant", Vec::new()),
        // The API refuses a final assistant text that ends in white space.
        Entry::Assistant { text } => ("assistant", vec![json!({ "type": "text", "text": text.trim_end() })]),
        Entry::Reasoning { wire, raw } if wire == Wire::Messages.name() => ("assistant", vec![raw.clone()]),
        Entry::Reasoning { .. } => ("assistant", Vec::new()),
        Entry::Call { id, name, input } => {
            let call = json!({
                "type": "tool_use",
                "id": id,
                "name": clean_name(name),
                "input": arguments_object(input),
            });
            ("assistant", vec![call])
        }
        Entry::Output { id, parts } => {
            let content = content(shape, parts);
            ("user", vec![json!({ "type": "tool_result", "tool_use_id": id, "content": content })])
        }
    }
}

/// Blocks for parts; empty texts are refused by the API and left out.
fn content(shape: &Shape, parts: &[Part]) -> Vec<Value> {
    let block = |part: &Part| match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(json!({ "type": "text", "text": text })),
        Part::Image(url) if shape.images => Some(match data_url(url) {
            Some((media_type, data)) => json!({
                "type": "image",
                "source": { "type": "base64", "media_type": media_type, "data": data },
            }),
            None => json!({ "type": "image", "source": { "type": "url", "url": url } }),
        }),
        Part::Image(_) => Some(json!({ "type": "text", "text": LEFT_OUT })),
    };
    parts.iter().filter_map(block).collect()
}

/// Marks the ends of the last two user messages for the cache.
fn mark(messages: &mut [Value]) {
    let users = messages.iter_mut().rev().filter(|message| message["role"] == "user");
    for message in users.take(2) {
        if let Some(Value::Object(block)) =
            message["content"].as_array_mut().and_then(|blocks| blocks.last_mut())
        {
            block.insert("cache_control".to_owned(), json!({ "type": "ephemeral" }));
        }
    }
}

/// The events that matter; all others are ignored.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Message {
    #[serde(rename = "message_start")]
    Begin { message: Start },
    #[serde(rename = "content_block_start")]
    BlockStart { index: u64, content_block: Value },
    #[serde(rename = "content_block_delta")]
    BlockDelta { index: u64, delta: Piece },
    #[serde(rename = "content_block_stop")]
    BlockStop { index: u64 },
    #[serde(rename = "message_delta")]
    Update {
        delta: End,
        #[serde(default)]
        usage: Figures,
    },
    #[serde(rename = "message_stop")]
    Stop {},
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    usage: Figures,
}

#[derive(Deserialize)]
struct End {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Figures {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

impl Figures {
    /// Later figures are totals and win; what they leave out stays.
    fn updated(self, later: Self) -> Self {
        Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation_input_tokens: later
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
        }
    }

    /// The provider counts cached tokens apart from `input_tokens`.
    fn tokens(self) -> Option<Tokens> {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        Some(Tokens {
            input: self.input_tokens?.saturating_add(cached).saturating_add(written),
            cached,
            written,
            output: self.output_tokens?,
            cost_usd: None,
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[serde(other)]
    Unknown,
}

/// A block under construction: as it began, and the pieces since.
struct Block {
    raw: Value,
    text: String,
    signature: String,
}

/// An answer under way.
#[derive(Default)]
pub(super) struct Folding {
    blocks: BTreeMap<u64, Block>,
    stop: Option<Stop>,
    figures: Figures,
}

impl Fold for Folding {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<Next, Fault> {
        let value = parse(event)?;
        if value["type"] == "error" || event.name == "error" {
            return Err(Fault::of_event(&value));
        }
        if value.get("type").is_none() {
            return Ok(Next::Ignored);
        }
        match known(value)? {
            Message::Begin { message } => self.figures = message.usage,
            Message::BlockStart { index, content_block } => self.start(index, content_block, answer),
            Message::BlockDelta { index, delta } => self.piece(index, delta, answer)?,
            Message::BlockStop { index } => {
                let block = self
                    .blocks
                    .remove(&index)
                    .ok_or_else(|| Fault::broken("a block ends that never began"))?;
                block.finish(answer);
            }
            Message::Update { delta, usage } => {
                self.figures = self.figures.updated(usage);
                if let Some(reason) = delta.stop_reason {
                    self.stop = Some(stop(&reason)?);
                }
            }
            Message::Stop {} => {
                let ended = self.closed(answer);
                return ended
                    .map(Next::Done)
                    .ok_or_else(|| Fault::broken("the answer ended without a reason"));
            }
            Message::Unknown => return Ok(Next::Ignored),
        }
        Ok(Next::Progress)
    }

    fn closed(&mut self, answer: &mut Answer) -> Option<Ended> {
        let stop = self.stop?;
        match stop {
            Stop::MaxTokens => answer.drop_held(),
            Stop::EndTurn | Stop::Refusal => answer.release(),
        }
        Some(Ended { stop, tokens: self.figures.tokens() })
    }
}

/// `pause_turn` ends only answers with tools that the provider runs, of which we send none: ask again.
fn stop(reason: &str) -> Result<Stop, Fault> {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Ok(Stop::MaxTokens),
        "refusal" => Ok(Stop::Refusal),
        "pause_turn" => Err(Fault::broken("the provider paused the answer")),
        _ => Ok(Stop::EndTurn),
    }
}

impl Folding {
    fn start(&mut self, index: u64, raw: Value, answer: &mut Answer) {
        let text = raw["text"].as_str().or_else(|| raw["thinking"].as_str()).unwrap_or_default().to_owned();
        match raw["type"].as_str() {
            Some("text") => answer.text(&text),
            Some("thinking") => answer.reasoning(&text),
            _ => {}
        }
        let signature = raw["signature"].as_str().unwrap_or_default().to_owned();
        self.blocks.insert(index, Block { raw, text, signature });
    }

    fn piece(&mut self, index: u64, piece: Piece, answer: &mut Answer) -> Result<(), Fault> {
        let block =
            self.blocks.get_mut(&index).ok_or_else(|| Fault::broken("a block goes on that never began"))?;
        match piece {
            Piece::TextDelta { text } => {
                answer.text(&text);
                block.text.push_str(&text);
            }
            Piece::ThinkingDelta { thinking } => {
                answer.reasoning(&thinking);
                block.text.push_str(&thinking);
            }
            Piece::InputJsonDelta { partial_json } => block.text.push_str(&partial_json),
            Piece::SignatureDelta { signature } => block.signature.push_str(&signature),
            Piece::Unknown => {}
        }
        Ok(())
    }
}

impl Block {
    fn finish(self, answer: &mut Answer) {
        let Self { mut raw, text, signature } = self;
        match raw["type"].as_str() {
            Some("text") => answer.entry(Entry::Assistant { text }),
            Some("tool_use") => {
                let id = raw["id"].as_str().unwrap_or_default();
                let whole = raw["input"].as_object().filter(|input| text.is_empty() && !input.is_empty());
                let arguments = whole.map_or(text.clone(), |_| raw["input"].to_string());
                answer.call_or_hold(id, raw["name"].as_str().unwrap_or_default(), &arguments);
            }
            Some("thinking") => {
                raw["thinking"] = json!(text);
                raw["signature"] = json!(signature);
                answer.entry(Entry::Reasoning { wire: Wire::Messages.name().to_owned(), raw });
            }
            Some("redacted_thinking") => {
                answer.entry(Entry::Reasoning { wire: Wire::Messages.name().to_owned(), raw });
            }
            _ => {}
        }
    }
}
