//! Tasks: hand over, list, show, cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use legwork_domain::{Action, BlobId, Kind, NewTask, Problem, TaskId, TaskList, TaskQuery, TaskView};
use legwork_store::{TaskIds, Thing};
use uuid::Uuid;

use crate::auth::Caller;
use crate::extract::{Body, Id, Params, header};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::routes::lifecycle::tag;
use crate::{Server, now};

/// Models that are files of the machine where the task runs: read, and with a log that is written.
const SCRIPTED: &str = "scripted/";

/// Hands a task over.
///
/// With an `Idempotency-Key` the same request can be sent again, also at the same time and after a crash, and makes one
/// task.
#[utoipa::path(
    post, path = "/v1/tasks", tag = "tasks", operation_id = "create_task",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each task")),
    request_body = NewTask,
    responses(
        (status = 201, description = "The task, queued", body = TaskView, headers(("Location" = String, description = "Where it is")), links(
            ("show" = (operation_id = "show_task", parameters(("task" = "$response.body#/task/id")))),
            ("cancel" = (operation_id = "cancel_task", parameters(("task" = "$response.body#/task/id")))),
            ("see" = (operation_id = "see_task", parameters(("task" = "$response.body#/task/id")))),
            ("attempt" = (operation_id = "show_attempt", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("artifacts" = (operation_id = "list_artifacts", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("patch" = (operation_id = "get_patch", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("follow_up" = (operation_id = "follow_up", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("steer" = (operation_id = "steer", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("answer" = (operation_id = "answer", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
            ("cancel_turn" = (operation_id = "cancel_turn", parameters(("turn" = "$response.body#/attempts/0/turns/0/id")))),
            ("follow" = (operation_id = "follow_events", parameters(("attempt" = "$response.body#/attempts/0/attempt/id")))),
        )),
        (status = 409, description = "The key came with another request before", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "The caller has too many turns in the queue", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    headers: HeaderMap,
    Body(mut request): Body<NewTask>,
) -> Result<impl IntoResponse, Failure> {
    let key = header(&headers, "idempotency-key")?;
    caller.may_on(&server.store, Action::Run, &request.source.repository).await?;
    images_are_there(&server, &caller, &request.images).await?;
    if request.model.starts_with(SCRIPTED) {
        caller.owns_the_server().map_err(|_| Failure::scripted())?;
    }
    if request.model.is_empty() && request.kind != Kind::Prepare {
        request.model = server.rules.model.clone().ok_or_else(Failure::no_model)?;
    }
    let ids = TaskIds::draw(request.attempts, || Uuid::now_v7().as_u128());
    let view = server.store.create_task(request, server.sent(&caller, key), &ids).await?;
    server.bells.ring_queue();
    server.bells.ring_list();
    let location = format!("/v1/tasks/{}", view.task.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

/// An image that the caller may not read is as good as none: else a task could show it to whoever knows its name.
pub(super) async fn images_are_there(
    server: &Server,
    caller: &Caller,
    images: &[BlobId],
) -> Result<(), Failure> {
    for image in images {
        let readable = server.store.may_read_blob(image, caller.user(), caller.visible()).await?;
        if !readable {
            return Err(Failure::blob_missing(image));
        }
        // From here on it is kept until the task names it.
        server.store.hold_blob(image, now()).await?;
        if !server.blobs.has(image).await? {
            return Err(Failure::blob_missing(image));
        }
    }
    Ok(())
}

/// Lists tasks, newest first.
#[utoipa::path(
    get, path = "/v1/tasks", tag = "tasks", operation_id = "list_tasks",
    params(TaskQuery),
    responses(
        (status = 200, description = "A page of at most 100", body = TaskList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(query): Params<TaskQuery>,
) -> Result<Json<TaskList>, Failure> {
    Ok(Json(server.store.tasks(caller.visible(), caller.user(), &query).await?))
}

/// Notes that the caller has seen what is new of a task, so that it is not unread any more.
#[utoipa::path(
    put, path = "/v1/tasks/{task}/seen", tag = "tasks", operation_id = "see_task",
    params(("task" = TaskId, Path, description = "Which task")),
    responses(
        (status = 204, description = "It is noted"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn see(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(task): Id<TaskId>,
) -> Result<StatusCode, Failure> {
    caller.may(&server.store, Action::View, Thing::Task(task)).await?;
    server.store.see(caller.user(), task, now()).await?;
    server.bells.ring_list();
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a task with its attempts and turns, and where the queued ones stand.
#[utoipa::path(
    get, path = "/v1/tasks/{task}", tag = "tasks", operation_id = "show_task",
    params(("task" = TaskId, Path, description = "Which task")),
    responses(
        (status = 200, description = "The task", body = TaskView, headers(("ETag" = String, description = "The version of its title and place, for `If-Match`"))),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(task): Id<TaskId>,
) -> Result<impl IntoResponse, Failure> {
    caller.may(&server.store, Action::View, Thing::Task(task)).await?;
    let mut view = server.store.task(task).await?;
    view.queue = server.store.places(&view, server.rules.queue, now()).await?;
    Ok(([(header::ETAG, tag(&view.task))], Json(view)))
}

/// Asks that all turns of a task stop.
///
/// Queued turns end at once; a worker hears of it with its next call, saves the partial patch and ends the turn. A second
/// call changes nothing.
#[utoipa::path(
    post, path = "/v1/tasks/{task}/cancel", tag = "tasks", operation_id = "cancel_task",
    params(("task" = TaskId, Path, description = "Which task")),
    responses(
        (status = 200, description = "The task as it is now", body = TaskView),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(task): Id<TaskId>,
) -> Result<Json<TaskView>, Failure> {
    caller.may(&server.store, Action::Run, Thing::Task(task)).await?;
    let view = server.store.cancel(task, now()).await?;
    for attempt in &view.attempts {
        server.bells.ring_both(attempt.attempt.id);
    }
    Ok(Json(view))
}
