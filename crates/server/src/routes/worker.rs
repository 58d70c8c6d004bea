//! The worker's calls: lease, events, finish. The reply to events carries what the server wants, so one call is log,
//! heartbeat and control.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use legwork_domain::{
    Accepted, Assignment, BlobId, Bounds, Directive, EventBatch, Finish, HandedSecret, LABEL_BYTES_MAX,
    LABELS_MAX, LeaseId, LeaseRequest, Problem, SecretValue, State as TurnState, Trust, Turn, TurnId,
    WorkerId,
};
use legwork_store::{Claim, Presence, Recorded, SealedSecret};
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::Worker;
use crate::extract::{Body, Id};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::reconcile::lapsed;
use crate::{Server, now};

/// The longest wait of a lease call, below the idle limits of common proxies.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Leases the queued turn that is next, or waits for one.
///
/// The person with the fewest running turns goes first; of one person's turns that of the highest priority, then the
/// oldest. A worker gets only turns whose labels it has, and turns whose files are on another machine only once no worker of
/// that machine was heard of for some time.
///
/// If the answer is lost, the lease lapses and the turn is queued again.
#[utoipa::path(
    post, path = "/v1/leases", tag = "worker", operation_id = "lease_turn",
    request_body = LeaseRequest,
    responses(
        (status = 200, description = "A turn with all that is needed to run it", body = Assignment, links(
            ("append" = (operation_id = "append_events", parameters(("turn" = "$response.body#/turn/id")))),
            ("finish" = (operation_id = "finish_turn", parameters(("turn" = "$response.body#/turn/id")))),
            ("reserve" = (operation_id = "reserve", parameters(("turn" = "$response.body#/turn/id")))),
        )),
        (status = 204, description = "There was none in the time given"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn lease(
    State(server): State<Arc<Server>>,
    worker: Worker,
    Body(request): Body<LeaseRequest>,
) -> Result<Response, Failure> {
    check(&request)?;
    let presence = Presence {
        id: request.worker,
        machine: request.machine,
        labels: request.labels.clone(),
        slots: request.slots,
        version: request.version.clone(),
        keeps_ms: request.keeps_ms,
    };
    let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(WAIT_MAX);
    // Heard from before the first look, so that a turn that is queued between a look and the wait rings this bell.
    let mut bell = server.bells.queue();
    loop {
        bell.mark_unchanged();
        // Who waits in a call is heard of.
        server.store.touch_worker(&presence, now()).await?;
        let id = LeaseId::from_u128(Uuid::now_v7().as_u128());
        let claim = Claim {
            id,
            worker: request.worker,
            machine: request.machine,
            task: request.task,
            labels: request.labels.clone(),
            rules: server.rules.queue,
            term: server.term(),
        };
        if let Some(mut assignment) = server.store.lease(&claim).await? {
            hand_secrets(&server, &mut assignment).await?;
            server.metrics.lease_given();
            server.bells.ring_both(assignment.attempt.id);
            return Ok(Json(assignment).into_response());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || server.shutdown.is_cancelled() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        server.wait(&mut bell, left).await;
        if !worker.holds(&server).await? {
            return Err(Failure::unauthorized());
        }
    }
}

/// Adds the values of the secrets that the task's stored recipe uses; none to an outsider's. One that does not open is left out; the worker says
/// which it was not given.
async fn hand_secrets(server: &Server, assignment: &mut Assignment) -> Result<(), Failure> {
    let request = &assignment.task.request;
    if request.trust == Trust::Outsider {
        return Ok(());
    }
    let uses = &request.environment.secrets;
    let Some(environment) = request.environment_id.filter(|_| !uses.is_empty()) else { return Ok(()) };
    let (_, sealed) = server.store.secrets().await?;
    let used = sealed.iter().filter(|secret| secret.environment == environment);
    let used = used.filter(|secret| uses.iter().any(|one| one.name == secret.name));
    let open = |secret: &SealedSecret| {
        let value = SecretValue(server.vault.open(secret).ok()?);
        Some(HandedSecret { name: secret.name.clone(), value })
    };
    assignment.secrets = used.filter_map(open).collect();
    Ok(())
}

/// A worker's word on itself is kept, so it may not be long.
fn check(request: &LeaseRequest) -> Result<(), Failure> {
    let long = request.labels.iter().chain([&request.version]).any(|word| word.len() > LABEL_BYTES_MAX);
    if request.labels.len() > LABELS_MAX || long {
        return Err(Failure::invalid(format!(
            "A worker has at most {LABELS_MAX} labels, each of at most {LABEL_BYTES_MAX} bytes, as its version."
        )));
    }
    Ok(())
}

/// Ends the leases of a worker that is dead, as if they had lapsed.
///
/// Only for whoever knows that it is: the worker that comes after it on the same machine. Its turns go on at once instead of
/// when their leases lapse. Harmless where there is no lease, and a second time.
#[utoipa::path(
    delete, path = "/v1/workers/{worker}/leases", tag = "worker", operation_id = "end_leases",
    params(("worker" = WorkerId, Path, description = "Which worker")),
    responses(
        (status = 204, description = "It has no lease"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn end_leases(
    State(server): State<Arc<Server>>,
    _: Worker,
    Id(worker): Id<WorkerId>,
) -> Result<StatusCode, Failure> {
    for turn in server.store.expire_of(worker, now()).await? {
        lapsed(&server, &turn);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Adds events to a turn's log, renews the lease and tells what the server wants.
///
/// A batch that was stored already is answered as if it were new, so sending it again is harmless.
#[utoipa::path(
    post, path = "/v1/turns/{turn}/events", tag = "worker", operation_id = "append_events",
    params(("turn" = TurnId, Path, description = "Which turn")),
    request_body = EventBatch,
    responses(
        (status = 200, description = "All of it is stored", body = Accepted),
        (status = 409, description = "The turn is not leased under this epoch, or events are missing before these", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn append(
    State(server): State<Arc<Server>>,
    _: Worker,
    Id(turn): Id<TurnId>,
    Body(batch): Body<EventBatch>,
) -> Result<Json<Accepted>, Failure> {
    let events = batch.events.len();
    let silent = batch.events.is_empty() && batch.transition.is_none();
    let term = server.term();
    let batch = server.held.pass(&server.redactor.known(), turn, batch);
    let recorded = server.store.append(turn, batch, term).await?;
    server.metrics.events_taken(events);
    if !silent {
        server.bells.ring(recorded.turn.attempt);
    }
    if recorded.listed {
        server.bells.ring_list();
    }
    if recorded.turn.state == TurnState::Queued {
        server.bells.ring_queue();
    }
    Ok(Json(Accepted { until: term.until, directives: directives(recorded) }))
}

/// What the worker of a turn must do now. Said again with later replies until it is done, so none can be lost.
fn directives(recorded: Recorded) -> Vec<Directive> {
    let Recorded { turn, messages, bounds, .. } = recorded;
    let cancel = turn.cancel_requested_at.map(|_| Directive::Cancel);
    let reserve = (bounds == Some(Bounds::Budgeted)).then_some(Directive::Reserve);
    let hear = messages.into_iter().map(|message| Directive::Hear { message });
    cancel.into_iter().chain(reserve).chain(hear).collect()
}

/// Ends a turn with its last events, in one transaction.
///
/// The same end again is answered with the turn as it is.
#[utoipa::path(
    post, path = "/v1/turns/{turn}/finish", tag = "worker", operation_id = "finish_turn",
    params(("turn" = TurnId, Path, description = "Which turn")),
    request_body = Finish,
    responses(
        (status = 200, description = "The turn, finished", body = Turn),
        (status = 409, description = "The turn is not leased under this epoch, or events are missing before these", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "A blob that is named was never stored", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn finish(
    State(server): State<Arc<Server>>,
    _: Worker,
    Id(turn): Id<TurnId>,
    Body(finish): Body<Finish>,
) -> Result<Json<Turn>, Failure> {
    let patch = finish.ended.patch.as_ref().map(|patch| &patch.blob);
    all_stored(&server, finish.blobs.iter().chain(patch)).await?;
    let (events, outcome) = (finish.events.len(), finish.ended.outcome);
    let turn = server.store.finish(turn, finish, now()).await?;
    server.metrics.events_taken(events);
    server.metrics.turn_finished(outcome);
    server.held.forget(turn.id);
    server.bells.ring_both(turn.attempt);
    // The attempt's next turn may be ready now.
    server.bells.ring_queue();
    Ok(Json(turn))
}

/// A finished turn must not name what nobody has.
async fn all_stored(server: &Server, blobs: impl Iterator<Item = &BlobId>) -> Result<(), Failure> {
    for blob in blobs {
        if !server.blobs.has(blob).await? {
            return Err(Failure::blob_missing(blob));
        }
    }
    Ok(())
}
