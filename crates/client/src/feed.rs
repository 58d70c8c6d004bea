//! A stream of server-sent events that outlives its connections: one that stops or falls silent is opened again after the
//! last message that was read, with growing pauses, a bounded number of times.

use std::time::Duration;

use reqwest::Response;

use crate::Error;
use crate::sse::{Message, Messages};
use crate::transport::Transport;

/// Three missed keep-alive comments of the server, which sends one each 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// With the pauses below about 20 s: longer than a server takes to restart.
const FAILURES_MAX: u32 = 8;

/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, so that a server that is back is found within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where it comes from and how far it was read.
pub(crate) struct Feed {
    transport: Transport,
    /// What it is for, in errors.
    pub(crate) action: &'static str,
    path: String,
    /// The last message that was read, by its id.
    pub(crate) after: u64,
    source: Option<Source>,
    failures: u32,
}

impl Feed {
    pub(crate) const fn new(transport: Transport, action: &'static str, path: String, after: u64) -> Self {
        Self { transport, action, path, after, source: None, failures: 0 }
    }

    /// The next message, or why this connection gives none.
    pub(crate) async fn next(&mut self) -> Result<Message, Error> {
        let source = match &mut self.source {
            Some(source) => source,
            None => {
                let opened = Source::open(&self.transport, self.action, &self.path, self.after).await?;
                self.source.insert(opened)
            }
        };
        source.next(self.action).await
    }

    /// Notes that what has this id was read.
    pub(crate) const fn read(&mut self, id: u64) {
        (self.after, self.failures) = (id, 0);
    }

    /// Drops the connection and waits before the next one, or gives the error back when trying is no use.
    pub(crate) async fn recover(&mut self, error: Error) -> Result<(), Error> {
        self.source = None;
        self.failures += 1;
        if !error.is_retryable() || self.failures > FAILURES_MAX {
            return Err(error);
        }
        let pause = PAUSE.saturating_mul(1 << (self.failures - 1)).min(PAUSE_MAX);
        // Between half and all of it, so that the readers of one server do not come back at the same moment.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        Ok(())
    }
}

/// One connection.
struct Source {
    response: Response,
    messages: Messages,
}

impl Source {
    async fn open(
        transport: &Transport,
        action: &'static str,
        path: &str,
        after: u64,
    ) -> Result<Self, Error> {
        let request = transport
            .get(path)
            .header("accept", "text/event-stream")
            .header("last-event-id", after.to_string());
        let response = unless_silent(action, transport.send(action, request)).await??;
        Ok(Self { response, messages: Messages::default() })
    }

    async fn next(&mut self, action: &'static str) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.messages.next() {
                return Ok(message);
            }
            let chunk = unless_silent(action, self.response.chunk()).await?;
            // An answer that is complete without a message named `end` was cut by the server's shutdown.
            let Some(chunk) = chunk.map_err(|source| Error::unreachable(action, source))? else {
                return Err(Error::Silent { action });
            };
            self.messages.push(&chunk).map_err(|_| Error::protocol(action, "a message that is too long"))?;
        }
    }
}

async fn unless_silent<T>(action: &'static str, answer: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(SILENCE_MAX, answer).await.map_err(|_| Error::Silent { action })
}
