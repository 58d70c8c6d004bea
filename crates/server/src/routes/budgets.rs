//! Budgets: what tasks, users and the server may spend, and the reservations that keep them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use legwork_domain::{
    Action, Allowance, Budget, BudgetList, Period, Problem, Reservation, Reserved, Spender, TurnId,
};
use legwork_store::Thing;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::{Caller, Worker};
use crate::extract::{Body, Id, Params};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now, reconcile};

/// Which budget.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Whose: `server`, or the id of a task or user.
    spender: Spender,
    /// Over which time.
    #[param(inline)]
    period: Period,
}

/// Whose budgets.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Only those of this spender.
    spender: Option<Spender>,
}

/// Whether the caller may do this to what the spender spends: of a task whoever may do it to the task, of itself a person
/// may look, all else is the owner's.
async fn may(server: &Server, caller: &Caller, action: Action, spender: Spender) -> Result<(), Failure> {
    match (spender, action) {
        (Spender::Task(task), _) => caller.may(&server.store, action, Thing::Task(task)).await,
        (Spender::User(user), Action::View) if user == caller.user() => Ok(()),
        _ => caller.owns_the_server(),
    }
}

/// Lists the budgets that are set, with what is left of them.
#[utoipa::path(
    get, path = "/v1/budgets", tag = "budgets", operation_id = "list_budgets",
    params(Whose),
    responses(
        (status = 200, description = "The first 1,000, by spender", body = BudgetList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(whose): Params<Whose>,
) -> Result<Json<BudgetList>, Failure> {
    may(&server, &caller, Action::View, whose.spender.unwrap_or(Spender::Server)).await?;
    Ok(Json(server.store.budgets(whose.spender, now()).await?))
}

/// Shows a budget and what is left of it.
#[utoipa::path(
    get, path = "/v1/budgets/{spender}/{period}", tag = "budgets", operation_id = "show_budget",
    params(Which),
    responses(
        (status = 200, description = "The budget", body = Budget),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Budget>, Failure> {
    let Path(Which { spender, period }) = which?;
    may(&server, &caller, Action::View, spender).await?;
    Ok(Json(server.store.budget(spender, period, now()).await?))
}

/// Sets a budget, or raises or lowers it.
///
/// What was spent before counts. It holds for turns that run already as well. Turns that waited for room in it go on.
#[utoipa::path(
    put, path = "/v1/budgets/{spender}/{period}", tag = "budgets", operation_id = "set_budget",
    params(Which), request_body = Allowance,
    responses(
        (status = 200, description = "The budget", body = Budget),
        (status = 422, description = "It limits nothing", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn set(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
    Body(limit): Body<Allowance>,
) -> Result<Json<Budget>, Failure> {
    let Path(Which { spender, period }) = which?;
    may(&server, &caller, Action::Run, spender).await?;
    let budget = server.store.set_budget(spender, period, limit, now()).await?;
    reconcile::wake_funded(&server).await?;
    Ok(Json(budget))
}

/// Takes a budget away. Turns that waited for room in it go on.
#[utoipa::path(
    delete, path = "/v1/budgets/{spender}/{period}", tag = "budgets", operation_id = "delete_budget",
    params(Which),
    responses(
        (status = 204, description = "There is none"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(Which { spender, period }) = which?;
    may(&server, &caller, Action::Run, spender).await?;
    server.store.remove_budget(spender, period).await?;
    reconcile::wake_funded(&server).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reserves what a turn's next model request may cost, in all budgets that apply.
///
/// The turn's next `usage` event settles it, and the end of the lease gives it back. A second reservation takes the place
/// of the first, so sending it again is harmless.
#[utoipa::path(
    post, path = "/v1/turns/{turn}/reserve", tag = "worker", operation_id = "reserve",
    params(("turn" = TurnId, Path, description = "Which turn")),
    request_body = Reservation,
    responses(
        (status = 200, description = "Whether the request may be sent", body = Reserved),
        (status = 409, description = "The turn is not leased under this epoch", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn reserve(
    State(server): State<Arc<Server>>,
    _: Worker,
    Id(turn): Id<TurnId>,
    Body(wish): Body<Reservation>,
) -> Result<Json<Reserved>, Failure> {
    let reserved = server.store.reserve(turn, &wish, now()).await?;
    if reserved != Reserved::Granted {
        server.metrics.budget_refused();
    }
    Ok(Json(reserved))
}
