//! What people do to a task beside its turns: name it, put it away, delete it, have its work done again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use legwork_domain::{
    Action, AttemptId, ForkDraft, Problem, Retry, Task, TaskChange, TaskId, TaskView, Turn, TurnId,
};
use legwork_store::{Copying, TaskIds, Thing};
use uuid::Uuid;

use crate::auth::Caller;
use crate::extract::{Body, Id, header as text_of, if_match};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::routes::tasks::images_are_there;
use crate::{Server, now};

/// Names a task, puts it away (`archived`) or takes it up again.
///
/// The ETag is the version of title and place, which rises with each such change and not with the task's work.
#[utoipa::path(
    patch, path = "/v1/tasks/{task}", tag = "tasks", operation_id = "change_task",
    params(
        ("task" = TaskId, Path, description = "Which task"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that the change is made from; without it the last change holds"),
    ),
    request_body = TaskChange,
    responses(
        (status = 200, description = "The task as it is now", body = Task, headers(("ETag" = String, description = "Its version"))),
        (status = 412, description = "It is another version by now; nothing was changed", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "The title is no line of 1 to 200 bytes", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(task): Id<TaskId>,
    headers: HeaderMap,
    Body(change): Body<TaskChange>,
) -> Result<impl IntoResponse, Failure> {
    caller.may(&server.store, Action::Run, Thing::Task(task)).await?;
    let seen = if_match(&headers)?;
    let task = server.store.change_task(task, &change, seen.as_deref(), now()).await?;
    server.bells.ring_list();
    Ok(([(header::ETAG, tag(&task))], Json(task)))
}

/// The task's ETag.
pub(super) fn tag(task: &Task) -> String {
    format!("\"{}\"", task.version)
}

/// Deletes a task. Nobody sees it from then on; what still runs of it is stopped.
///
/// Its logs, patches and messages are kept for the time that the server's operator has set (7 days), for the case that a
/// backup is wanted back, and are then removed for good. What was spent on it stays counted.
#[utoipa::path(
    delete, path = "/v1/tasks/{task}", tag = "tasks", operation_id = "delete_task",
    params(
        ("task" = TaskId, Path, description = "Which task"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version that is to go; without it any goes"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 412, description = "It is another version by now; nothing was deleted", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any failure; 404 the second time", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(task): Id<TaskId>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    caller.may(&server.store, Action::Configure, Thing::Task(task)).await?;
    let seen = if_match(&headers)?;
    for attempt in server.store.delete_task(task, seen.as_deref(), &caller.act()).await? {
        server.bells.ring_both(attempt);
    }
    server.bells.ring_list();
    Ok(StatusCode::NO_CONTENT)
}

/// Queues what an attempt's last turn was asked once more, if that failed, was cancelled or reached a limit.
///
/// The new turn starts from the files and the history that are left, or from a fresh checkout.
#[utoipa::path(
    post, path = "/v1/attempts/{attempt}/retry", tag = "attempts", operation_id = "retry",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each retry"),
    ),
    request_body = Retry,
    responses(
        (status = 201, description = "The turn, queued", body = Turn),
        (status = 409, description = "The last turn has not ended (`turn_open`), or did what it was asked (`nothing_to_retry`), or the key came with another request before", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn retry(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
    Body(retry): Body<Retry>,
) -> Result<(StatusCode, Json<Turn>), Failure> {
    caller.may_speak_to(&server.store, attempt).await?;
    let sent = server.sent(&caller, text_of(&headers, "idempotency-key")?);
    let id = TurnId::from_u128(Uuid::now_v7().as_u128());
    let known = server.redactor.known();
    let copying = Copying { sent, redact: &|kept| known.value(kept) };
    let turn = server.store.retry(attempt, id, retry.from, copying).await?;
    server.bells.ring_both(attempt);
    server.bells.ring_queue();
    Ok((StatusCode::CREATED, Json(turn)))
}

/// Makes a task that goes on from where a turn of an attempt ended: on its files, with its history, and with other words.
///
/// All else is as the attempt's task has it. The files are the worker's, which keeps them for a time (7 days, or as its
/// operator has set). If they are gone earlier, since the disk was full, the new task ends and says so.
#[utoipa::path(
    post, path = "/v1/attempts/{attempt}/fork", tag = "attempts", operation_id = "fork",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each fork"),
    ),
    request_body = ForkDraft,
    responses(
        (status = 201, description = "The task, queued", body = TaskView, headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "The turn has not ended (`turn_open`), or left no files (`no_snapshot`), or they are no longer kept (`files_gone`), or the key came with another request before", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "There are no words in it, or an image was never stored", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn fork(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
    Body(draft): Body<ForkDraft>,
) -> Result<impl IntoResponse, Failure> {
    caller.may_speak_to(&server.store, attempt).await?;
    images_are_there(&server, &caller, &draft.images).await?;
    let sent = server.sent(&caller, text_of(&headers, "idempotency-key")?);
    let ids = TaskIds::draw(1, || Uuid::now_v7().as_u128());
    let known = server.redactor.known();
    let copying = Copying { sent, redact: &|kept| known.value(kept) };
    let view = server.store.fork(attempt, draft, copying, &ids).await?;
    server.bells.ring_queue();
    server.bells.ring_list();
    let location = format!("/v1/tasks/{}", view.task.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}
