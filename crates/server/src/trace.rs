//! The span of a call: what all that is logged on its way is part of.
//!
//! It has the route and never the path or the query, which hold what the caller wrote; of the path only what parses as an
//! id of ours is taken.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use legwork_domain::{AttemptId, TaskId, TurnId};
use tracing::{Instrument as _, Span, field};

use crate::metrics;

/// Lets the call run within its span.
pub(crate) async fn follow(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        "request",
        "otel.kind" = "server",
        "otel.name" = field::Empty,
        "http.request.method" = metrics::method(request.method()),
        "http.route" = metrics::route(&request),
        "http.response.status_code" = field::Empty,
        task = field::Empty,
        attempt = field::Empty,
        turn = field::Empty,
    );
    let name = format!("{} {}", metrics::method(request.method()), metrics::route(&request));
    span.record("otel.name", name.as_str());
    name_ids(&span, request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let _entered = span.enter();
    tracing::debug!("answered");
    response
}

fn name_ids(span: &Span, path: &str) {
    for word in path.split('/') {
        if let Ok(task) = word.parse::<TaskId>() {
            span.record("task", field::display(task));
        } else if let Ok(attempt) = word.parse::<AttemptId>() {
            span.record("attempt", field::display(attempt));
        } else if let Ok(turn) = word.parse::<TurnId>() {
            span.record("turn", field::display(turn));
        }
    }
}
