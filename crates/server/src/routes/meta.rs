//! What the server says of itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use legwork_domain::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Identity;
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, metrics, now};

/// Whether the server answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`; a server that is not does not answer.
    status: &'static str,
}

/// Says that the server answers. It needs no token.
#[utoipa::path(
    get, path = "/v1/health", tag = "meta", operation_id = "health", security(()),
    responses((status = 200, description = "It answers", body = Health)),
)]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Says whether the server can take work: it writes and reads. It needs no token.
#[utoipa::path(
    get, path = "/v1/ready", tag = "meta", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It cannot, and why", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Result<Json<Health>, Failure> {
    server.readiness.ask(&server).await.map_err(Failure::not_ready)?;
    Ok(Json(Health { status: "ok" }))
}

/// Shows the server's counters to Prometheus.
///
/// For owners and for workers' tokens.
#[utoipa::path(
    get, path = "/metrics", tag = "meta", operation_id = "metrics",
    responses(
        (status = 200, description = "OpenMetrics 1.0.0", body = String, content_type = "application/openmetrics-text"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn metrics(
    State(server): State<Arc<Server>>,
    Extension(identity): Extension<Identity>,
) -> Result<impl IntoResponse, Failure> {
    match identity {
        Identity::Process | Identity::Worker(_) => {}
        Identity::Person(caller) => caller.owns_the_server()?,
    }
    let census = server.store.census().await?;
    let page = server.metrics.page(&census, server.streams.open(), now()).map_err(|_| Failure::internal())?;
    Ok(([(CONTENT_TYPE, metrics::MEDIA_TYPE)], page))
}

/// Describes this API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "meta", operation_id = "openapi",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)),
)]
pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(crate::openapi())
}
