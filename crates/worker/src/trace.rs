//! The span of a turn: what all that the worker logs and traces of it is part of.

use legwork_domain::Assignment;
use tracing::{Span, info_span};

/// A turn as OpenTelemetry's conventions name an agent's work.
pub(crate) fn turn(assignment: &Assignment) -> Span {
    info_span!(
        "turn",
        otel.name = "invoke_agent legwork",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "legwork",
        gen_ai.conversation.id = %assignment.attempt.id,
        gen_ai.request.model = assignment.task.request.model.as_str(),
        task = %assignment.task.id,
        attempt = %assignment.attempt.id,
        turn = %assignment.turn.id,
        epoch = assignment.lease.epoch,
    )
}
