//! The host's end of the socket: requests out, replies to those who wait for them.
//!
//! The guest may be in hostile hands. So nothing it sends makes the reader wait: every reply has a place that was made
//! for it beforehand (credits bound the output frames, the size asked for bounds a file), and a reply without such a
//! place ends the sandbox.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::protocol::{
    self, CREDITS, Ending, Id, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request, Stream,
};
use crate::{CommandId, Error, Exit, File, Output};

/// Frames that wait to be written; who has more to say waits.
const OUTWARD_MAX: usize = 64;

/// What the guest may say of one command before the host takes the first: its credits, what was cut out, the answer to
/// one piece of input, the end.
const EVENTS_MAX: usize = CREDITS as usize + 4;

/// Room for a read of the socket: several frames at once.
const READ_BYTES: usize = 128 << 10;

/// What a command's pump is told.
#[derive(Debug)]
pub(super) enum Event {
    /// To be passed on.
    Output(Output),
    /// The last piece of input was taken.
    Taken,
}

/// A place for replies.
enum Route {
    Command {
        started: Option<oneshot::Sender<Result<CommandId, String>>>,
        events: mpsc::Sender<Event>,
        bytes_left: u64,
    },
    Read {
        answer: oneshot::Sender<Result<File, String>>,
        bytes_max: u64,
        mode: u32,
        contents: BytesMut,
    },
    Done {
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// The connection to one guest.
pub(super) struct Link {
    outward: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    next: AtomicU32,
}

/// What reader and users share.
struct Shared {
    /// `None` once the guest is gone.
    routes: Mutex<Option<HashMap<Id, Route>>>,
    /// What the guest did wrong.
    breach: OnceLock<String>,
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Option<HashMap<Id, Route>>> {
        // Nothing that holds the lock can leave it half done.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> Error {
        self.breach.get().map_or(Error::Gone, |breach| Error::Protocol(breach.clone()))
    }
}

/// A command as the link knows it.
pub(super) struct CommandRoute {
    pub(super) id: Id,
    pub(super) started: oneshot::Receiver<Result<CommandId, String>>,
    pub(super) events: mpsc::Receiver<Event>,
}

impl Link {
    /// Begins to serve a ready guest. `on_end` is called once, when it is gone.
    pub(super) fn start(stream: UnixStream, rest: BytesMut, on_end: impl FnOnce() + Send + 'static) -> Self {
        let (reader, writer) = stream.into_split();
        let (outward, queue) = mpsc::channel(OUTWARD_MAX);
        let shared = Arc::new(Shared { routes: Mutex::new(Some(HashMap::new())), breach: OnceLock::new() });
        tokio::spawn(write_all(writer, queue));
        let read = read_all(reader, rest, Arc::clone(&shared));
        tokio::spawn(async move {
            read.await;
            on_end();
        });
        Self { outward, shared, next: AtomicU32::new(1) }
    }

    /// Why nothing can be asked any more.
    pub(super) fn gone(&self) -> Error {
        self.shared.gone()
    }

    /// Whether the guest is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.shared.routes().is_none()
    }

    /// Sends a request.
    pub(super) async fn send(&self, request: &Request) -> Result<(), Error> {
        let mut frame = Vec::new();
        protocol::encode(request, REQUEST_BYTES_MAX, &mut frame)
            .map_err(|error| Error::Invalid(format!("too much for one request: {error}")))?;
        self.outward.send(frame).await.map_err(|_| self.gone())
    }

    fn register(&self, route: Route) -> Result<Id, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut routes = self.shared.routes();
        let Some(routes) = routes.as_mut() else { return Err(self.gone()) };
        if id == u32::MAX || routes.len() >= super::machine::REQUESTS_MAX {
            return Err(Error::Invalid(format!(
                "more than {} requests at the same time",
                super::machine::REQUESTS_MAX
            )));
        }
        routes.insert(id, route);
        Ok(id)
    }

    fn forget(&self, id: Id) {
        if let Some(routes) = self.shared.routes().as_mut() {
            routes.remove(&id);
        }
    }

    /// Makes a place for a command.
    pub(super) fn open_command(&self, bytes_max: u64) -> Result<CommandRoute, Error> {
        let (started_tx, started) = oneshot::channel();
        let (events_tx, events) = mpsc::channel(EVENTS_MAX);
        let id = self.register(Route::Command {
            started: Some(started_tx),
            events: events_tx,
            bytes_left: bytes_max,
        })?;
        Ok(CommandRoute { id, started, events })
    }

    /// Asks for a file.
    pub(super) async fn read(&self, path: &str, bytes_max: u64) -> Result<File, Error> {
        let (answer, reply) = oneshot::channel();
        let id = self.register(Route::Read { answer, bytes_max, mode: 0, contents: BytesMut::new() })?;
        self.ask(id, &[Request::Read(id, path.to_owned(), bytes_max)], path, reply).await
    }

    /// Sends requests that together have one answer: done, or not.
    pub(super) async fn perform(
        &self,
        path: &str,
        requests: impl FnOnce(Id) -> Vec<Request>,
    ) -> Result<(), Error> {
        let (answer, reply) = oneshot::channel();
        let id = self.register(Route::Done { answer })?;
        self.ask(id, &requests(id), path, reply).await
    }

    async fn ask<T>(
        &self,
        id: Id,
        requests: &[Request],
        path: &str,
        reply: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, Error> {
        for request in requests {
            if let Err(error) = self.send(request).await {
                self.forget(id);
                return Err(error);
            }
        }
        match reply.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(why)) => Err(Error::Path { path: path.to_owned(), why }),
            Err(_) => Err(self.gone()),
        }
    }
}

async fn write_all(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut frame) = queue.recv().await {
        while frame.len() < READ_BYTES
            && let Ok(more) = queue.try_recv()
        {
            frame.extend_from_slice(&more);
        }
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Reads until the guest is gone or breaks the protocol, then lets all who wait know.
async fn read_all(mut reader: OwnedReadHalf, mut buffer: BytesMut, shared: Arc<Shared>) {
    let breach = loop {
        match take_frames(&mut buffer, &shared) {
            Ok(()) => {}
            Err(breach) => break Some(breach),
        }
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break None,
            Ok(_) => {}
        }
    };
    if let Some(breach) = breach {
        tracing::warn!(%breach, "a sandbox broke its protocol");
        let _ = shared.breach.set(breach);
    }
    *shared.routes() = None;
}

fn take_frames(buffer: &mut BytesMut, shared: &Shared) -> Result<(), String> {
    let mut routes = shared.routes();
    let Some(routes) = routes.as_mut() else { return Ok(()) };
    while let Some(reply) =
        protocol::decode::<Reply>(buffer, REPLY_BYTES_MAX).map_err(|error| error.to_string())?
    {
        take(reply, routes)?;
    }
    Ok(())
}

/// Brings a reply to its place.
fn take(reply: Reply, routes: &mut HashMap<Id, Route>) -> Result<(), String> {
    match reply {
        Reply::Started(id, process) => take_start(id, Ok(CommandId(process)), routes),
        Reply::Refused(id, why) => {
            take_start(id, Err(why), routes)?;
            routes.remove(&id);
            Ok(())
        }
        Reply::Output(id, stream, bytes) => take_output(id, stream, bytes, routes),
        Reply::Omitted(id, count) => tell(id, Event::Output(Output::Omitted(count)), routes),
        Reply::Taken(id) => tell(id, Event::Taken, routes),
        Reply::Exited(id, ending) => {
            tell(id, Event::Output(Output::Exited(exit(ending))), routes)?;
            routes.remove(&id);
            Ok(())
        }
        Reply::File(id, size, mode) => take_file(id, size, mode, routes),
        Reply::Chunk(id, bytes) => take_chunk(id, &bytes, routes),
        Reply::Done(id) => match routes.remove(&id) {
            Some(Route::Done { answer }) => {
                let _ = answer.send(Ok(()));
                Ok(())
            }
            _ => Err("an answer to nothing".to_owned()),
        },
        Reply::Path(id, why) => match routes.remove(&id) {
            Some(Route::Done { answer }) => {
                let _ = answer.send(Err(why));
                Ok(())
            }
            Some(Route::Read { answer, .. }) => {
                let _ = answer.send(Err(why));
                Ok(())
            }
            _ => Err("an answer to nothing".to_owned()),
        },
        Reply::Cloned(_) | Reply::Failed(..) | Reply::Ready => Err("set-up after set-up".to_owned()),
    }
}

fn take_start(
    id: Id,
    result: Result<CommandId, String>,
    routes: &mut HashMap<Id, Route>,
) -> Result<(), String> {
    let Some(Route::Command { started, .. }) = routes.get_mut(&id) else {
        return Err("a start of nothing".to_owned());
    };
    let started = started.take().ok_or("a second start")?;
    // Whoever asked may have gone away; its pump then ends the command.
    let _ = started.send(result);
    Ok(())
}

fn take_output(id: Id, stream: Stream, bytes: Bytes, routes: &mut HashMap<Id, Route>) -> Result<(), String> {
    let Some(Route::Command { bytes_left, .. }) = routes.get_mut(&id) else {
        return Err("output of nothing".to_owned());
    };
    *bytes_left = bytes_left.checked_sub(bytes.len() as u64).ok_or("more output than was asked for")?;
    let output = match stream {
        Stream::Out => Output::Stdout(bytes),
        Stream::Err => Output::Stderr(bytes),
    };
    tell(id, Event::Output(output), routes)
}

fn tell(id: Id, event: Event, routes: &mut HashMap<Id, Route>) -> Result<(), String> {
    let Some(Route::Command { events, .. }) = routes.get_mut(&id) else {
        return Err("news of nothing".to_owned());
    };
    match events.try_send(event) {
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => Err("more output than there were credits".to_owned()),
    }
}

fn exit(ending: Ending) -> Exit {
    match ending {
        Ending::Code(code) => Exit::Code(code),
        Ending::Signal(signal) => Exit::Signal(signal),
        Ending::TimedOut => Exit::TimedOut,
    }
}

fn take_file(id: Id, size: u64, found: u32, routes: &mut HashMap<Id, Route>) -> Result<(), String> {
    let Some(Route::Read { bytes_max, mode, contents, .. }) = routes.get_mut(&id) else {
        return Err("a file that nobody asked for".to_owned());
    };
    if size > *bytes_max {
        return Err("a file larger than asked for".to_owned());
    }
    *mode = found & 0o7777;
    contents.reserve(usize::try_from(size).unwrap_or(0));
    Ok(())
}

fn take_chunk(id: Id, bytes: &Bytes, routes: &mut HashMap<Id, Route>) -> Result<(), String> {
    let Some(Route::Read { bytes_max, contents, .. }) = routes.get_mut(&id) else {
        return Err("a file that nobody asked for".to_owned());
    };
    if !bytes.is_empty() {
        if (contents.len() + bytes.len()) as u64 > *bytes_max {
            return Err("a file larger than asked for".to_owned());
        }
        contents.extend_from_slice(bytes);
        return Ok(());
    }
    if let Some(Route::Read { answer, mode, contents, .. }) = routes.remove(&id) {
        let _ = answer.send(Ok(File { contents: contents.freeze(), mode }));
    }
    Ok(())
}
