//! A language model: one trait over three streaming wire formats, and a scripted one for tests and the demo.
//!
//! Callers speak in [`Entry`]s, the provider-neutral form of a context, and get [`Delta`]s. What only one provider
//! understands (encrypted reasoning, thinking signatures) travels inside an entry as raw JSON and goes back verbatim to
//! the same wire only. The room knows the schemas of tools, never what a tool does.

mod answer;
mod catalog;
mod entry;
mod error;
mod fault;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod info;
mod known;
pub mod scripted;
mod secret;
mod settings;
mod sse;
mod stream;
mod usage;
mod wire;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use catalog::Catalog;
pub use entry::{CallInput, Entry, Part};
pub use error::Error;
pub use info::{EditTool, Info, Price};
pub use secret::Secret;
pub use settings::{
    BuiltinProvider, ModelFacts, Provider, Reasoning, Retries, Scripts, Settings, Timing, Wire,
    builtin_providers,
};

/// A model that answers a context with a stream.
///
/// `stream` may be called any number of times, also at once. The stream ends after [`Delta::Done`] or an error; one that
/// ends otherwise is a defect of the implementation. Dropping it closes the connection. Retries happen inside: before
/// anything was yielded silently but for [`Delta::Retrying`], later as `Retrying` after which the answer starts afresh
/// and everything yielded before in this call is void.
#[async_trait]
pub trait Model: Send + Sync {
    /// What is known of the model.
    fn info(&self) -> &Info;

    /// Sends the context and streams the answer.
    async fn stream(&self, request: Request) -> Result<Stream, Error>;
}

/// An answer under way.
pub type Stream = BoxStream<'static, Result<Delta, Error>>;

/// A whole request. Contexts only grow, so the prefix of one request equals the one before and prompt caches hold.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The system prompt.
    pub instructions: String,
    /// The context.
    pub entries: Vec<Entry>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Names the conversation to the provider's cache (`prompt_cache_key`); the same for all turns of an attempt.
    pub cache_key: String,
    /// The most output tokens that the caller can pay for; `None`: as many as the model gives.
    pub output_max: Option<u64>,
}

/// A tool as the model is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What it takes.
    pub input: ToolInput,
}

/// What a tool takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolInput {
    /// A JSON object of this JSON Schema.
    Json(serde_json::Value),
    /// Any text of this Lark grammar. Only for models whose [`Info::edit_tool`] is [`EditTool::Freeform`].
    Grammar(String),
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// More of a message.
    Text(String),
    /// More of a summary of the thinking.
    Reasoning(String),
    /// A finished piece of the context: a message, a reasoning block or a call. Append it; a call may start now.
    Entry(Entry),
    /// The request is made again; drop every delta and entry of this call so far.
    Retrying {
        /// Why, in one sentence without secrets.
        why: String,
        /// In so many milliseconds.
        after_ms: u64,
    },
    /// The answer is complete.
    Done(Finished),
}

/// The end of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Why the model stopped.
    pub stop: Stop,
    /// What it cost.
    pub usage: Usage,
}

/// Why a model stopped (the Agent Client Protocol's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It said what it wanted to say, or wants its calls answered.
    EndTurn,
    /// The answer reached the provider's limit and is cut off.
    MaxTokens,
    /// It refuses.
    Refusal,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens sent, cached ones included.
    pub input_tokens: u64,
    /// The part that came from the provider's cache.
    pub cached_tokens: u64,
    /// Tokens received, reasoning included.
    pub output_tokens: u64,
    /// Millionths of a US dollar, where a price is known.
    pub cost_microusd: Option<u64>,
    /// Whether the provider gave no figures and these are estimates (four bytes a token).
    pub estimated: bool,
}
