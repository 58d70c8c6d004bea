//! The workers that ask for work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{Problem, WorkerList};

use crate::Server;
use crate::auth::Caller;
use crate::problem::{Failure, MEDIA_TYPE};

/// Lists the workers that asked for work within a day, those seen last first. For owners of everything.
#[utoipa::path(
    get, path = "/v1/workers", tag = "worker", operation_id = "list_workers",
    responses(
        (status = 200, description = "At most 1,000", body = WorkerList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<WorkerList>, Failure> {
    caller.owns_the_server()?;
    Ok(Json(server.store.workers().await?))
}
