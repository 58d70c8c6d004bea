//! What the server says of itself.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the server answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`; a server that is not does not answer.
    status: &'static str,
}

/// Says that the server answers. The only route without a token.
#[utoipa::path(
    get, path = "/v1/health", tag = "meta", operation_id = "health", security(()),
    responses((status = 200, description = "It answers", body = Health)),
)]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Describes this API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "meta", operation_id = "openapi",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)),
)]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::openapi())
}
