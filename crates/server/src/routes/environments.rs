//! Stored recipes and their secrets.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use legwork_domain::{
    Action, Audience, EnvironmentDraft, EnvironmentId, EnvironmentList, Problem, RepositoryId, SecretDraft,
    StoredEnvironment,
};
use legwork_store::Thing;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::Server;
use crate::auth::Caller;
use crate::extract::{Body, Id, Params, Sensitive, if_match};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::redact::PIECE_BYTES_MIN;

/// The longest secret: a large private key with its chain.
const SECRET_BYTES_MAX: usize = 8 * 1024;

/// Stores a recipe for a repository.
#[utoipa::path(
    post, path = "/v1/repositories/{repository}/environments", tag = "environments", operation_id = "create_environment",
    params(("repository" = RepositoryId, Path, description = "For which repository")),
    request_body = EnvironmentDraft,
    responses(
        (status = 201, description = "Its first version", body = StoredEnvironment, links(
            ("show" = (operation_id = "show_environment", parameters(("environment" = "$response.body#/id")))),
            ("change" = (operation_id = "change_environment", parameters(("environment" = "$response.body#/id")))),
            ("remove" = (operation_id = "remove_environment", parameters(("environment" = "$response.body#/id")))),
            ("put_secret" = (operation_id = "put_secret", parameters(("environment" = "$response.body#/id")))),
            ("remove_secret" = (operation_id = "remove_secret", parameters(("environment" = "$response.body#/id")))),
        )),
        (status = 409, description = "The name is taken", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(repository): Id<RepositoryId>,
    Body(draft): Body<EnvironmentDraft>,
) -> Result<impl IntoResponse, Failure> {
    let (needs, owner) = match draft.audience {
        Audience::Team => (Action::Configure, None),
        Audience::Personal => {
            caller.is_a_members()?;
            (Action::Run, Some(caller.user()))
        }
    };
    caller.may(&server.store, needs, Thing::Repository(repository)).await?;
    let act = caller.act();
    let new = StoredEnvironment {
        id: EnvironmentId::from_u128(Uuid::now_v7().as_u128()),
        repository,
        name: draft.name,
        version: 1,
        recipe: draft.recipe,
        owner,
        secrets: Vec::new(),
        changed_at: act.at,
        changed_by: caller.user(),
    };
    let made = server.store.create_environment(new, &act).await?;
    Ok((StatusCode::CREATED, tagged(made)))
}

/// Lists a repository's recipes.
#[utoipa::path(
    get, path = "/v1/repositories/{repository}/environments", tag = "environments", operation_id = "list_environments",
    params(("repository" = RepositoryId, Path, description = "Of which repository")),
    responses(
        (status = 200, description = "All of them, in their newest versions", body = EnvironmentList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(repository): Id<RepositoryId>,
) -> Result<Json<EnvironmentList>, Failure> {
    caller.may(&server.store, Action::View, Thing::Repository(repository)).await?;
    Ok(Json(EnvironmentList { environments: server.store.environments(repository, caller.user()).await? }))
}

/// Which version.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Version {
    /// An earlier one; the newest if none is named.
    version: Option<u64>,
}

/// Shows a recipe. Of its secrets only the names.
#[utoipa::path(
    get, path = "/v1/environments/{environment}", tag = "environments", operation_id = "show_environment",
    params(("environment" = EnvironmentId, Path, description = "Which recipe"), Version),
    responses(
        (status = 200, description = "The recipe", body = StoredEnvironment, headers(("ETag" = String, description = "Its version"))),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(id): Id<EnvironmentId>,
    Params(Version { version }): Params<Version>,
) -> Result<impl IntoResponse, Failure> {
    may(&server, &caller, Action::View, id).await?;
    Ok(tagged(server.store.environment(id, version).await?))
}

/// Makes a recipe's next version. Tasks that were made before keep theirs.
#[utoipa::path(
    put, path = "/v1/environments/{environment}", tag = "environments", operation_id = "change_environment",
    params(
        ("environment" = EnvironmentId, Path, description = "Which recipe"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that the change is made from"),
    ),
    request_body = EnvironmentDraft,
    responses(
        (status = 200, description = "The new version", body = StoredEnvironment, headers(("ETag" = String, description = "Its version"))),
        (status = 409, description = "The name is taken", body = Problem, content_type = MEDIA_TYPE),
        (status = 412, description = "It is another version by now; nothing was changed", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(id): Id<EnvironmentId>,
    headers: HeaderMap,
    Body(draft): Body<EnvironmentDraft>,
) -> Result<impl IntoResponse, Failure> {
    may(&server, &caller, Action::Configure, id).await?;
    let seen = if_match(&headers)?;
    let next = (draft.name, draft.recipe);
    Ok(tagged(server.store.change_environment(id, next, seen.as_deref(), &caller.act()).await?))
}

/// Removes a recipe and its secrets. Tasks that were made from it keep what they have.
#[utoipa::path(
    delete, path = "/v1/environments/{environment}", tag = "environments", operation_id = "remove_environment",
    params(
        ("environment" = EnvironmentId, Path, description = "Which recipe"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to go; without it any goes"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 412, description = "It is another version by now; nothing was removed", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(id): Id<EnvironmentId>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    may(&server, &caller, Action::Configure, id).await?;
    let seen = if_match(&headers)?;
    server.store.remove_environment(id, seen.as_deref(), &caller.act()).await?;
    server.reread_secrets().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which secret.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Which {
    /// Of which recipe.
    environment: EnvironmentId,
    /// Its name, as an environment variable has it.
    name: String,
}

/// Keeps a secret, in place of the one that the name stood for. It is never shown again, and from now on its value is
/// taken out of whatever is sent to the server.
#[utoipa::path(
    put, path = "/v1/environments/{environment}/secrets/{name}", tag = "environments", operation_id = "put_secret",
    params(Which), request_body = SecretDraft,
    responses(
        (status = 204, description = "It is kept"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn put_secret(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
    Sensitive(draft): Sensitive<SecretDraft>,
) -> Result<StatusCode, Failure> {
    let Path(Which { environment, name }) = which?;
    may(&server, &caller, Action::Configure, environment).await?;
    if !(PIECE_BYTES_MIN..=SECRET_BYTES_MAX).contains(&draft.value.len()) {
        return Err(Failure::invalid(format!(
            "A secret has {PIECE_BYTES_MIN} to {SECRET_BYTES_MAX} bytes: a shorter one could not be told from ordinary text."
        )));
    }
    let sealed = server.vault.seal(environment, name, &draft.value)?;
    server.store.put_secret(&sealed, &caller.act()).await?;
    server.reread_secrets().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a secret. A second time changes nothing.
#[utoipa::path(
    delete, path = "/v1/environments/{environment}/secrets/{name}", tag = "environments", operation_id = "remove_secret",
    params(Which),
    responses(
        (status = 204, description = "There is none"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove_secret(
    State(server): State<Arc<Server>>,
    caller: Caller,
    which: Result<Path<Which>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(Which { environment, name }) = which?;
    may(&server, &caller, Action::Configure, environment).await?;
    server.store.remove_secret(environment, &name, &caller.act()).await?;
    server.reread_secrets().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the caller may do that to a recipe. One's own takes only the right to run tasks; another's own is not there.
async fn may(server: &Server, caller: &Caller, action: Action, id: EnvironmentId) -> Result<(), Failure> {
    let thing = Thing::Environment(id);
    match server.store.environment_owner(id).await? {
        None => caller.may(&server.store, action, thing).await,
        Some(owner) if owner == caller.user() => {
            caller.may(&server.store, Action::Run, thing).await?;
            // It is part of what the user's own tasks are made of.
            if action == Action::View { Ok(()) } else { caller.is_a_members() }
        }
        Some(_) => Err(Failure::not_found("environment of this id that you may see")),
    }
}

fn tagged(environment: StoredEnvironment) -> impl IntoResponse {
    ([(header::ETAG, format!("\"{}\"", environment.version))], Json(environment))
}
