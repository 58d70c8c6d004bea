//! The three formats. Each builds a request's body and folds the events of the answer.
//!
//! Types are our own and lenient: unknown events and fields pass, since providers add them without notice; a known event
//! that lacks what it must have means a broken stream. What is sent depends on the request alone, so an unchanged prefix
//! stays unchanged and prompt caches hold.

mod chat;
mod messages;
mod responses;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::answer::{Answer, FREEFORM_PARAMETER};
use crate::fault::Fault;
use crate::settings::{Reasoning, Wire};
use crate::sse::Event;
use crate::usage::Tokens;
use crate::{CallInput, Part, Request, Stop};

/// Longest tool name that every provider takes.
const NAME_BYTES_MAX: usize = 64;

/// What of a model matters to its requests.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The format.
    pub(crate) wire: Wire,
    /// The provider's name of the model.
    pub(crate) model: String,
    /// The most output tokens.
    pub(crate) output_max: u64,
    /// Whether `output_max` is known rather than assumed. An assumed one is sent only where the format demands one:
    /// servers with a small window refuse a request for more than they have left.
    pub(crate) output_known: bool,
    /// How thinking is asked for.
    pub(crate) reasoning: Reasoning,
    /// Whether images are sent.
    pub(crate) images: bool,
}

impl Shape {
    /// The most output tokens of an answer to `request`.
    pub(crate) fn output_max(&self, request: &Request) -> u64 {
        request.output_max.map_or(self.output_max, |most| most.min(self.output_max))
    }

    /// The same, if it should be sent to a format that does not demand it.
    pub(crate) fn output_asked(&self, request: &Request) -> Option<u64> {
        let most = self.output_max(request);
        (self.output_known || most < self.output_max).then_some(most)
    }
}

/// An answer of one format under way.
pub(crate) trait Fold: Send {
    /// Takes the next event that has data.
    fn event(&mut self, event: &Event, answer: &mut Answer) -> Result<Next, Fault>;

    /// The connection ended. Some servers close without their last event; `Some` if all that matters was there.
    fn closed(&mut self, answer: &mut Answer) -> Option<Ended>;
}

/// What an event was.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Nothing that brings the answer forward.
    Ignored,
    /// A piece of the answer.
    Progress,
    /// The last one.
    Done(Ended),
}

/// The end of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ended {
    /// Why.
    pub(crate) stop: Stop,
    /// The provider's figures, if it gave any.
    pub(crate) tokens: Option<Tokens>,
}

/// The request's body.
pub(crate) fn body(shape: &Shape, request: &Request) -> Value {
    match shape.wire {
        Wire::Responses => responses::body(shape, request),
        Wire::Chat => chat::body(shape, request),
        Wire::Messages => messages::body(shape, request),
    }
}

/// A fold for a new answer.
pub(crate) fn fold(wire: Wire) -> Box<dyn Fold> {
    match wire {
        Wire::Responses => Box::new(responses::Folding::default()),
        Wire::Chat => Box::new(chat::Folding::default()),
        Wire::Messages => Box::new(messages::Folding::default()),
    }
}

/// Reads an event's data as JSON. What is not JSON is damage, not an extension: something may be lost.
fn parse(event: &Event) -> Result<Value, Fault> {
    serde_json::from_str(&event.data).map_err(|_| Fault::broken("an event of the stream is not JSON"))
}

/// Reads a known event.
fn known<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value)
        .map_err(|error| Fault::broken(format!("an event of the stream is malformed: {error}")))
}

/// Arguments as text: a string by the specifications, an object at some imitators.
fn arguments_text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => String::new(),
        None => value.to_string(),
    }
}

/// A tool's name as every provider takes it. A model may call names that no provider would take back.
fn clean_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let name: String = name.chars().take(NAME_BYTES_MAX).map(allowed).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// A call's arguments as the object that Messages and the parsers behind many Chat servers insist on.
fn arguments_object(input: &CallInput) -> Value {
    match input {
        CallInput::Text(text) => json!({ FREEFORM_PARAMETER: text }),
        CallInput::Json(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_object() => value,
            Ok(_) | Err(_) => json!({ "invalid_json": text }),
        },
    }
}

/// The schema of a function that stands for a tool with a grammar.
fn freeform_schema() -> Value {
    json!({
        "type": "object",
        "properties": { FREEFORM_PARAMETER: { "type": "string", "description": "The whole input, as plain text." } },
        "required": [FREEFORM_PARAMETER],
        "additionalProperties": false,
    })
}

/// A tool's description, with the grammar for wires that cannot carry one.
fn with_grammar(description: &str, grammar: &str) -> String {
    format!("{description}\n\nThe input follows this Lark grammar:\n{grammar}")
}

/// All text of `parts`, with a notice where an image stands that is not sent here.
fn text_of(parts: &[Part], images: ImageNotice) -> String {
    let mut text = String::new();
    for part in parts {
        let piece = match (part, images) {
            (Part::Text(piece), _) => piece.as_str(),
            (Part::Image(_), ImageNotice::LeftOut) => LEFT_OUT,
            (Part::Image(_), ImageNotice::Follows) => "(the image follows)",
        };
        if !text.is_empty() && !piece.is_empty() {
            text.push('\n');
        }
        text.push_str(piece);
    }
    text
}

/// What stands for an image that the model cannot read.
const LEFT_OUT: &str = "(an image was left out: this model reads none)";

/// What stands in a text for an image.
#[derive(Clone, Copy)]
enum ImageNotice {
    LeftOut,
    Follows,
}

/// Media type and base64 data of a `data:` URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
