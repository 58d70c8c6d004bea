//! Bodies of requests and answers on their way: counted, and looked through.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::forms::Stream;
use crate::receipt::Entry;
use crate::stream::add;
use crate::tripwire::Watch;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a body is looked through for.
pub(crate) enum Look {
    /// On its way to the host: for the decoy, at which it ends; and where that would be.
    Out(Watch, String),
    /// On its way from the host: for what is replaced.
    In(Option<Stream>),
}

/// A body under watch.
pub(crate) struct Watched {
    inner: Incoming,
    look: Look,
    entry: Arc<Entry>,
}

impl Watched {
    pub(crate) const fn new(inner: Incoming, look: Look, entry: Arc<Entry>) -> Self {
        Self { inner, look, entry }
    }

    pub(crate) fn boxed(self) -> Body {
        self.boxed_unsync()
    }

    fn pass(&mut self, bytes: Bytes) -> Result<Bytes, BoxError> {
        match &mut self.look {
            Look::Out(watch, place) => {
                add(&self.entry.bytes.sent, bytes.len());
                // What went before this piece has left: never the whole of it.
                if watch.looks_at(&bytes, place) {
                    Err("it holds what must not leave".into())
                } else {
                    Ok(bytes)
                }
            }
            Look::In(stream) => {
                add(&self.entry.bytes.received, bytes.len());
                Ok(stream.as_mut().map_or_else(|| bytes.clone(), |stream| stream.push(&bytes)))
            }
        }
    }

    /// What was held back.
    fn rest(&mut self) -> Option<Bytes> {
        match &mut self.look {
            Look::Out(..) => None,
            Look::In(stream) => stream.as_mut().map(Stream::end).filter(|rest| !rest.is_empty()),
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    return Poll::Ready(this.rest().map(|rest| Ok(Frame::data(rest))));
                }
            };
            // Trailers are headers that nobody has looked at.
            let Ok(data) = frame.into_data() else { continue };
            match this.pass(data) {
                Ok(passed) if passed.is_empty() => {}
                passed => return Poll::Ready(Some(passed.map(Frame::data))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.look, Look::In(Some(_))) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.look {
            // Replacing changes its length.
            Look::In(Some(_)) => SizeHint::default(),
            Look::In(None) | Look::Out(..) => self.inner.size_hint(),
        }
    }
}
