//! Chat Completions (platform.openai.com/docs/api-reference/chat), as OpenAI, Ollama, vLLM, llama.cpp and OpenRouter
//! speak it.
//!
//! The format has no typed items, so reasoning comes in fields of several names; it is kept as the message fields that
//! must go back. Calls come in pieces by index; servers differ in what they repeat, and some send a call whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Ended, Fold, ImageNotice, LEFT_OUT, Next, Shape, arguments_object, arguments_text, clean_name,
    freeform_schema, known, parse, text_of, with_grammar,
};
use crate::answer::Answer;
use crate::fault::Fault;
use crate::settings::Wire;
use crate::sse::Event;
use crate::usage::Tokens;
use crate::{Entry, Part, Request, Stop, Tool, ToolInput};

/// Most calls in one answer: OpenAI's limit for tools in one request, and nobody calls each at once.
const CALLS_MAX: usize = 128;

/// The request's body.
pub(super) fn body(shape: &Shape, request: &Request) -> Value {
    let mut body = json!({
        "model": shape.model,
        "messages": messages(shape, request),
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    if let Some(most) = shape.output_asked(request) {
        body["max_completion_tokens"] = json!(most);
    }
    body
}

fn tool(tool: &Tool) -> Value {
    let (description, parameters) = match &tool.input {
        ToolInput::Json(schema) => (tool.description.clone(), schema.clone()),
        ToolInput::Grammar(grammar) => (with_grammar(&tool.description, grammar), freeform_schema()),
    };
    let function = json!({ "name": tool.name, "description": description, "parameters": parameters });
    json!({ "type": "function", "function": function })
}

/// Messages under construction: what the model said in a row is one message, and images of outputs wait until all
/// outputs are there, for only a user's message may hold them.
#[derive(Default)]
struct Messages {
    done: Vec<Value>,
    assistant: Map<String, Value>,
    images: Vec<Value>,
}

fn messages(shape: &Shape, request: &Request) -> Vec<Value> {
    let mut messages = Messages::default();
    if !request.instructions.is_empty() {
        messages.done.push(json!({ "role": "system", "content": request.instructions }));
    }
    for entry in &request.entries {
        messages.entry(shape, entry);
    }
    messages.close();
    messages.done
}

impl Messages {
    fn entry(&mut self, shape: &Shape, entry: &Entry) {
        match entry {
            Entry::User { parts } => {
                self.close();
                self.done.push(json!({ "role": "user", "content": content(shape, parts) }));
            }
            Entry::Assistant { text } => {
                self.next_answer();
                self.said("content", json!(text));
            }
            Entry::Reasoning { wire, raw } => {
                if let (true, Value::Object(fields)) = (wire == Wire::Chat.name(), raw) {
                    self.next_answer();
                    fields.iter().for_each(|(name, value)| self.said(name, value.clone()));
                }
            }
            Entry::Call { id, name, input } => {
                let arguments = arguments_object(input).to_string();
                let function = json!({ "name": clean_name(name), "arguments": arguments });
                self.said("tool_calls", json!([]));
                if let Some(Value::Array(calls)) = self.assistant.get_mut("tool_calls") {
                    calls.push(json!({ "id": id, "type": "function", "function": function }));
                }
            }
            Entry::Output { id, parts } => self.output(shape, id, parts),
        }
    }

    /// Ends a message that has its text or calls already: what comes now is another.
    fn next_answer(&mut self) {
        if self.assistant.contains_key("content") || self.assistant.contains_key("tool_calls") {
            self.close();
        }
    }

    /// Puts a field into the assistant's message; a list that is there already stays.
    fn said(&mut self, field: &str, value: Value) {
        self.close_outputs();
        self.assistant.entry(field).or_insert(value);
    }

    fn output(&mut self, shape: &Shape, id: &str, parts: &[Part]) {
        self.close_assistant();
        let notice = if shape.images { ImageNotice::Follows } else { ImageNotice::LeftOut };
        self.done.push(json!({ "role": "tool", "tool_call_id": id, "content": text_of(parts, notice) }));
        if shape.images {
            let images = parts.iter().filter(|part| matches!(part, Part::Image(_)));
            self.images.extend(images.map(|image| part(shape, image)));
        }
    }

    fn close(&mut self) {
        self.close_assistant();
        self.close_outputs();
    }

    fn close_assistant(&mut self) {
        if self.assistant.is_empty() {
            return;
        }
        let mut message = std::mem::take(&mut self.assistant);
        message.insert("role".to_owned(), json!("assistant"));
        message.entry("content").or_insert(Value::Null);
        self.done.push(Value::Object(message));
    }

    fn close_outputs(&mut self) {
        if !self.images.is_empty() {
            let images = std::mem::take(&mut self.images);
            self.done.push(json!({ "role": "user", "content": images }));
        }
    }
}

/// A string where it is only text: the oldest servers take nothing else.
fn content(shape: &Shape, parts: &[Part]) -> Value {
    if parts.iter().all(|part| matches!(part, Part::Text(_))) {
        return json!(text_of(parts, ImageNotice::LeftOut));
    }
    parts.iter().map(|one| part(shape, one)).collect()
}

fn part(shape: &Shape, part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Image(url) if shape.images => json!({ "type": "image_url", "image_url": { "url": url } }),
        Part::Image(_) => json!({ "type": "text", "text": LEFT_OUT }),
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Figures>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Piece>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Piece {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    reasoning_details: Option<Vec<Map<String, Value>>>,
    #[serde(default)]
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Function,
}

#[derive(Default, Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Value,
}

#[derive(Clone, Copy, Deserialize)]
struct Figures {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Cached>,
    /// DeepSeek's name for the same.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    /// OpenRouter's bill in US dollars.
    #[serde(default)]
    cost: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
struct Cached {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Figures {
    fn tokens(self) -> Option<Tokens> {
        let details = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        Some(Tokens {
            input: self.prompt_tokens?,
            cached: details.or(self.prompt_cache_hit_tokens).unwrap_or(0),
            written: 0,
            output: self.completion_tokens?,
            cost_usd: self.cost,
        })
    }
}

/// A call under construction.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn whole(&self) -> bool {
        serde_json::from_str::<Value>(&self.arguments).is_ok_and(|value| value.is_object())
    }
}

/// An answer under way.
#[derive(Default)]
pub(super) struct Folding {
    text: String,
    reasoning: BTreeMap<&'static str, String>,
    details: Vec<Map<String, Value>>,
    calls: Vec<Call>,
    refused: bool,
    stop: Option<Stop>,
    tokens: Option<Tokens>,
}

impl Fold for Folding {
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<Next, Fault> {
        if event.data.trim() == "[DONE]" {
            let ended = self.closed(answer);
            return ended
                .map(Next::Done)
                .ok_or_else(|| Fault::broken("the stream ended without a finish reason"));
        }
        let value = parse(event)?;
        if event.name == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Fault::of_event(&value));
        }
        let chunk: Chunk = known(value)?;
        let figures = chunk.usage.and_then(Figures::tokens);
        let moved = figures.is_some() || !chunk.choices.is_empty();
        self.tokens = figures.or(self.tokens);
        if let Some(choice) = chunk.choices.into_iter().next() {
            self.piece(choice.delta.unwrap_or_default(), answer)?;
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish(&reason, answer)?;
            }
        }
        Ok(if moved { Next::Progress } else { Next::Ignored })
    }

    fn closed(&mut self, answer: &mut Answer) -> Option<Ended> {
        let stop = self.stop?;
        self.flush(stop, answer);
        Some(Ended { stop, tokens: self.tokens })
    }
}

impl Folding {
    fn piece(&mut self, piece: Piece, answer: &mut Answer) -> Result<(), Fault> {
        // OpenRouter sends the same words as `reasoning` and in `reasoning_details`; vLLM as two fields in turn.
        let thoughts = [("reasoning_content", piece.reasoning_content), ("reasoning", piece.reasoning)];
        if let Some((field, text)) = thoughts.into_iter().find_map(|(field, text)| Some((field, text?))) {
            answer.reasoning(&text);
            self.reasoning.entry(field).or_default().push_str(&text);
        }
        for detail in piece.reasoning_details.into_iter().flatten() {
            self.detail(detail);
        }
        if let Some(text) = piece.content {
            answer.text(&text);
            self.text.push_str(&text);
        }
        if let Some(text) = piece.refusal.filter(|text| !text.is_empty()) {
            self.refused = true;
            answer.text(&text);
            self.text.push_str(&text);
        }
        for call in piece.tool_calls.into_iter().flatten() {
            self.call(call);
        }
        if self.calls.len() > CALLS_MAX {
            return Err(Fault::broken("the answer has more calls than any honest one"));
        }
        Ok(())
    }

    /// Joins the pieces of a detail: text grows, all else is as in the last piece.
    fn detail(&mut self, piece: Map<String, Value>) {
        let index = piece.get("index");
        let same = self.details.iter_mut().find(|detail| index.is_some() && detail.get("index") == index);
        let Some(detail) = same else {
            self.details.push(piece);
            return;
        };
        for (field, value) in piece {
            match (detail.get_mut(&field), value) {
                (Some(Value::String(old)), Value::String(new))
                    if ["text", "summary", "data"].contains(&field.as_str()) =>
                {
                    old.push_str(&new);
                }
                (_, Value::Null) => {}
                (_, value) => drop(detail.insert(field, value)),
            }
        }
    }

    fn call(&mut self, piece: CallPiece) {
        let id = piece.id.unwrap_or_default();
        let name = piece.function.name.unwrap_or_default();
        let at = self.position(piece.index, &id, &name).unwrap_or_else(|| {
            self.calls.push(Call { index: piece.index, ..Call::default() });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&arguments_text(&piece.function.arguments));
    }

    /// Which call a piece belongs to; `None`: a new one. The index decides, but some servers give every call the index 0
    /// or none at all: there another id is another call, and so is a name after arguments that are whole.
    fn position(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let at = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index)?,
            None if id.is_empty() => self.calls.len().checked_sub(1)?,
            None => self.calls.iter().rposition(|call| call.id == id)?,
        };
        let call = self.calls.get(at)?;
        let other_id = !id.is_empty() && !call.id.is_empty() && call.id != id;
        let begins_again = !name.is_empty() && !call.name.is_empty() && call.whole();
        (!other_id && !begins_again).then_some(at)
    }

    fn finish(&mut self, reason: &str, answer: &mut Answer) -> Result<(), Fault> {
        let stop = match reason {
            "length" | "max_tokens" => Stop::MaxTokens,
            "content_filter" | "refusal" => Stop::Refusal,
            "error" => return Err(Fault::broken("the provider ended the answer with an error")),
            _ if self.refused => Stop::Refusal,
            _ => Stop::EndTurn,
        };
        self.stop = Some(stop);
        self.flush(stop, answer);
        Ok(())
    }

    /// Gives out what is finished. Called at the finish reason, so that calls start before the figures come.
    fn flush(&mut self, stop: Stop, answer: &mut Answer) {
        let mut thoughts: Map<String, Value> = std::mem::take(&mut self.reasoning)
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(field, text)| (field.to_owned(), json!(text)))
            .collect();
        let details = std::mem::take(&mut self.details);
        if !details.is_empty() {
            thoughts.insert("reasoning_details".to_owned(), json!(details));
        }
        if !thoughts.is_empty() {
            let raw = Value::Object(thoughts);
            answer.entry(Entry::Reasoning { wire: Wire::Chat.name().to_owned(), raw });
        }
        answer.entry(Entry::Assistant { text: std::mem::take(&mut self.text) });
        for call in std::mem::take(&mut self.calls) {
            answer.call_or_hold(&call.id, &call.name, &call.arguments);
        }
        match stop {
            Stop::MaxTokens => answer.drop_held(),
            Stop::EndTurn | Stop::Refusal => answer.release(),
        }
    }
}
