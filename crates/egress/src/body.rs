//! Bodies of requests and answers on their way: counted, and looked through.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::forms::{Forms, Stream};
use crate::receipt::Entry;
use crate::stream::add;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the host. What is looked for must not be in it: it ends there.
    Out,
    /// From the host. What is looked for is replaced.
    In,
}

/// What happens once something that must not leave is found in a body.
pub(crate) type Alarm = Arc<dyn Fn() + Send + Sync>;

/// A body under watch.
pub(crate) struct Watched {
    inner: Incoming,
    flow: Flow,
    /// `None`: nothing is looked for.
    stream: Option<Stream>,
    alarm: Alarm,
    entry: Arc<Entry>,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, flow: Flow, forms: &Forms, alarm: Alarm, entry: Arc<Entry>) -> Self {
        let stream = (!forms.is_empty()).then(|| Stream::new(forms.clone()));
        Self { inner, flow, stream, alarm, entry }
    }

    pub(crate) fn boxed(self) -> Body {
        self.boxed_unsync()
    }

    fn pass(&mut self, bytes: Bytes) -> Result<Bytes, BoxError> {
        let counter = match self.flow {
            Flow::Out => &self.entry.bytes.sent,
            Flow::In => &self.entry.bytes.received,
        };
        add(counter, bytes.len());
        let Some(stream) = &mut self.stream else { return Ok(bytes) };
        let passed = stream.push(&bytes);
        if self.flow == Flow::Out && stream.has_found() {
            (self.alarm)();
            return Err("it holds what must not leave".into());
        }
        Ok(passed)
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
                    let rest = this.stream.as_mut().map(Stream::end).filter(|rest| !rest.is_empty());
                    return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))));
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
        self.stream.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.stream, self.flow) {
            // Replacing changes its length.
            (Some(_), Flow::In) => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }
}
