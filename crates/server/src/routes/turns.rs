//! One turn.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{Action, Problem, Turn, TurnId, TurnView};
use legwork_store::Thing;

use crate::auth::Caller;
use crate::extract::Id;
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now};

/// Shows a turn and, while it waits in the queue, where it stands there and why.
#[utoipa::path(
    get, path = "/v1/turns/{turn}", tag = "turns", operation_id = "show_turn",
    params(("turn" = TurnId, Path, description = "Which turn")),
    responses(
        (status = 200, description = "The turn", body = TurnView),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(turn): Id<TurnId>,
) -> Result<Json<TurnView>, Failure> {
    caller.may(&server.store, Action::View, Thing::Turn(turn)).await?;
    Ok(Json(server.store.turn(turn, server.rules.queue, now()).await?))
}

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
