//! The routes: one file for each kind of caller's business.

mod attempts;
mod audit;
mod blobs;
mod budgets;
mod changes;
mod docs;
mod environments;
mod events;
mod lifecycle;
mod log_in;
mod me;
mod meta;
mod repositories;
mod session;
mod tasks;
mod tokens;
mod turns;
mod usage;
mod users;
mod webhooks;
mod worker;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::{people_only, workers_only};
use crate::{Server, auth, metrics, problem, trace};

/// A task with the largest prompt, escaped, and its environment.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A batch of events whose largest one carries an image.
const EVENTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The description of each route. Apart from the table that serves them, because building it takes longer than all the
/// rest of a start; a test holds the two together.
#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        tasks::create,
        tasks::list,
        tasks::show,
        tasks::see,
        changes::follow,
        tasks::cancel,
        lifecycle::change,
        lifecycle::delete,
        lifecycle::retry,
        lifecycle::fork,
        attempts::show,
        attempts::follow_up,
        attempts::steer,
        attempts::answer,
        attempts::patch,
        attempts::artifacts,
        turns::show,
        turns::cancel,
        workers::list,
        events::follow,
        worker::lease,
        worker::end_leases,
        worker::append,
        worker::finish,
        budgets::reserve,
        budgets::list,
        budgets::show,
        budgets::set,
        budgets::remove,
        usage::report,
        webhooks::create,
        webhooks::list,
        webhooks::show,
        webhooks::change,
        webhooks::remove,
        webhooks::rotate,
        webhooks::deliveries,
        webhooks::replay,
        blobs::put,
        blobs::get,
        me::show,
        users::create,
        users::list,
        users::show,
        users::disable,
        users::enable,
        users::set_role,
        users::remove_role,
        tokens::create,
        tokens::list,
        tokens::revoke,
        repositories::create,
        repositories::list,
        repositories::show,
        repositories::reset,
        repositories::grants,
        repositories::set_grant,
        repositories::remove_grant,
        audit::read,
        audit::verify,
        environments::create,
        environments::list,
        environments::show,
        environments::change,
        environments::remove,
        environments::put_secret,
        environments::remove_secret,
        session::link,
        session::log_in,
        session::log_out,
        meta::health,
        meta::ready,
        meta::metrics,
        meta::openapi,
        docs::page,
    ),
    components(schemas(legwork_domain::Tidings))
)]
pub(crate) struct Described;

/// For people.
fn people() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/tasks", post(tasks::create).get(tasks::list))
        .route("/v1/tasks/{task}", get(tasks::show).patch(lifecycle::change).delete(lifecycle::delete))
        .route("/v1/tasks/{task}/seen", put(tasks::see))
        .route("/v1/changes", get(changes::follow))
        .route("/v1/tasks/{task}/cancel", post(tasks::cancel))
        .route("/v1/attempts/{attempt}", get(attempts::show))
        .route("/v1/attempts/{attempt}/turns", post(attempts::follow_up))
        .route("/v1/attempts/{attempt}/retry", post(lifecycle::retry))
        .route("/v1/attempts/{attempt}/fork", post(lifecycle::fork))
        .route("/v1/attempts/{attempt}/messages", post(attempts::steer))
        .route("/v1/attempts/{attempt}/answer", post(attempts::answer))
        .route("/v1/attempts/{attempt}/patch", get(attempts::patch))
        .route("/v1/attempts/{attempt}/artifacts", get(attempts::artifacts))
        .route("/v1/workers", get(workers::list))
        .route("/v1/turns/{turn}", get(turns::show))
        .route("/v1/turns/{turn}/cancel", post(turns::cancel))
        .route("/v1/attempts/{attempt}/events", get(events::follow))
        .route("/v1/budgets", get(budgets::list))
        .route("/v1/budgets/{spender}/{period}", get(budgets::show).put(budgets::set).delete(budgets::remove))
        .route("/v1/usage", get(usage::report))
        .route("/v1/webhooks", post(webhooks::create).get(webhooks::list))
        .route("/v1/webhooks/{webhook}", get(webhooks::show).patch(webhooks::change).delete(webhooks::remove))
        .route("/v1/webhooks/{webhook}/rotate", post(webhooks::rotate))
        .route("/v1/webhooks/{webhook}/deliveries", get(webhooks::deliveries))
        .route("/v1/deliveries/{delivery}/replay", post(webhooks::replay))
        .route("/openapi.json", get(meta::openapi))
        .route("/docs", get(docs::page))
        .merge(access())
        .route_layer(from_fn(people_only))
}

/// For people: who may do what.
fn access() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/me", get(me::show))
        .route("/v1/users", post(users::create).get(users::list))
        .route("/v1/users/{user}", get(users::show))
        .route("/v1/users/{user}/disable", post(users::disable))
        .route("/v1/users/{user}/enable", post(users::enable))
        .route("/v1/users/{user}/role", put(users::set_role).delete(users::remove_role))
        .route("/v1/tokens", post(tokens::create).get(tokens::list))
        .route("/v1/tokens/{token}", delete(tokens::revoke))
        .route("/v1/repositories", post(repositories::create).get(repositories::list))
        .route("/v1/repositories/{repository}", get(repositories::show))
        .route("/v1/repositories/{repository}/reset", post(repositories::reset))
        .route("/v1/repositories/{repository}/grants", get(repositories::grants))
        .route(
            "/v1/repositories/{repository}/grants/{user}",
            put(repositories::set_grant).delete(repositories::remove_grant),
        )
        .route(
            "/v1/repositories/{repository}/environments",
            post(environments::create).get(environments::list),
        )
        .route(
            "/v1/environments/{environment}",
            get(environments::show).put(environments::change).delete(environments::remove),
        )
        .route(
            "/v1/environments/{environment}/secrets/{name}",
            put(environments::put_secret).delete(environments::remove_secret),
        )
        .route("/v1/audit", get(audit::read))
        .route("/v1/audit/verdict", get(audit::verify))
        .route("/v1/links", post(session::link))
        .route("/v1/session", delete(session::log_out))
}

/// For workers.
fn workers() -> Router<Arc<Server>> {
    let large = DefaultBodyLimit::max(EVENTS_BYTES_MAX);
    Router::new()
        .route("/v1/leases", post(worker::lease))
        .route("/v1/workers/{worker}/leases", delete(worker::end_leases))
        .route("/v1/turns/{turn}/events", post(worker::append).layer(large))
        .route("/v1/turns/{turn}/finish", post(worker::finish).layer(large))
        .route("/v1/turns/{turn}/reserve", post(budgets::reserve))
        .route_layer(from_fn(workers_only))
}

/// For both.
fn shared() -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(session::home))
        .route("/v1/blobs/{sha256}", get(blobs::get).put(blobs::put))
        .route("/metrics", get(meta::metrics))
}

/// For anybody, however often: health, and the way in. What comes to nothing here is counted against its origin by who
/// handles it, what opens something is not; and the pages cost no more than that they are sent.
fn open() -> Router<Arc<Server>> {
    Router::new()
        .route("/v1/health", get(meta::health))
        .route("/v1/ready", get(meta::ready))
        .route("/v1/session", post(session::log_in))
        .route("/login", get(session::page))
        .route("/auth/{provider}", get(log_in::begin))
        .route("/auth/{provider}/callback", get(log_in::finish))
}

/// What is served. Who calls is asked before anything else is looked at, so that a stranger learns nothing, not even
/// which routes there are.
pub(crate) fn router(server: Arc<Server>) -> Router {
    let guarded = people()
        .merge(workers())
        .merge(shared())
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(from_fn_with_state(Arc::clone(&server), auth::guard));
    guarded
        .merge(open())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&server), auth::door::watch))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(Arc::clone(&server), metrics::count))
        .layer(from_fn(trace::follow))
        .with_state(server)
}
