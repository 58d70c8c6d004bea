//! An attempt's log as server-sent events: replay, then follow.
//!
//! The reader pulls page after page from the store by seq; nothing is pushed to it and nothing is kept for it but one
//! page. So a slow reader costs one page, and there is no seam between old and new: both are read in the same way. The
//! bell only says when to look again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use legwork_domain::{Action, AttemptId, Event, Problem};
use legwork_store::{Error, Line, PAGE_EVENTS_MAX, Thing};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use crate::auth::Standing;
use crate::extract::{Id, Params, last_event_id};
use crate::problem::{Failure, MEDIA_TYPE};
use crate::streams::Place;
use crate::{LOOK_AGAIN, Server};

/// How often a silent stream says that it lives, below the idle limits of common proxies.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Only events after this seq. `Last-Event-ID` goes before it.
    #[serde(default)]
    #[param(required = false)]
    after: u64,
    /// `false`: ends where the log ends now, also if the attempt is still under way.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    follow: bool,
}

const fn yes() -> bool {
    true
}

/// Replays an attempt's log, then follows it.
///
/// Each message's `id` is the event's seq and its data is one event. When the attempt's last turn is finished and all was
/// sent (or, with `follow=false`, all that is written), a message named `end` closes the stream; a stream that stops without it was cut and can be resumed.
/// Where the task is deleted meanwhile, the stream stops without `end`, and a call that resumes it gets 404. It stops too
/// when what the caller may changes: a revoked token, a disabled user, a grant that was taken.
#[utoipa::path(
    get, path = "/v1/attempts/{attempt}/events", tag = "events", operation_id = "follow_events",
    params(
        ("attempt" = AttemptId, Path, description = "Whose log"),
        From,
        ("Last-Event-ID" = Option<String>, Header, description = "The last seq that was read", pattern = "^[0-9]*$"),
    ),
    responses(
        (status = 200, description = "The events as they come", body = Event, content_type = "text/event-stream"),
        (status = 409, description = "The log ends before that seq (`beyond_the_end`), as after a backup was restored", body = Problem, content_type = MEDIA_TYPE),
        (status = 429, description = "The caller has too many streams open", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn follow(
    State(server): State<Arc<Server>>,
    standing: Standing,
    Id(attempt): Id<AttemptId>,
    Params(from): Params<From>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let caller = standing.caller();
    caller.may(&server.store, Action::View, Thing::Attempt(attempt)).await?;
    let after = last_event_id(&headers)?.unwrap_or(from.after);
    let end = server.store.log_end(attempt).await?.last_seq;
    if after > end {
        return Err(Failure::beyond_the_end(after, end));
    }
    let place = server.streams.take(caller.user())?;
    let bell = server.bells.attempt(attempt);
    let page = VecDeque::new();
    let reader = Reader {
        server,
        standing,
        attempt,
        after,
        bell,
        page,
        follow: from.follow,
        ended: false,
        _place: place,
    };
    let messages = stream::unfold(reader, |mut reader| async {
        let message = reader.next().await?;
        Some((Ok::<_, Infallible>(message), reader))
    });
    let stream = Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Asks nginx and its like not to gather what should flow.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

struct Reader {
    server: Arc<Server>,
    standing: Standing,
    attempt: AttemptId,
    after: u64,
    bell: watch::Receiver<()>,
    page: VecDeque<Line>,
    follow: bool,
    ended: bool,
    _place: Place,
}

impl Reader {
    /// The next message. `None` after the end, at a shutdown, when the caller may something else than at first, and if the
    /// store fails: the client then resumes.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.standing.holds(&self.server).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return self.broke_off(&error),
            }
            if let Some(line) = self.page.pop_front() {
                self.after = line.seq;
                return Some(Message::default().id(line.seq.to_string()).data(line.json));
            }
            if self.ended || self.server.shutdown.is_cancelled() {
                return None;
            }
            match self.turn_page().await {
                Ok(()) if self.ended => return Some(Message::default().event("end").data("{}")),
                Ok(()) => {}
                // The task was deleted. Whoever resumes hears that it is not there.
                Err(Error::NotFound { .. }) => return None,
                Err(error) => return self.broke_off(&error),
            }
        }
    }

    fn broke_off(&self, error: &Error) -> Option<Message> {
        tracing::warn!(attempt = %self.attempt, %error, "a reader's stream broke off");
        None
    }

    /// Reads the next page, or finds that the log has ended, or waits until it may have grown.
    async fn turn_page(&mut self) -> Result<(), legwork_store::Error> {
        // Before the look: what is written after it rings again.
        self.bell.mark_unchanged();
        let store = &self.server.store;
        self.page = store.events(self.attempt, self.after, PAGE_EVENTS_MAX).await?.into();
        if !self.page.is_empty() {
            return Ok(());
        }
        let end = store.log_end(self.attempt).await?;
        if end.last_seq > self.after {
            return Ok(());
        }
        self.ended = end.finished || !self.follow;
        if !self.ended {
            self.server.wait(&mut self.bell, LOOK_AGAIN).await;
        }
        Ok(())
    }
}
