//! Webhooks, and what became of what they were told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use legwork_domain::{
    Action, Delivery, DeliveryId, DeliveryList, Problem, RepositoryId, Visible, WEBHOOK_OVERLAP_MS_MAX,
    WEBHOOK_URL_BYTES_MAX, Webhook, WebhookChange, WebhookCreated, WebhookId, WebhookList, WebhookRequest,
    WebhookRotation,
};
use legwork_store::{Error, Overlap, Thing};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::auth::Caller;
use crate::extract::{Body, Id, Params};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::webhooks::Secret;
use crate::{Server, now, outbound};

/// Webhooks of one answer: what the owner of a server sees of all its users'. A user alone has fewer.
const LIST_MAX: u32 = 1000;

/// Makes a webhook.
///
/// It hears from now on of what its owner sees. The answer is the only one that shows its secret.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", operation_id = "create_webhook",
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "The webhook with its secret", body = WebhookCreated, headers(("Location" = String, description = "Where it is"))),
        (status = 422, description = "The URL cannot be used, or there are too many", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(request): Body<WebhookRequest>,
) -> Result<impl IntoResponse, Failure> {
    let WebhookRequest { url, topics, repository } = request;
    may_make(&server, &caller, repository).await?;
    check_url(&url)?;
    let act = caller.act();
    let webhook = Webhook {
        id: WebhookId::from_u128(Uuid::now_v7().as_u128()),
        owner: caller.user(),
        url,
        topics,
        repository,
        created_at: act.at,
        disabled_at: None,
        disabled_because: None,
        overlap_until: None,
    };
    let secret = Secret::draw()?.reveal();
    let sealed = server.vault.seal_webhook(webhook.id, &secret)?;
    server.store.create_webhook(&webhook, &sealed, &act).await?;
    let location = format!("/v1/webhooks/{}", webhook.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(WebhookCreated { webhook, secret })))
}

/// Lists the caller's webhooks; an owner of the server sees everybody's.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    responses(
        (status = 200, description = "At most 1,000, oldest first", body = WebhookList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<WebhookList>, Failure> {
    let whose = caller.owns_the_server().is_err().then(|| caller.user());
    let mut webhooks = server.store.webhooks(whose, LIST_MAX).await?;
    webhooks.retain(|webhook| reaches(&caller, webhook));
    Ok(Json(WebhookList { webhooks }))
}

/// Shows a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}", tag = "webhooks", operation_id = "show_webhook",
    params(("webhook" = WebhookId, Path, description = "Which webhook")),
    responses(
        (status = 200, description = "The webhook", body = Webhook),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(webhook): Id<WebhookId>,
) -> Result<Json<Webhook>, Failure> {
    Ok(Json(reached(&server, &caller, webhook).await?))
}

/// Changes a webhook.
///
/// One that is disabled gives up what is on its way; it can be sent again one by one.
#[utoipa::path(
    patch, path = "/v1/webhooks/{webhook}", tag = "webhooks", operation_id = "change_webhook",
    params(("webhook" = WebhookId, Path, description = "Which webhook")),
    request_body = WebhookChange,
    responses(
        (status = 200, description = "The webhook as it is now", body = Webhook),
        (status = 422, description = "The URL cannot be used", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn change(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(webhook): Id<WebhookId>,
    Body(change): Body<WebhookChange>,
) -> Result<Json<Webhook>, Failure> {
    let mut webhook = reached(&server, &caller, webhook).await?;
    may_make(&server, &caller, webhook.repository).await?;
    let WebhookChange { url, topics, enabled } = change;
    if let Some(url) = url {
        check_url(&url)?;
        webhook.url = url;
    }
    webhook.topics = topics.unwrap_or(webhook.topics);
    let act = caller.act();
    match enabled {
        Some(true) => (webhook.disabled_at, webhook.disabled_because) = (None, None),
        Some(false) => webhook.disabled_at = webhook.disabled_at.or(Some(act.at)),
        None => {}
    }
    server.store.set_webhook(&webhook, &act).await?;
    Ok(Json(webhook))
}

/// Signs a webhook's deliveries with a new secret.
///
/// For the overlap each delivery carries a signature by the new secret and one by each earlier one, so that the receiver
/// can be told in between. The answer is the only one that shows the new secret; if it is lost, rotate again.
#[utoipa::path(
    post, path = "/v1/webhooks/{webhook}/rotate", tag = "webhooks", operation_id = "rotate_webhook",
    params(("webhook" = WebhookId, Path, description = "Which webhook")),
    request_body = WebhookRotation,
    responses(
        (status = 200, description = "The webhook with its new secret", body = WebhookCreated),
        (status = 409, description = "Four earlier secrets sign still", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "The overlap is too long", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn rotate(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(webhook): Id<WebhookId>,
    Body(rotation): Body<WebhookRotation>,
) -> Result<Json<WebhookCreated>, Failure> {
    let found = reached(&server, &caller, webhook).await?;
    may_make(&server, &caller, found.repository).await?;
    let act = caller.act();
    let until = (rotation.overlap_ms <= WEBHOOK_OVERLAP_MS_MAX)
        .then(|| i64::try_from(rotation.overlap_ms).ok())
        .flatten()
        .map(|overlap_ms| act.at.plus_ms(overlap_ms))
        .ok_or_else(|| {
            Failure::invalid(format!(
                "overlap_ms is above {WEBHOOK_OVERLAP_MS_MAX}, a week. Nothing was changed."
            ))
        })?;
    let secret = Secret::draw()?.reveal();
    let sealed = server.vault.seal_webhook(webhook, &secret)?;
    let overlap = Overlap { now: act.at, until };
    let webhook = server.store.rotate_webhook(webhook, &sealed, overlap, &act).await?;
    Ok(Json(WebhookCreated { webhook, secret }))
}

/// Deletes a webhook and the record of its deliveries.
#[utoipa::path(
    delete, path = "/v1/webhooks/{webhook}", tag = "webhooks", operation_id = "delete_webhook",
    params(("webhook" = WebhookId, Path, description = "Which webhook")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(webhook): Id<WebhookId>,
) -> Result<StatusCode, Failure> {
    reached(&server, &caller, webhook).await?;
    server.store.delete_webhook(webhook, &caller.act()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which page of the deliveries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// `next` of the page before.
    cursor: Option<DeliveryId>,
}

/// Lists what a webhook was told, newest first. A settled delivery is kept for 30 days.
#[utoipa::path(
    get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(("webhook" = WebhookId, Path, description = "Which webhook"), Page),
    responses(
        (status = 200, description = "A page of at most 50", body = DeliveryList, links(
            ("replay" = (operation_id = "replay_delivery", parameters(("delivery" = "$response.body#/deliveries/0/id")))),
        )),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn deliveries(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(webhook): Id<WebhookId>,
    Params(page): Params<Page>,
) -> Result<Json<DeliveryList>, Failure> {
    reached(&server, &caller, webhook).await?;
    Ok(Json(server.store.deliveries(webhook, page.cursor).await?))
}

/// Sends a delivery again, under the same `webhook-id`, whatever became of it before.
#[utoipa::path(
    post, path = "/v1/deliveries/{delivery}/replay", tag = "webhooks", operation_id = "replay_delivery",
    params(("delivery" = DeliveryId, Path, description = "Which delivery")),
    responses(
        (status = 200, description = "The delivery, due now", body = Delivery),
        (status = 409, description = "The webhook is disabled", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn replay(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(delivery): Id<DeliveryId>,
) -> Result<Json<Delivery>, Failure> {
    let hidden = || Failure::from(Error::NotFound { what: "delivery", id: delivery.to_string() });
    let webhook = server.store.delivery(delivery).await?.webhook;
    reached(&server, &caller, webhook).await.map_err(|_| hidden())?;
    Ok(Json(server.store.replay_delivery(delivery, now()).await?))
}

/// Whether the caller may have state changes sent away. A webhook outlives the token that made it, so looking is not
/// enough.
async fn may_make(server: &Server, caller: &Caller, repository: Option<RepositoryId>) -> Result<(), Failure> {
    match (repository, caller.visible()) {
        (Some(repository), _) => caller.may(&server.store, Action::Run, Thing::Repository(repository)).await,
        (None, Visible::All | Visible::Granted(_)) => caller.may_somewhere(Action::Run),
        (None, Visible::One(_) | Visible::Nothing) => Err(Failure::invalid(
            "The token is for one repository, and the webhook would hear of others. Name the repository.",
        )),
    }
}

async fn reached(server: &Server, caller: &Caller, webhook: WebhookId) -> Result<Webhook, Failure> {
    let found = server.store.webhook(webhook).await?;
    if reaches(caller, &found) {
        return Ok(found);
    }
    // As if it were not there.
    Err(Error::NotFound { what: "webhook", id: webhook.to_string() }.into())
}

fn reaches(caller: &Caller, webhook: &Webhook) -> bool {
    let own = webhook.owner == caller.user();
    match caller.visible() {
        Visible::One(repository) => own && webhook.repository == Some(repository),
        Visible::Nothing => false,
        Visible::All | Visible::Granted(_) => own || caller.owns_the_server().is_ok(),
    }
}

fn check_url(url: &str) -> Result<(), Failure> {
    if url.len() > WEBHOOK_URL_BYTES_MAX {
        return Err(Failure::invalid(format!("The URL has more than {WEBHOOK_URL_BYTES_MAX} bytes.")));
    }
    outbound::checked(url).map(drop).map_err(Failure::invalid)
}
