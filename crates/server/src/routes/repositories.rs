//! Repositories and who is what on each.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use legwork_domain::{
    Action, Grant, GrantList, Problem, Repository, RepositoryDraft, RepositoryId, RepositoryList, RoleChoice,
    UserId, check_no_login,
};
use legwork_store::Thing;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::Server;
use crate::auth::Caller;
use crate::extract::{Body, Id, Params};
use crate::problem::{Failure, MEDIA_TYPE};

/// Repositories of one page.
const PAGE_MAX: u32 = 100;

/// The longest URL or path that is taken, as common clients and proxies have it.
const URL_BYTES_MAX: usize = 2048;

/// Writes a repository down, so that roles can be given on it before the first task. One that is known is given back.
#[utoipa::path(
    post, path = "/v1/repositories", tag = "access", operation_id = "create_repository",
    request_body = RepositoryDraft,
    responses(
        (status = 201, description = "The repository", body = Repository),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(draft): Body<RepositoryDraft>,
) -> Result<(StatusCode, Json<Repository>), Failure> {
    caller.owns_the_server()?;
    let plain = draft.url.chars().all(|c| !c.is_control());
    if draft.url.is_empty() || draft.url.len() > URL_BYTES_MAX || !plain {
        return Err(Failure::invalid(format!(
            "A repository is named by a URL or path of 1 to {URL_BYTES_MAX} bytes without control characters."
        )));
    }
    check_no_login(&draft.url).map_err(Failure::invalid)?;
    let id = RepositoryId::from_u128(Uuid::now_v7().as_u128());
    let repository = server.store.add_repository(id, &draft.url, &caller.act()).await?;
    Ok((StatusCode::CREATED, Json(repository)))
}

/// Which page of the list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists the repositories that the caller sees, by URL.
#[utoipa::path(
    get, path = "/v1/repositories", tag = "access", operation_id = "list_repositories",
    params(Page),
    responses(
        (status = 200, description = "A page of at most 100", body = RepositoryList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(page): Params<Page>,
) -> Result<Json<RepositoryList>, Failure> {
    let repositories = server.store.repositories(caller.visible(), &page.cursor, PAGE_MAX).await?;
    let full = repositories.len() == PAGE_MAX as usize;
    let next = repositories.last().filter(|_| full).map(|last| last.id.to_string());
    Ok(Json(RepositoryList { repositories, next }))
}

/// Shows a repository.
#[utoipa::path(
    get, path = "/v1/repositories/{repository}", tag = "access", operation_id = "show_repository",
    params(("repository" = RepositoryId, Path, description = "Which repository")),
    responses(
        (status = 200, description = "The repository", body = Repository),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(repository): Id<RepositoryId>,
) -> Result<Json<Repository>, Failure> {
    caller.may(&server.store, Action::View, Thing::Repository(repository)).await?;
    Ok(Json(server.store.repository(repository).await?))
}

/// Has the repository's next tasks make anew what workers keep: set-ups, and what was detected.
///
/// Tasks that run go on with what they stand on. What nobody uses any more is removed in time.
#[utoipa::path(
    post, path = "/v1/repositories/{repository}/reset", tag = "environments", operation_id = "reset_repository",
    params(("repository" = RepositoryId, Path, description = "Which repository")),
    responses(
        (status = 204, description = "What was made so far is not used any more"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn reset(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(repository): Id<RepositoryId>,
) -> Result<StatusCode, Failure> {
    caller.may(&server.store, Action::Configure, Thing::Repository(repository)).await?;
    server.store.reset_repository(repository, &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists who is what on a repository, beside those with a role on everything. For its owners.
#[utoipa::path(
    get, path = "/v1/repositories/{repository}/grants", tag = "access", operation_id = "list_grants",
    params(("repository" = RepositoryId, Path, description = "Which repository")),
    responses(
        (status = 200, description = "All of them", body = GrantList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn grants(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(repository): Id<RepositoryId>,
) -> Result<Json<GrantList>, Failure> {
    caller.may(&server.store, Action::Administer, Thing::Repository(repository)).await?;
    Ok(Json(GrantList { grants: server.store.grants_on(Some(repository)).await? }))
}

/// Whose role, where.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Which repository.
    repository: RepositoryId,
    /// Whose role.
    user: UserId,
}

/// Gives a user a role on a repository, in place of the one that it had there. For its owners.
#[utoipa::path(
    put, path = "/v1/repositories/{repository}/grants/{user}", tag = "access", operation_id = "set_grant",
    params(Which), request_body = RoleChoice,
    responses(
        (status = 204, description = "It has the role"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn set_grant(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
    Body(RoleChoice { role }): Body<RoleChoice>,
) -> Result<StatusCode, Failure> {
    let Path(Which { repository, user }) = which?;
    caller.may(&server.store, Action::Administer, Thing::Repository(repository)).await?;
    server.store.grant(Grant { user, repository: Some(repository), role }, &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a user's role on a repository away. A role on everything stays.
#[utoipa::path(
    delete, path = "/v1/repositories/{repository}/grants/{user}", tag = "access", operation_id = "remove_grant",
    params(Which),
    responses(
        (status = 204, description = "It has none"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove_grant(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(Which { repository, user }) = which?;
    caller.may(&server.store, Action::Administer, Thing::Repository(repository)).await?;
    server.store.ungrant(user, Some(repository), &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}
