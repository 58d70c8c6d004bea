//! What changes in the list of tasks, as server-sent events: a list view reads the list once and then listens.
//!
//! Pulled from the store like an attempt's log: nothing is kept for a slow reader but one page, and of several changes of
//! one task only the last is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use legwork_domain::{ListChange, Problem};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use crate::auth::Standing;
use crate::extract::{Params, last_event_id};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::routes::events::KEEP_ALIVE;
use crate::streams::Place;
use crate::{LOOK_AGAIN, Server};

/// Time between two looks of one stream, so that a busy server is asked a few times a second and not once a change.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Only changes after this one, such as `as_of` of a list. `Last-Event-ID` goes before it. Without either: from now
    /// on.
    after: Option<u64>,
}

/// Follows what changes in the list of tasks.
///
/// Each message's `id` is the place of the change and its data is one change: `task` with the row as it is now, `gone`, or
/// `reset` if what changed since the given place is not known any more; then read the list anew. The stream has no end; one
/// that stops was cut and can be resumed. It is cut when what the caller may changes: a revoked token, a disabled user, a
/// grant that was taken.
#[utoipa::path(
    get, path = "/v1/changes", tag = "tasks", operation_id = "follow_changes",
    params(From, ("Last-Event-ID" = Option<String>, Header, description = "The last change that was read", pattern = "^[0-9]*$")),
    responses(
        (status = 200, description = "The changes as they come", body = ListChange, content_type = "text/event-stream"),
        (status = 429, description = "The caller has too many streams open", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn follow(
    State(server): State<Arc<Server>>,
    standing: Standing,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let place = server.streams.take(standing.caller().user())?;
    let bell = server.bells.list();
    let after = match (last_event_id(&headers)?, from.after) {
        (Some(after), _) | (None, Some(after)) => after,
        (None, None) => server.store.last_change().await?,
    };
    let watcher = Watcher { server, standing, after, bell, page: VecDeque::new(), _place: place };
    let messages = stream::unfold(watcher, |mut watcher| async {
        let message = watcher.next().await?;
        Some((Ok::<_, Infallible>(message), watcher))
    });
    let stream = Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

struct Watcher {
    server: Arc<Server>,
    standing: Standing,
    after: u64,
    bell: watch::Receiver<()>,
    page: VecDeque<(u64, ListChange)>,
    _place: Place,
}

fn broke_off(error: &legwork_store::Error) -> Option<Message> {
    tracing::warn!(%error, "a watcher's stream of changes broke off");
    None
}

impl Watcher {
    /// The next message. `None` at a shutdown, when the caller may something else than at first, and if the store fails:
    /// the client then resumes.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.standing.holds(&self.server).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return broke_off(&error),
            }
            if let Some((place, change)) = self.page.pop_front() {
                return Message::default().id(place.to_string()).json_data(change).ok();
            }
            if self.server.shutdown.is_cancelled() {
                return None;
            }
            if let Err(error) = self.turn_page().await {
                return broke_off(&error);
            }
        }
    }

    /// Reads the next changes, or waits until there may be some.
    async fn turn_page(&mut self) -> Result<(), legwork_store::Error> {
        // Before the look: what is written after it rings again.
        self.bell.mark_unchanged();
        let (store, caller) = (&self.server.store, self.standing.caller());
        let page = store.changes(caller.visible(), caller.user(), self.after).await?;
        self.after = page.upto;
        self.page = page.changes.into();
        if self.page.is_empty() && !page.more {
            self.server.wait(&mut self.bell, LOOK_AGAIN).await;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
