use serde::{Deserialize, Serialize};

/// A piece of a model's context, the same for all wire formats. Serialised into the event log; old logs must read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// From the user, or from us on the user's behalf.
    User {
        /// Text and images.
        parts: Vec<Part>,
    },
    /// From the model.
    Assistant {
        /// What it said.
        text: String,
    },
    /// The model's thinking, in the one wire's own form. Sent back verbatim to that wire, dropped for others.
    Reasoning {
        /// `responses`, `chat`, `messages`.
        wire: String,
        /// The provider's item.
        raw: serde_json::Value,
    },
    /// A call that the model makes.
    Call {
        /// The provider's id.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        input: CallInput,
    },
    /// The one result of a call.
    Output {
        /// The call's id.
        id: String,
        /// Text and images.
        parts: Vec<Part>,
    },
}

/// The arguments of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallInput {
    /// JSON text as the model wrote it; it may be invalid.
    Json(String),
    /// Free text, for a tool with a grammar.
    Text(String),
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(String),
    /// An image as a `data:` URL.
    Image(String),
}
