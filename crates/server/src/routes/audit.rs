//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{AuditPage, AuditVerdict, Problem};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Server;
use crate::auth::Caller;
use crate::extract::Params;
use crate::problem::{Failure, MEDIA_TYPE};

/// Which page of the log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// `next` of the page before.
    before: Option<u64>,
}

/// Reads the audit log, newest first. For owners of everything.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access", operation_id = "read_audit",
    params(Page),
    responses(
        (status = 200, description = "A page of at most 100", body = AuditPage),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn read(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(page): Params<Page>,
) -> Result<Json<AuditPage>, Failure> {
    caller.owns_the_server()?;
    Ok(Json(server.store.audit(page.before).await?))
}

/// Checks that no entry of the audit log was changed, taken out or put in. For owners of everything.
#[utoipa::path(
    get, path = "/v1/audit/verdict", tag = "access", operation_id = "verify_audit",
    responses(
        (status = 200, description = "What the check showed", body = AuditVerdict),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn verify(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<AuditVerdict>, Failure> {
    caller.owns_the_server()?;
    Ok(Json(server.store.verify_audit().await?))
}
