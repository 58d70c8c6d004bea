//! Spans of model requests and tool calls, by OpenTelemetry's conventions for generative AI
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>). They hold names and counts, never what was said or run.

use tracing::{Span, field, info_span};

use crate::answer::{Answer, Ending};

/// Longest name of a tool or call that is kept, as the providers' own limits are.
const NAME_BYTES_MAX: usize = 64;

/// The span of a request to this model; it lasts as long as it is held.
pub(crate) fn request(model: &str) -> Span {
    info_span!(
        "chat",
        otel.name = format!("chat {model}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.split('/').next(),
        gen_ai.request.model = model,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        error.r#type = field::Empty,
    )
}

/// What the answer says of itself.
pub(crate) fn answered(span: &Span, answer: &Answer) {
    if let Some(usage) = answer.usage() {
        span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    }
    let failure = match &answer.ending {
        Ending::Done(_) => return,
        Ending::Cancelled => "cancelled",
        Ending::Failed(error) => word(error),
    };
    span.record("error.type", failure);
    span.record("otel.status_code", "error");
}

/// The span of a call of this tool.
pub(crate) fn call(tool: &str, id: &str) -> Span {
    let tool = plain(tool);
    info_span!(
        "execute_tool",
        otel.name = format!("execute_tool {tool}"),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        gen_ai.tool.call.id = plain(id),
    )
}

/// Names of calls are the model's words: what does not look like a name is content.
fn plain(name: &str) -> &str {
    let fits =
        name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fits { name } else { "other" }
}

/// The error's kind; its text may quote what the provider read.
const fn word(error: &legwork_model::Error) -> &'static str {
    use legwork_model::Error;
    match error {
        Error::Config(_) => "config",
        Error::Auth { .. } => "auth",
        Error::Quota { .. } => "quota",
        Error::ContextOverflow { .. } => "context_overflow",
        Error::Rejected { .. } => "rejected",
        Error::Unavailable { .. } => "unavailable",
    }
}
