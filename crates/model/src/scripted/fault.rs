use serde::Deserialize;

/// Something that goes wrong with one try of a turn.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An HTTP error in the wire's own form.
    Status {
        /// 400–599.
        status: u16,
        /// The error's code and type.
        #[serde(default)]
        code: String,
        /// Its message.
        #[serde(default)]
        message: String,
        /// The header `Retry-After`.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The connection breaks, in the middle of an event.
    Cut {
        /// Where.
        at: Place,
    },
    /// The stream ends in good order, but too early.
    Close {
        /// Where.
        at: Place,
    },
    /// Nothing more comes, and the connection stays.
    Stall {
        /// Where.
        at: Place,
    },
    /// Nothing more comes but comments and pings, every `every_ms`.
    Ping {
        /// Where.
        at: Place,
        /// How often.
        every_ms: u64,
    },
    /// An event that is not JSON; the answer goes on after it.
    Garbage {
        /// Where.
        at: Place,
    },
    /// An event and fields that nobody knows; the answer goes on after it.
    UnknownEvent {
        /// Where.
        at: Place,
    },
    /// A line of so many bytes; the answer goes on after it.
    HugeLine {
        /// Where.
        at: Place,
        /// How long.
        bytes: usize,
    },
    /// An error inside the stream, in the wire's own form.
    Error {
        /// Where.
        at: Place,
        /// Its code.
        code: String,
        /// Its message.
        #[serde(default)]
        message: String,
    },
    /// A 200 that is no event stream.
    ContentType {
        /// The header.
        value: String,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// A whole answer whose stream ends so many milliseconds after the last event, as behind a slow proxy.
    Linger {
        /// How long.
        ms: u64,
    },
    /// A whole answer without figures.
    NoUsage,
}

/// Where in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Before the HTTP headers. Only for `cut` and `stall`; others act at the first byte.
    Connect,
    /// After the headers, before the first event.
    FirstByte,
    /// In the middle of the reasoning.
    Reasoning,
    /// In the middle of the text.
    Text,
    /// In the middle of the calls' arguments.
    Arguments,
    /// Before the event that ends the answer.
    End,
}
