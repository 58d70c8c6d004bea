//! Reading a log as it grows: server-sent events that resume by `Last-Event-ID`.
//!
//! The server ends a complete log with an event named `end`. A connection that stops without one was cut, whatever it
//! looks like from here, and is opened again after the last seq that was read. So a reader that gets `None` knows that it
//! has all of it.

use std::time::Duration;

use futures::{Stream, stream};
use legwork_domain::{AttemptId, Event};
use reqwest::Response;

use crate::Error;
use crate::sse::{Message, Messages};
use crate::transport::Transport;

const ACTION: &str = "follow an attempt's events";

/// Three missed keep-alive comments of the server, which sends one each 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// With the pauses below about 20 s: longer than a server takes to restart.
const FAILURES_MAX: u32 = 8;

/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, so that a server that is back is found within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How far a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until the attempt's last turn is finished.
    Finished,
    /// Until the end of what is written now.
    Now,
}

pub(crate) fn events(
    transport: Transport,
    attempt: AttemptId,
    after: u64,
    until: Until,
) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
    let follow = Follow { transport, attempt, after, until, source: None, failures: 0 };
    stream::unfold(Some(follow), |follow| async move {
        let mut follow = follow?;
        match follow.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(follow))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct Follow {
    transport: Transport,
    attempt: AttemptId,
    after: u64,
    until: Until,
    source: Option<Source>,
    failures: u32,
}

/// What one read of the connection gave.
enum Read {
    Event(Box<Event>),
    End,
    Repeat,
}

impl Follow {
    /// The next event; `None` at the log's end.
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.read().await {
                Ok(Read::Event(event)) => {
                    self.failures = 0;
                    self.after = event.seq;
                    return Ok(Some(*event));
                }
                Ok(Read::End) => return Ok(None),
                Ok(Read::Repeat) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    async fn open(&self) -> Result<Source, Error> {
        let query = match self.until {
            Until::Finished => "",
            Until::Now => "?follow=false",
        };
        let path = format!("/v1/attempts/{}/events{query}", self.attempt);
        Source::open(&self.transport, &path, self.after).await
    }

    async fn read(&mut self) -> Result<Read, Error> {
        let source = match &mut self.source {
            Some(source) => source,
            None => self.source.insert(self.open().await?),
        };
        let message = source.next().await?;
        if message.name == b"end" {
            return Ok(Read::End);
        }
        let event = serde_json::from_slice(&message.data)
            .map_err(|error| Error::protocol(ACTION, error.to_string()))?;
        self.judge(event)
    }

    /// The log has no holes, so a hole is a broken server and must not pass for a short log.
    fn judge(&self, event: Event) -> Result<Read, Error> {
        if event.seq <= self.after {
            Ok(Read::Repeat)
        } else if event.seq == self.after + 1 {
            Ok(Read::Event(Box::new(event)))
        } else {
            Err(Error::protocol(ACTION, format!("event {} came after event {}", event.seq, self.after)))
        }
    }

    /// Drops the connection and waits before the next one, or gives the error back when trying is no use.
    async fn recover(&mut self, error: Error) -> Result<(), Error> {
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
    async fn open(transport: &Transport, path: &str, after: u64) -> Result<Self, Error> {
        let request = transport
            .get(path)
            .header("accept", "text/event-stream")
            .header("last-event-id", after.to_string());
        let response = unless_silent(transport.send(ACTION, request)).await??;
        Ok(Self { response, messages: Messages::default() })
    }

    async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.messages.next() {
                return Ok(message);
            }
            let chunk = unless_silent(self.response.chunk()).await?;
            // An answer that is complete without a message named `end` was cut by the server's shutdown.
            let Some(chunk) = chunk.map_err(|source| Error::unreachable(ACTION, source))? else {
                return Err(Error::Silent { action: ACTION });
            };
            self.messages.push(&chunk).map_err(|_| Error::protocol(ACTION, "a message that is too long"))?;
        }
    }
}

async fn unless_silent<T>(answer: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(SILENCE_MAX, answer).await.map_err(|_| Error::Silent { action: ACTION })
}
