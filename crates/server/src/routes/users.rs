//! Users and what they are on everything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use legwork_domain::{Action, Grant, Problem, RoleChoice, User, UserDraft, UserId, UserList, UserView};
use uuid::Uuid;

use crate::Server;
use crate::auth::Caller;
use crate::extract::{Body, Id};
use crate::problem::{Failure, MEDIA_TYPE};

/// Makes a user, who may do nothing until it gets a role.
#[utoipa::path(
    post, path = "/v1/users", tag = "access", operation_id = "create_user",
    request_body = UserDraft,
    responses(
        (status = 201, description = "The user", body = User),
        (status = 409, description = "The name is taken", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(draft): Body<UserDraft>,
) -> Result<(StatusCode, Json<User>), Failure> {
    caller.owns_the_server()?;
    let id = UserId::from_u128(Uuid::now_v7().as_u128());
    let user = server.store.create_user(id, &draft.name, &caller.act()).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Lists all users. For owners of anything, who need to know whom they can give a role.
#[utoipa::path(
    get, path = "/v1/users", tag = "access", operation_id = "list_users",
    responses(
        (status = 200, description = "All of them", body = UserList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<UserList>, Failure> {
    caller.may_somewhere(Action::Administer)?;
    Ok(Json(UserList { users: server.store.users().await? }))
}

/// Shows a user with its roles: to itself and to owners of everything.
#[utoipa::path(
    get, path = "/v1/users/{user}", tag = "access", operation_id = "show_user",
    params(("user" = UserId, Path, description = "Which user")),
    responses(
        (status = 200, description = "The user", body = UserView),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(user): Id<UserId>,
) -> Result<Json<UserView>, Failure> {
    known(&caller, user)?;
    let (user, grants) = server.store.user(user).await?;
    Ok(Json(UserView { user, grants }))
}

/// Shuts a user out: its tokens and sessions do not open from now on. A second time changes nothing.
#[utoipa::path(
    post, path = "/v1/users/{user}/disable", tag = "access", operation_id = "disable_user",
    params(("user" = UserId, Path, description = "Which user")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn disable(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(user): Id<UserId>,
) -> Result<Json<User>, Failure> {
    keeps(&caller, user)?;
    let act = caller.act();
    Ok(Json(server.store.set_disabled(user, Some(act.at), &act).await?))
}

/// Lets a user in again. A second time changes nothing.
#[utoipa::path(
    post, path = "/v1/users/{user}/enable", tag = "access", operation_id = "enable_user",
    params(("user" = UserId, Path, description = "Which user")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn enable(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(user): Id<UserId>,
) -> Result<Json<User>, Failure> {
    keeps(&caller, user)?;
    Ok(Json(server.store.set_disabled(user, None, &caller.act()).await?))
}

/// Gives a user a role on everything, in place of the one that it had.
#[utoipa::path(
    put, path = "/v1/users/{user}/role", tag = "access", operation_id = "set_user_role",
    params(("user" = UserId, Path, description = "Which user")),
    request_body = RoleChoice,
    responses(
        (status = 204, description = "It has the role"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn set_role(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(user): Id<UserId>,
    Body(RoleChoice { role }): Body<RoleChoice>,
) -> Result<StatusCode, Failure> {
    keeps(&caller, user)?;
    server.store.grant(Grant { user, repository: None, role }, &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a user's role on everything away. Its roles on single repositories stay.
#[utoipa::path(
    delete, path = "/v1/users/{user}/role", tag = "access", operation_id = "remove_user_role",
    params(("user" = UserId, Path, description = "Which user")),
    responses(
        (status = 204, description = "It has none"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove_role(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Failure> {
    keeps(&caller, user)?;
    server.store.ungrant(user, None, &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the caller may know of the user at all.
pub(super) fn known(caller: &Caller, user: UserId) -> Result<(), Failure> {
    let known = user == caller.user() || caller.owns_the_server().is_ok();
    if known { Ok(()) } else { Err(Failure::not_found(&format!("user {user}"))) }
}

/// Whether the caller keeps users. One's own name is no secret, so a refusal says what it is.
fn keeps(caller: &Caller, user: UserId) -> Result<(), Failure> {
    known(caller, user)?;
    caller.owns_the_server()
}
