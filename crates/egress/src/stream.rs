//! Streams that count, and streams of which the first bytes were read already.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::receipt::Bytes;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A tunnel in which nothing moves for so long is closed: longer than what servers keep idle connections for.
const IDLE: Duration = Duration::from_secs(15 * 60);
const LOOK: Duration = Duration::from_secs(30);

/// Gives back first what was read before.
pub(crate) struct Rewound<S> {
    first: Vec<u8>,
    at: usize,
    rest: S,
}

impl<S> Rewound<S> {
    pub(crate) const fn new(first: Vec<u8>, rest: S) -> Self {
        Self { first, at: 0, rest }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.first[this.at..];
        if left.is_empty() {
            return Pin::new(&mut this.rest).poll_read(cx, buf);
        }
        let taken = left.len().min(buf.remaining());
        buf.put_slice(&left[..taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().rest).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().rest).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().rest).poll_shutdown(cx)
    }
}

/// Counts what is written to the host and read from it.
struct Counted<S> {
    inner: S,
    bytes: Arc<Bytes>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        add(&this.bytes.received, buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        add(&this.bytes.sent, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Passes on both ways until both ends are done, one breaks, or nothing moves for long.
pub(crate) async fn join(mut inside: impl Stream, host: impl Stream, bytes: &Arc<Bytes>) {
    let mut host = Counted { inner: host, bytes: Arc::clone(bytes) };
    tokio::select! {
        // Whichever end broke, the other hears of it by the end of its connection.
        _ = tokio::io::copy_bidirectional(&mut inside, &mut host) => {}
        () = idle(bytes) => {}
    }
}

async fn idle(bytes: &Bytes) {
    let sum = || bytes.sent.load(Ordering::Relaxed).wrapping_add(bytes.received.load(Ordering::Relaxed));
    let (mut last, mut quiet) = (sum(), Duration::ZERO);
    while quiet < IDLE {
        tokio::time::sleep(LOOK).await;
        let now = sum();
        quiet = if now == last { quiet + LOOK } else { Duration::ZERO };
        last = now;
    }
}
