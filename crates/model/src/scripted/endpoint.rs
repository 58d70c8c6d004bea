use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::fault::{Fault, Place};
use super::log::{Kept, Log, Logged, Recording, headers};
use super::read::{Conversation, MARKER};
use super::render::{Frame, Speech, error_body, error_event, event_text};
use super::script::{Choice, Script, Turn};
use crate::Error;
use crate::settings::Wire;

/// Largest request taken: Anthropic's own limit is 32 MB.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most connections at once; a client keeps one per request under way.
const CONNECTIONS_MAX: usize = 256;

/// Most requests with faults that are remembered; beyond it memory begins anew.
const TRIES_MAX: usize = 65_536;

type Body = BoxBody<Bytes, io::Error>;

/// A script being served on a loopback port. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Endpoint {
    base_url: String,
    world: Arc<World>,
    accepting: AbortHandle,
}

impl Endpoint {
    /// Serves `script` and keeps what it is asked, for [`Endpoint::requests`].
    ///
    /// # Errors
    /// [`Error::Config`] if no loopback port can be opened.
    pub async fn start(script: Script) -> Result<Self, Error> {
        Self::begin(script, Recording::On).await
    }

    /// Serves `script`; for long conversations, whose requests would fill the memory.
    pub(crate) async fn start_unrecorded(script: Script) -> Result<Self, Error> {
        Self::begin(script, Recording::Off).await
    }

    async fn begin(script: Script, recording: Recording) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::Config(format!("no loopback port for the scripted model: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let world = Arc::new(World::new(script, recording));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&world))).abort_handle();
        Ok(Self { base_url: format!("http://{address}/v1"), world, accepting })
    }

    /// What a provider's configuration needs: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What was asked so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Logged> {
        lock(&self.world.log).requests()
    }

    /// How many connections clients have made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.world.connections.load(Ordering::Relaxed)
    }

    /// Waits until clients have hung up on `count` answers that had not ended.
    pub async fn hang_ups(&self, count: usize) {
        let mut seen = self.world.hang_ups.subscribe();
        // The sender lives as long as `self`.
        let _ = seen.wait_for(|hang_ups| *hang_ups >= count).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends with its task, and all connections with it.
async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((connection, _)) => {
                world.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(connection, Arc::clone(&world)));
            }
            // Out of file descriptors, most likely: let some be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(connection: TcpStream, world: Arc<World>) {
    // Without it the last piece of an answer would wait for an acknowledgement; failing, it is only slower.
    let _ = connection.set_nodelay(true);
    let service = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { world.answer(request).await }
    });
    // An error is a client that hung up, or a fault of ours that was asked for.
    let _ =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

#[derive(Debug)]
struct World {
    script: Script,
    log: Mutex<Log>,
    /// How often a request with faults was made, by its hash.
    tries: Mutex<HashMap<u64, usize>>,
    hang_ups: watch::Sender<usize>,
    connections: AtomicUsize,
}

/// The connection is to be broken off without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken off as the script wants")]
struct BrokenOff;

impl World {
    fn new(script: Script, recording: Recording) -> Self {
        let log = Mutex::new(Log::new(recording, script.log.clone()));
        Self {
            script,
            log,
            tries: Mutex::default(),
            hang_ups: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, BrokenOff> {
        let (head, body) = request.into_parts();
        let Ok(body) =
            Limited::new(body, REQUEST_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes)
        else {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.".to_owned()));
        };
        let path = head.uri.path().to_owned();
        let kept = Kept {
            method: head.method.to_string(),
            path: path.clone(),
            headers: headers(&head.headers),
            body: body.clone(),
        };
        if let Err(error) = lock(&self.log).push(kept) {
            return Ok(plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The request log cannot be written: {error}"),
            ));
        }
        let wire = match (head.method, path.as_str()) {
            (Method::GET, "/v1/models") => {
                return Ok(json_response(StatusCode::OK, &json!({ "data": [{ "id": "scripted" }] })));
            }
            (Method::POST, "/v1/responses") => Wire::Responses,
            (Method::POST, "/v1/chat/completions") => Wire::Chat,
            (Method::POST, "/v1/messages") => Wire::Messages,
            _ => return Ok(plain(StatusCode::NOT_FOUND, format!("There is nothing at {path}."))),
        };
        match self.play(wire, &body).await {
            Ok(played) => played,
            Err(refusal) => {
                let body = error_body(wire, "invalid_request_error", &refusal);
                Ok(json_response(StatusCode::BAD_REQUEST, &body))
            }
        }
    }

    /// Finds the turn for a request and plays it; the error is a sentence for a 400.
    async fn play(
        self: &Arc<Self>,
        wire: Wire,
        body: &Bytes,
    ) -> Result<Result<Response<Body>, BrokenOff>, String> {
        let request =
            serde_json::from_slice(body).map_err(|error| format!("The body is not JSON: {error}."))?;
        let conversation = Conversation::read(wire, &request)?;
        let position = conversation.position();
        let (turn, label, suffix) = match self.script.choose(position, |text| conversation.newest_holds(text))
        {
            Choice::Turn(turn) => (turn, (position + 1).to_string(), String::new()),
            Choice::Aside(turn) => (turn, format!("aside_{position}"), format!("\n{MARKER}{position}]")),
            Choice::Over => return Err(format!("The script has no turn {}.", position + 1)),
            Choice::NoAlternative => {
                let newest = conversation.newest_start();
                return Err(format!("No alternative of turn {} fits the input: {newest}", position + 1));
            }
        };
        if let Some(missing) = turn.expect.iter().find(|text| !conversation.holds(text)) {
            let newest = conversation.newest_start();
            return Err(format!("Turn {label} expects {missing:?}; the newest input is: {newest}"));
        }
        let speech = Speech::new(turn, label, &suffix, &conversation);
        let fault = self.fault(turn, wire, body);
        let speech = match fault {
            Some(Fault::NoUsage) => speech,
            _ => speech.with_usage(turn, body.len()),
        };
        if turn.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(turn.delay_ms)).await;
        }
        let frames = speech.frames(wire);
        Ok(self.respond(wire, frames, fault).await)
    }

    /// The fault for this try of the request, if one is left.
    fn fault<'a>(&self, turn: &'a Turn, wire: Wire, body: &Bytes) -> Option<&'a Fault> {
        if turn.faults.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (wire, body).hash(&mut hasher);
        let mut tries = lock(&self.tries);
        if tries.len() > TRIES_MAX {
            tries.clear();
        }
        let tried = tries.entry(hasher.finish()).or_insert(0);
        let fault = turn.faults.get(*tried);
        *tried += 1;
        fault
    }

    async fn respond(
        self: &Arc<Self>,
        wire: Wire,
        frames: Vec<Frame>,
        fault: Option<&Fault>,
    ) -> Result<Response<Body>, BrokenOff> {
        let Some(fault) = fault else { return Ok(stream_response(whole(&frames))) };
        match fault {
            Fault::NoUsage => Ok(stream_response(whole(&frames))),
            Fault::Linger { ms } => {
                let wait = Duration::from_millis(*ms);
                let end =
                    stream::once(async move { tokio::time::sleep(wait).await }).map(|()| Ok(Bytes::new()));
                Ok(stream_response(streamed(stream::iter([Ok(join(&frames))]).chain(end))))
            }
            Fault::Status { status, code, message, retry_after } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = json_response(status, &error_body(wire, code, message));
                if let Some(after) =
                    retry_after.as_deref().and_then(|after| HeaderValue::from_str(after).ok())
                {
                    response.headers_mut().insert(RETRY_AFTER, after);
                }
                Ok(response)
            }
            Fault::ContentType { value, body } => {
                let mut response = plain(StatusCode::OK, body.clone());
                if let Ok(value) = HeaderValue::from_str(value) {
                    response.headers_mut().insert(CONTENT_TYPE, value);
                }
                Ok(response)
            }
            Fault::Cut { at: Place::Connect } => Err(BrokenOff),
            Fault::Stall { at: Place::Connect } => {
                let _guard = HangUp(Arc::clone(self));
                std::future::pending().await
            }
            Fault::Cut { at }
            | Fault::Close { at }
            | Fault::Stall { at }
            | Fault::Ping { at, .. }
            | Fault::Garbage { at }
            | Fault::UnknownEvent { at }
            | Fault::HugeLine { at, .. }
            | Fault::Error { at, .. } => Ok(stream_response(self.broken(wire, &frames, *at, fault))),
        }
    }

    /// The body of an answer with a fault at `at`.
    fn broken(self: &Arc<Self>, wire: Wire, frames: &[Frame], at: Place, fault: &Fault) -> Body {
        let (before, after) = frames.split_at(middle(frames, at));
        let before = join(before);
        let insert = |text: String| once([before.clone(), Bytes::from(text), join(after)].concat().into());
        match fault {
            Fault::Garbage { .. } => insert("data: {\"type\": \u{fffd}<html>\n\n".to_owned()),
            Fault::UnknownEvent { .. } => {
                let event = json!({ "type": "new.kind.of_event", "new_field": [1], "choices": [] });
                insert(event_text(wire, &event) + ": a comment\n\n")
            }
            Fault::HugeLine { bytes, .. } => insert(format!("data: {}\n\n", "x".repeat(*bytes))),
            Fault::Error { code, message, .. } => {
                let event = event_text(wire, &error_event(wire, code, message));
                once([before, Bytes::from(event)].concat().into())
            }
            Fault::Cut { .. } => {
                let half =
                    after.first().map(|frame| frame.bytes.slice(..frame.bytes.len() / 2)).unwrap_or_default();
                let sent = once_if_any([before, half].concat().into());
                // The server sends what it has only when the body has nothing ready; without this pause the break would
                // come before all that was to arrive.
                let cut = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(io::Error::other(BrokenOff))
                });
                streamed(sent.chain(cut))
            }
            Fault::Stall { .. } => {
                let guard = HangUp(Arc::clone(self));
                let forever = stream::once(async move {
                    let _guard = guard;
                    std::future::pending().await
                });
                streamed(stream::iter([Ok(before)]).chain(forever))
            }
            Fault::Ping { every_ms, .. } => {
                let ping =
                    Bytes::from(": ping\n\n".to_owned() + &event_text(wire, &json!({ "type": "ping" })));
                let state = (ping, Duration::from_millis(*every_ms), HangUp(Arc::clone(self)));
                let pings = stream::unfold(state, |(ping, every, guard)| async move {
                    tokio::time::sleep(every).await;
                    Some((Ok(ping.clone()), (ping, every, guard)))
                });
                streamed(stream::iter([Ok(before)]).chain(pings))
            }
            Fault::Close { .. }
            | Fault::Status { .. }
            | Fault::ContentType { .. }
            | Fault::Linger { .. }
            | Fault::NoUsage => once(before),
        }
    }
}

/// Counts a client that hung up when the answer that would never end is dropped.
struct HangUp(Arc<World>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_ups.send_modify(|count| *count += 1);
    }
}

/// The index of the frame in the middle of `at`; of the first frame behind it if the answer has nothing there.
fn middle(frames: &[Frame], at: Place) -> usize {
    let begin = frames.iter().position(|frame| frame.at >= at).unwrap_or(frames.len());
    let length = frames.iter().filter(|frame| frame.at == at).count();
    match at {
        Place::Connect | Place::FirstByte | Place::End => begin,
        Place::Reasoning | Place::Text | Place::Arguments => begin + length / 2,
    }
}

fn join(frames: &[Frame]) -> Bytes {
    frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect()
}

fn whole(frames: &[Frame]) -> Body {
    once(join(frames))
}

/// A body of unknown length, as streams are.
fn once(bytes: Bytes) -> Body {
    streamed(stream::iter([Ok(bytes)]))
}

/// A part of a body; none where it would be empty, since an empty chunk ends a body.
fn once_if_any(bytes: Bytes) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    stream::iter((!bytes.is_empty()).then_some(Ok(bytes)))
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(never).boxed()
}

fn never(error: Infallible) -> io::Error {
    match error {}
}

fn streamed(parts: impl futures::Stream<Item = io::Result<Bytes>> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(parts.map(|part| part.map(BodyFrame::data))))
}

fn stream_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = plain(status, body.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response
}

/// A panic while the lock was held leaves counters at worst; serving goes on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
