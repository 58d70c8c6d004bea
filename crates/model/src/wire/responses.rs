//! OpenAI Responses (platform.openai.com/docs/api-reference/responses).
//!
//! Nothing is stored at the provider: the whole context goes with each request, and reasoning goes along encrypted.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ended, Fold, LEFT_OUT, Next, Shape, arguments_text, clean_name, known, parse};
use crate::answer::Answer;
use crate::fault::Fault;
use crate::settings::{Reasoning, Wire};
use crate::sse::Event;
use crate::usage::Tokens;
use crate::{CallInput, Entry, Part, Request, Stop, Tool, ToolInput};

/// The request's body.
pub(super) fn body(shape: &Shape, request: &Request) -> Value {
    let mut body = json!({
        "model": shape.model,
        "instructions": request.instructions,
        "input": input(shape, &request.entries),
        "tools": request.tools.iter().map(tool).collect::<Vec<_>>(),
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "store": false,
        "stream": true,
    });
    if shape.reasoning != Reasoning::Off {
        body["include"] = json!(["reasoning.encrypted_content"]);
        body["reasoning"] = json!({ "summary": "auto" });
    }
    if let Some(most) = shape.output_asked(request) {
        body["max_output_tokens"] = json!(most);
    }
    if !request.cache_key.is_empty() {
        body["prompt_cache_key"] = json!(request.cache_key);
    }
    body
}

fn tool(tool: &Tool) -> Value {
    match &tool.input {
        ToolInput::Json(schema) => json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": schema,
            "strict": false,
        }),
        ToolInput::Grammar(grammar) => json!({
            "type": "custom",
            "name": tool.name,
            "description": tool.description,
            "format": { "type": "grammar", "syntax": "lark", "definition": grammar },
        }),
    }
}

fn input(shape: &Shape, entries: &[Entry]) -> Vec<Value> {
    let mut outputs: HashMap<&str, &str> = HashMap::new();
    let mut items = Vec::with_capacity(entries.len());
    for entry in entries {
        items.push(match entry {
            Entry::User { parts } => {
                json!({ "type": "message", "role": "user", "content": content(shape, parts) })
            }
            Entry::Assistant { text } => json!({
                "type": "message",
                "role": "assistant",
                // The short form: the long one wants the provider's id, which nothing stored here has.
                "content": text,
            }),
            Entry::Reasoning { wire, raw } if wire == Wire::Responses.name() => raw.clone(),
            Entry::Reasoning { .. } => continue,
            Entry::Call { id, name, input } => {
                let (kind, field, output, text) = match input {
                    CallInput::Json(text) => ("function_call", "arguments", "function_call_output", text),
                    CallInput::Text(text) => ("custom_tool_call", "input", "custom_tool_call_output", text),
                };
                outputs.insert(id, output);
                json!({ "type": kind, "call_id": id, "name": clean_name(name), field: text })
            }
            Entry::Output { id, parts } => {
                let kind = outputs.get(id.as_str()).copied().unwrap_or("function_call_output");
                json!({ "type": kind, "call_id": id, "output": output(shape, parts) })
            }
        });
    }
    items
}

/// Plain text where it is only that: the form that models were trained on.
fn output(shape: &Shape, parts: &[Part]) -> Value {
    match parts {
        [Part::Text(text)] => json!(text),
        [] => json!(""),
        parts => json!(content(shape, parts)),
    }
}

fn content(shape: &Shape, parts: &[Part]) -> Vec<Value> {
    let part = |part: &Part| match part {
        Part::Text(text) => json!({ "type": "input_text", "text": text }),
        Part::Image(url) if shape.images => {
            json!({ "type": "input_image", "image_url": url, "detail": "auto" })
        }
        Part::Image(_) => json!({ "type": "input_text", "text": LEFT_OUT }),
    };
    parts.iter().map(part).collect()
}

/// The events that matter; all others are ignored.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Message {
    #[serde(rename = "response.output_text.delta")]
    Text { delta: String },
    #[serde(rename = "response.refusal.delta")]
    Refusal { delta: String },
    #[serde(rename = "response.reasoning_summary_text.delta", alias = "response.reasoning_text.delta")]
    Reasoning { delta: String },
    #[serde(rename = "response.reasoning_summary_part.added")]
    ReasoningPart {
        #[serde(default)]
        summary_index: u64,
    },
    #[serde(
        rename = "response.created",
        alias = "response.output_item.added",
        alias = "response.custom_tool_call_input.delta",
        alias = "response.function_call_arguments.delta"
    )]
    Moving {},
    #[serde(rename = "response.output_item.done")]
    Item { item: Value },
    #[serde(rename = "response.completed")]
    Completed { response: Outcome },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Outcome },
    #[serde(rename = "response.failed")]
    Failed { response: Value },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    usage: Option<Figures>,
    #[serde(default)]
    output: Vec<Value>,
    #[serde(default)]
    incomplete_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Figures {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<Cached>,
}

#[derive(Deserialize)]
struct Cached {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Figures {
    fn tokens(&self) -> Tokens {
        let cached =
            self.input_tokens_details.as_ref().and_then(|details| details.cached_tokens).unwrap_or(0);
        Tokens { input: self.input_tokens, cached, output: self.output_tokens, ..Tokens::default() }
    }
}

/// An answer under way.
#[derive(Default)]
pub(super) struct Folding {
    refused: bool,
}

impl Fold for Folding {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<Next, Fault> {
        let value = parse(event)?;
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(&event.name);
        if kind == "error" || (kind.is_empty() && value.get("error").is_some_and(Value::is_object)) {
            return Err(Fault::of_event(&value));
        }
        if kind.is_empty() || value.get("type").is_none() {
            return Ok(Next::Ignored);
        }
        match known(value)? {
            Message::Text { delta } => answer.text(&delta),
            Message::Refusal { delta } => {
                self.refused = true;
                answer.text(&delta);
            }
            Message::Reasoning { delta } => answer.reasoning(&delta),
            Message::ReasoningPart { summary_index: 0 } | Message::Moving {} => {}
            Message::ReasoningPart { .. } => answer.reasoning("\n\n"),
            Message::Item { item } => self.item(item, answer)?,
            Message::Completed { response } => return self.completed(response, answer),
            Message::Incomplete { response } => return self.incomplete(response),
            Message::Failed { response } => return Err(Fault::of_event(&response)),
            Message::Unknown => return Ok(Next::Ignored),
        }
        Ok(Next::Progress)
    }

    fn closed(&mut self, _answer: &mut Answer) -> Option<Ended> {
        None
    }
}

/// A finished item.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        #[serde(default)]
        content: Vec<Content>,
    },
    FunctionCall {
        #[serde(default)]
        call_id: String,
        name: String,
        #[serde(default)]
        arguments: Value,
    },
    CustomToolCall {
        #[serde(default)]
        call_id: String,
        name: String,
        #[serde(default)]
        input: String,
    },
    Reasoning {
        #[serde(default)]
        encrypted_content: Option<String>,
        #[serde(default)]
        content: Option<Vec<Value>>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    OutputText {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Unknown,
}

impl Folding {
    fn item(&mut self, item: Value, answer: &mut Answer) -> Result<(), Fault> {
        match known(item.clone())? {
            Item::Message { content } => answer.entry(Entry::Assistant { text: self.text(content) }),
            Item::FunctionCall { call_id, name, arguments } => {
                answer.call(&call_id, &name, &arguments_text(&arguments));
            }
            Item::CustomToolCall { call_id, name, input } => answer.freeform_call(&call_id, &name, &input),
            Item::Reasoning { encrypted_content, content } => {
                // Without its content the provider would look for the item in its store, where it is not.
                if encrypted_content.is_some() || content.is_some_and(|content| !content.is_empty()) {
                    answer.entry(Entry::Reasoning { wire: Wire::Responses.name().to_owned(), raw: item });
                }
            }
            Item::Unknown => {}
        }
        Ok(())
    }

    fn text(&mut self, content: Vec<Content>) -> String {
        let mut whole = String::new();
        for part in content {
            match part {
                Content::OutputText { text } => whole.push_str(&text),
                Content::Refusal { refusal } => {
                    self.refused = true;
                    whole.push_str(&refusal);
                }
                Content::Unknown => {}
            }
        }
        whole
    }

    fn completed(&mut self, response: Outcome, answer: &mut Answer) -> Result<Next, Fault> {
        // Some imitators send the items only here.
        if answer.entries() == 0 {
            for item in response.output {
                self.item(item, answer)?;
            }
        }
        let stop = if self.refused { Stop::Refusal } else { Stop::EndTurn };
        Ok(Next::Done(Ended { stop, tokens: response.usage.as_ref().map(Figures::tokens) }))
    }

    /// The limit would be reached again and the filter would strike again; anything else is worth another try.
    fn incomplete(&self, response: Outcome) -> Result<Next, Fault> {
        let reason = response.incomplete_details.map(|details| details.reason).unwrap_or_default();
        let stop = match reason.as_str() {
            "max_output_tokens" => Stop::MaxTokens,
            "content_filter" => Stop::Refusal,
            _ => return Err(Fault::broken(format!("the answer is incomplete (reason {reason:?})"))),
        };
        Ok(Next::Done(Ended { stop, tokens: response.usage.as_ref().map(Figures::tokens) }))
    }
}
