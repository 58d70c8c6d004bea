//! Attempts: what is said to them, and what they have made.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use legwork_domain::{
    Action, ArtifactList, AttemptId, AttemptView, FollowUp, Message, MessageId, Problem, Reply, Steer, Turn,
    TurnId,
};
use legwork_store::Thing;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::Server;
use crate::auth::Caller;
use crate::extract::{Body, Id, header};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::routes::tasks::images_are_there;

/// Shows an attempt with its turns.
#[utoipa::path(
    get, path = "/v1/attempts/{attempt}", tag = "attempts", operation_id = "show_attempt",
    params(("attempt" = AttemptId, Path, description = "Which attempt")),
    responses(
        (status = 200, description = "The attempt", body = AttemptView),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
) -> Result<Json<AttemptView>, Failure> {
    caller.may(&server.store, Action::View, Thing::Attempt(attempt)).await?;
    Ok(Json(server.store.attempt(attempt).await?))
}

/// Queues one more turn of an attempt: it goes on from the attempt's files and history, and its patch holds all changes
/// since the base.
///
/// It starts when all turns before it have ended. At most 16 may wait.
#[utoipa::path(
    post, path = "/v1/attempts/{attempt}/turns", tag = "attempts", operation_id = "follow_up",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each turn"),
    ),
    request_body = FollowUp,
    responses(
        (status = 201, description = "The turn, queued", body = Turn),
        (status = 422, description = "There are no words in it, or an image was never stored", body = Problem, content_type = MEDIA_TYPE),
        (status = 409, description = "Too many wait already, or the key came with another request before", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn follow_up(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
    Body(request): Body<FollowUp>,
) -> Result<(StatusCode, Json<Turn>), Failure> {
    caller.may_speak_to(&server.store, attempt).await?;
    images_are_there(&server, &caller, &request.images).await?;
    let sent = server.sent(&caller, header(&headers, "idempotency-key")?);
    let id = TurnId::from_u128(Uuid::now_v7().as_u128());
    let turn = server.store.follow_up(attempt, id, request, sent).await?;
    server.bells.ring_both(attempt);
    server.bells.ring_queue();
    Ok((StatusCode::CREATED, Json(turn)))
}

/// Says something to the turn that is under way: it goes into the model's next request.
///
/// If the turn ends in good order before it could be heard, it becomes a follow-up by itself.
#[utoipa::path(
    post, path = "/v1/attempts/{attempt}/messages", tag = "attempts", operation_id = "steer",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each message"),
    ),
    request_body = Steer,
    responses(
        (status = 201, description = "It will be heard", body = Message),
        (status = 409, description = "No turn is under way (`no_live_turn`), or an outsider's token speaks to a member's (`members_turn`): send a follow-up", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn steer(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
    Body(steer): Body<Steer>,
) -> Result<(StatusCode, Json<Message>), Failure> {
    caller.may_speak_to(&server.store, attempt).await?;
    let sent = server.sent(&caller, header(&headers, "idempotency-key")?);
    let message = server.store.steer(attempt, message_id(), steer.text, sent).await?;
    Ok((StatusCode::CREATED, Json(message)))
}

/// Answers what the agent asked, or decides on what it wants to do. The turn goes on.
#[utoipa::path(
    post, path = "/v1/attempts/{attempt}/answer", tag = "attempts", operation_id = "answer",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes, new for each answer"),
    ),
    request_body = Reply,
    responses(
        (status = 201, description = "It will be heard", body = Message),
        (status = 409, description = "It has its answer (`answered`), the turn has ended (`turn_over`), or an outsider's token speaks to a member's (`members_turn`)", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn answer(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
    Body(reply): Body<Reply>,
) -> Result<(StatusCode, Json<Message>), Failure> {
    caller.may_speak_to(&server.store, attempt).await?;
    let sent = server.sent(&caller, header(&headers, "idempotency-key")?);
    let message = server.store.answer(attempt, message_id(), reply, sent).await?;
    server.bells.ring_both(attempt);
    server.bells.ring_queue();
    Ok((StatusCode::CREATED, Json(message)))
}

fn message_id() -> MessageId {
    MessageId::from_u128(Uuid::now_v7().as_u128())
}

/// The attempt's latest patch, as `git apply` takes it.
#[utoipa::path(
    get, path = "/v1/attempts/{attempt}/patch", tag = "attempts", operation_id = "get_patch",
    params(
        ("attempt" = AttemptId, Path, description = "Which attempt"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the patch that the caller has"),
    ),
    responses(
        (status = 200, description = "A unified diff against the attempt's base", body = Vec<u8>, content_type = "text/x-diff"),
        (status = 304, description = "It is still the one that the caller has"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn patch(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.may(&server.store, Action::View, Thing::Attempt(attempt)).await?;
    let missing = || Failure::not_found(&format!("patch of attempt {attempt}"));
    let patch = server.store.patch(attempt).await?.ok_or_else(missing)?;
    let tag = format!("\"{}\"", patch.blob);
    if header(&headers, "if-none-match")?.is_some_and(|tags| tags.contains(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let (file, length) = server.blobs.get(&patch.blob).await?.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "text/x-diff".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    Ok((headers, Bytes::from_stream(ReaderStream::new(file))).into_response())
}

/// Lists the files that an attempt's turns stored.
#[utoipa::path(
    get, path = "/v1/attempts/{attempt}/artifacts", tag = "attempts", operation_id = "list_artifacts",
    params(("attempt" = AttemptId, Path, description = "Which attempt")),
    responses(
        (status = 200, description = "The newest 1,000, in the order of the log", body = ArtifactList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn artifacts(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(attempt): Id<AttemptId>,
) -> Result<Json<ArtifactList>, Failure> {
    caller.may(&server.store, Action::View, Thing::Attempt(attempt)).await?;
    Ok(Json(server.store.artifacts(attempt).await?))
}
