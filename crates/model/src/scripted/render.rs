//! Answers as the events of a wire.

use bytes::Bytes;
use serde_json::{Value, json};

use super::fault::Place;
use super::read::{Conversation, Takes};
use super::script::{Arguments, Call, Figures, Turn};
use super::seal::seal;
use crate::settings::Wire;

/// Bytes of text in one event; vendors send a token or a few.
const PIECE_BYTES: usize = 48;

/// An event of an answer and the place that it belongs to.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) at: Place,
    pub(super) bytes: Bytes,
}

/// A turn made ready for one request.
#[derive(Debug)]
pub(super) struct Speech<'a> {
    label: String,
    reasoning: &'a str,
    text: String,
    calls: Vec<Spoken<'a>>,
    stop: Option<&'a str>,
    usage: Option<Figures>,
}

#[derive(Debug)]
struct Spoken<'a> {
    id: String,
    tool: &'a str,
    text: String,
    freeform: bool,
}

impl<'a> Speech<'a> {
    /// `label` makes ids unique; `suffix` is an aside's marker.
    pub(super) fn new(turn: &'a Turn, label: String, suffix: &str, conversation: &Conversation) -> Self {
        let spoken = |(number, call): (usize, &'a Call)| {
            let (text, freeform) = spell(call, conversation.takes(&call.tool));
            let id = call.id.clone().unwrap_or_else(|| format!("call_{label}_{}", number + 1));
            Spoken { id, tool: &call.tool, text, freeform }
        };
        let calls = turn.calls.iter().enumerate().map(spoken).collect();
        let text = format!("{}{suffix}", turn.text);
        Self { calls, text, reasoning: &turn.reasoning, stop: turn.stop.as_deref(), usage: None, label }
    }

    /// Sets the figures: the script's, else estimates.
    pub(super) fn with_usage(mut self, turn: &Turn, request_bytes: usize) -> Self {
        let calls: usize = self.calls.iter().map(|call| call.text.len()).sum();
        let output = self.reasoning.len() + self.text.len() + calls;
        let estimate =
            Figures { input: request_bytes as u64 / 4 + 1, cached: 0, output: output as u64 / 4 + 1 };
        self.usage = Some(turn.usage.unwrap_or(estimate));
        self
    }

    /// The events of the whole answer.
    pub(super) fn frames(&self, wire: Wire) -> Vec<Frame> {
        let mut frames = Frames { wire, frames: Vec::new() };
        match wire {
            Wire::Responses => self.responses(&mut frames),
            Wire::Chat => self.chat(&mut frames),
            Wire::Messages => self.messages(&mut frames),
        }
        frames.frames
    }

    fn responses(&self, frames: &mut Frames) {
        let id = format!("resp_{}", self.label);
        frames.push(Place::FirstByte, &json!({ "type": "response.created", "response": { "id": id } }));
        let mut index = 0;
        let mut item = |frames: &mut Frames, at: Place, item: Value| {
            frames.push(
                at,
                &json!({ "type": "response.output_item.done", "output_index": index, "item": item }),
            );
            index += 1;
        };
        if !self.reasoning.is_empty() {
            for piece in pieces(self.reasoning) {
                let delta = json!({ "type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": piece });
                frames.push(Place::Reasoning, &delta);
            }
            let raw = json!({
                "type": "reasoning",
                "id": format!("rs_{}", self.label),
                "summary": [{ "type": "summary_text", "text": self.reasoning }],
                "encrypted_content": seal(self.reasoning),
            });
            item(frames, Place::Reasoning, raw);
        }
        if !self.text.is_empty() {
            for piece in pieces(&self.text) {
                frames.push(Place::Text, &json!({ "type": "response.output_text.delta", "delta": piece }));
            }
            let content = json!([{ "type": "output_text", "text": self.text, "annotations": [] }]);
            let message = json!({ "type": "message", "id": format!("msg_{}", self.label), "role": "assistant",
                "status": "completed", "content": content });
            item(frames, Place::Text, message);
        }
        for call in &self.calls {
            call.responses(frames);
            let (kind, field) =
                if call.freeform { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
            let raw = json!({ "type": kind, "call_id": call.id, "name": call.tool, field: call.text });
            item(frames, Place::Arguments, raw);
        }
        frames.push(Place::End, &self.responses_end(&id));
    }

    fn responses_end(&self, id: &str) -> Value {
        let usage = self.usage.map(|usage| {
            json!({
                "input_tokens": usage.input,
                "input_tokens_details": { "cached_tokens": usage.cached },
                "output_tokens": usage.output,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": usage.input + usage.output,
            })
        });
        let (kind, status, details) = match self.stop {
            Some("max_tokens") => {
                ("response.incomplete", "incomplete", json!({ "reason": "max_output_tokens" }))
            }
            Some("refusal") => ("response.incomplete", "incomplete", json!({ "reason": "content_filter" })),
            _ => ("response.completed", "completed", Value::Null),
        };
        let response = json!({ "id": id, "status": status, "usage": usage, "incomplete_details": details });
        json!({ "type": kind, "response": response })
    }

    fn chat(&self, frames: &mut Frames) {
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            json!({ "id": self.label, "object": "chat.completion.chunk", "choices": [choice] })
        };
        frames.push(Place::FirstByte, &chunk(json!({ "role": "assistant", "content": "" }), Value::Null));
        for piece in pieces(self.reasoning) {
            frames.push(Place::Reasoning, &chunk(json!({ "reasoning_content": piece }), Value::Null));
        }
        for piece in pieces(&self.text) {
            frames.push(Place::Text, &chunk(json!({ "content": piece }), Value::Null));
        }
        for (index, call) in self.calls.iter().enumerate() {
            let function = json!({ "name": call.tool, "arguments": "" });
            let begin = json!([{ "index": index, "id": call.id, "type": "function", "function": function }]);
            frames.push(Place::Arguments, &chunk(json!({ "tool_calls": begin }), Value::Null));
            for piece in pieces(&call.text) {
                let more = json!([{ "index": index, "function": { "arguments": piece } }]);
                frames.push(Place::Arguments, &chunk(json!({ "tool_calls": more }), Value::Null));
            }
        }
        let finish = match self.stop {
            Some("max_tokens") => "length",
            Some("refusal") => "content_filter",
            _ if self.calls.is_empty() => "stop",
            _ => "tool_calls",
        };
        frames.push(Place::End, &chunk(json!({}), json!(finish)));
        if let Some(usage) = self.usage {
            let figures = json!({
                "prompt_tokens": usage.input,
                "prompt_tokens_details": { "cached_tokens": usage.cached },
                "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
            });
            frames.push(Place::End, &json!({ "id": self.label, "choices": [], "usage": figures }));
        }
        frames.raw(Place::End, "data: [DONE]\n\n");
    }

    fn messages(&self, frames: &mut Frames) {
        let start = self.usage.map_or(json!({}), |usage| {
            json!({
                "input_tokens": usage.input - usage.cached.min(usage.input),
                "cache_read_input_tokens": usage.cached,
                "cache_creation_input_tokens": 0,
                "output_tokens": 1,
            })
        });
        let message = json!({ "id": format!("msg_{}", self.label), "role": "assistant", "content": [], "usage": start });
        frames.push(Place::FirstByte, &json!({ "type": "message_start", "message": message }));
        frames.push(Place::FirstByte, &json!({ "type": "ping" }));
        let mut index = 0;
        let mut block = |frames: &mut Frames, at: Place, start: Value, deltas: Vec<Value>| {
            frames
                .push(at, &json!({ "type": "content_block_start", "index": index, "content_block": start }));
            for delta in deltas {
                frames.push(at, &json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
            frames.push(at, &json!({ "type": "content_block_stop", "index": index }));
            index += 1;
        };
        if !self.reasoning.is_empty() {
            let mut deltas: Vec<Value> = pieces(self.reasoning)
                .map(|piece| json!({ "type": "thinking_delta", "thinking": piece }))
                .collect();
            deltas.push(json!({ "type": "signature_delta", "signature": seal(self.reasoning) }));
            let start = json!({ "type": "thinking", "thinking": "", "signature": "" });
            block(frames, Place::Reasoning, start, deltas);
        }
        if !self.text.is_empty() {
            let deltas =
                pieces(&self.text).map(|piece| json!({ "type": "text_delta", "text": piece })).collect();
            block(frames, Place::Text, json!({ "type": "text", "text": "" }), deltas);
        }
        for call in &self.calls {
            let start = json!({ "type": "tool_use", "id": call.id, "name": call.tool, "input": {} });
            let delta = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
            block(frames, Place::Arguments, start, pieces(&call.text).map(delta).collect());
        }
        let reason = match self.stop {
            Some(reason) => reason,
            None if self.calls.is_empty() => "end_turn",
            None => "tool_use",
        };
        let usage = self.usage.map(|usage| json!({ "output_tokens": usage.output })).unwrap_or(json!({}));
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        frames.push(Place::End, &json!({ "type": "message_delta", "delta": delta, "usage": usage }));
        frames.push(Place::End, &json!({ "type": "message_stop" }));
    }
}

impl Spoken<'_> {
    fn responses(&self, frames: &mut Frames) {
        let kind = if self.freeform {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        for piece in pieces(&self.text) {
            frames.push(Place::Arguments, &json!({ "type": kind, "delta": piece }));
        }
    }
}

/// What the call sends, and whether as free text.
fn spell(call: &Call, takes: Option<&Takes>) -> (String, bool) {
    match (&call.arguments, &call.input, takes) {
        (Some(Arguments::Raw(text)), ..) => (text.clone(), false),
        (Some(Arguments::Table(table)), ..) => (json!(table).to_string(), false),
        (None, Some(input), Some(Takes::Object(parameter))) => {
            let parameter = parameter.as_deref().unwrap_or("input");
            (json!({ parameter: input }).to_string(), false)
        }
        (None, Some(input), Some(Takes::Freeform)) => (input.clone(), true),
        (None, Some(input), None) => (json!({ "input": input }).to_string(), false),
        (None, None, _) => ("{}".to_owned(), false),
    }
}

/// `text` in pieces of about [`PIECE_BYTES`], at least two where there is more than one character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let size = PIECE_BYTES.min(text.len().div_ceil(2));
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = (size..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}

struct Frames {
    wire: Wire,
    frames: Vec<Frame>,
}

impl Frames {
    fn push(&mut self, at: Place, event: &Value) {
        self.raw(at, &event_text(self.wire, event));
    }

    fn raw(&mut self, at: Place, text: &str) {
        self.frames.push(Frame { at, bytes: Bytes::copy_from_slice(text.as_bytes()) });
    }
}

/// An event's text. Chat Completions name no events.
pub(super) fn event_text(wire: Wire, event: &Value) -> String {
    match (wire, event["type"].as_str()) {
        (Wire::Responses | Wire::Messages, Some(kind)) => format!("event: {kind}\ndata: {event}\n\n"),
        (Wire::Chat, _) | (_, None) => format!("data: {event}\n\n"),
    }
}

/// An error in the wire's own form.
pub(super) fn error_body(wire: Wire, code: &str, message: &str) -> Value {
    match wire {
        Wire::Responses | Wire::Chat => {
            json!({ "error": { "message": message, "type": code, "code": code } })
        }
        Wire::Messages => json!({ "type": "error", "error": { "type": code, "message": message } }),
    }
}

/// An error inside a stream in the wire's own form.
pub(super) fn error_event(wire: Wire, code: &str, message: &str) -> Value {
    match wire {
        Wire::Responses => {
            let error = json!({ "code": code, "message": message });
            json!({ "type": "response.failed", "response": { "status": "failed", "error": error } })
        }
        Wire::Chat | Wire::Messages => error_body(wire, code, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_text_and_at_least_two() {
        for text in ["ab", "äöü", &"ü€x".repeat(100)] {
            let pieces: Vec<&str> = pieces(text).collect();
            assert!(pieces.len() >= 2);
            assert_eq!(pieces.concat(), text);
        }
        assert_eq!(pieces("").count(), 0);
    }
}
