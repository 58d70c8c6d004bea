//! One turn.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{Action, Problem, Turn, TurnId};
use legwork_store::Thing;

use crate::auth::Caller;
use crate::extract::Id;
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now};

/// Asks one turn to stop; the attempt's other turns go on.
///
/// A turn that waits in the queue ends at once. A second call changes nothing.
#[utoipa::path(
    post, path = "/v1/turns/{turn}/cancel", tag = "turns", operation_id = "cancel_turn",
    params(("turn" = TurnId, Path, description = "Which turn")),
    responses(
        (status = 200, description = "The turn as it is now", body = Turn),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(turn): Id<TurnId>,
) -> Result<Json<Turn>, Failure> {
    caller.may(&server.store, Action::Run, Thing::Turn(turn)).await?;
    let turn = server.store.cancel_turn(turn, now()).await?;
    server.bells.ring_both(turn.attempt);
    server.bells.ring_queue();
    Ok(Json(turn))
}
