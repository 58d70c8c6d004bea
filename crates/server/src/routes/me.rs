//! Who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{Me, Problem};

use crate::Server;
use crate::auth::Caller;
use crate::problem::{Failure, MEDIA_TYPE};

/// Says for whom the caller acts and what that user may do.
#[utoipa::path(
    get, path = "/v1/me", tag = "access", operation_id = "me",
    responses(
        (status = 200, description = "The caller", body = Me),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Me>, Failure> {
    let (user, grants) = server.store.user(caller.user()).await?;
    Ok(Json(Me { user, grants, trust: caller.access().trust(), via: caller.actor.via }))
}
