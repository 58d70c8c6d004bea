//! The one driver of all wires: asks, reads, and asks again.
//!
//! An answer is pulled, never pushed: the state of a call lives in the stream that the caller holds, so dropping the
//! stream drops the connection and there is no task to forget. Silence is counted only while somebody waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::Answer;
use crate::fault::{Fault, Stage, Wait};
use crate::http::plain;
use crate::scripted::Endpoint;
use crate::secret::shown;
use crate::settings::{Retries, Timing};
use crate::sse::Decoder;
use crate::usage::Tokens;
use crate::wire::{self, Ended, Fold, Next};
use crate::{Delta, Error, Finished, Info, Request, Secret, Stream};

/// Longest error body that is read; errors of providers are below 10 KiB.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Longest whole answer. The largest output that a model offers is 128,000 tokens, each wrapped in an event of at most a
/// few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long the end of a finished answer is waited for, so that its connection can be used again.
const DRAIN: Duration = Duration::from_millis(20);

/// A line to one model at one provider.
pub(crate) struct Line {
    /// What is known of the model.
    pub(crate) info: Info,
    /// How its requests look.
    pub(crate) shape: wire::Shape,
    /// The provider's name.
    pub(crate) provider: String,
    /// Where to.
    pub(crate) url: Url,
    /// With these.
    pub(crate) headers: HeaderMap,
    /// What no message may repeat.
    pub(crate) secrets: Vec<Secret>,
    /// Over this.
    pub(crate) client: Client,
    /// How long a silence may last.
    pub(crate) timing: Timing,
    /// How often a failed try is repeated.
    pub(crate) retries: Retries,
    /// Serves a scripted model as long as anybody may still read an answer of it.
    pub(crate) _endpoint: Option<Endpoint>,
}

impl Line {
    /// Begins a call.
    pub(crate) fn call(self: Arc<Self>, request: Request) -> Stream {
        let body = Bytes::from(wire::body(&self.shape, &request).to_string());
        let call = Call {
            line: self,
            request,
            body,
            phase: Phase::Asking,
            connect_failures: 0,
            stream_failures: 0,
            tries: 0,
        };
        Box::pin(stream::unfold(call, |mut call| async move {
            let delta = call.next().await?;
            Some((delta, call))
        }))
    }

    /// How long the first byte of an answer may take.
    fn first_byte(&self) -> Duration {
        let ms = if self.url.scheme() == "http" { self.timing.load_ms } else { self.timing.idle_ms };
        Duration::from_millis(ms)
    }

    /// The error that ends a call, in the provider's name and without secrets.
    pub(crate) fn error(&self, fault: Fault, tries: u32) -> Error {
        let provider = self.provider.clone();
        let clean = |text: String| shown(&text, &self.secrets);
        match fault {
            Fault::Auth(message) => Error::Auth { provider, message: clean(message) },
            Fault::Quota(message) => Error::Quota { provider, message: clean(message) },
            Fault::Overflow(message) => Error::ContextOverflow { message: clean(message) },
            Fault::Rejected { status, message } => {
                Error::Rejected { provider, status: clean(status), message: clean(message) }
            }
            Fault::Retry { why, .. } => Error::Unavailable { provider, tries, message: clean(why) },
        }
    }

    /// Asks once.
    async fn ask(&self, body: Bytes) -> Result<Response, Fault> {
        let sent = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(body)
            .send();
        let first_byte = self.first_byte();
        let response = timeout(first_byte, sent)
            .await
            .map_err(|_| Fault::unreachable(format!("no answer in {}", seconds(first_byte))))?
            .map_err(|error| Fault::unreachable(plain(&error)))?;
        if response.status() == StatusCode::OK && is_event_stream(&response) {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.error_body(response).await;
        if !status.is_success() {
            return Err(Fault::of_response(status.as_u16(), &headers, &body));
        }
        // Gateways put errors of their upstream into a 200.
        match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(value) if value.get("error").is_some() => Err(Fault::of_event(&value)),
            Ok(_) | Err(_) => {
                let kind = headers
                    .get(CONTENT_TYPE)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("nothing known");
                Err(Fault::unreachable(format!("it answered with {kind} instead of an event stream")))
            }
        }
    }

    /// As much of an error's body as comes in time.
    async fn error_body(&self, mut response: Response) -> Vec<u8> {
        let mut body = Vec::new();
        let idle = Duration::from_millis(self.timing.idle_ms);
        while let Ok(Ok(Some(chunk))) = timeout(idle, response.chunk()).await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_BYTES_MAX {
                body.truncate(ERROR_BYTES_MAX);
                break;
            }
        }
        body
    }
}

/// Some servers name no type, or plain text; JSON and HTML are no streams.
fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    matches!(
        kind.as_deref(),
        None | Some("" | "text/event-stream" | "text/plain" | "application/octet-stream")
    )
}

/// A call: one answer, however many tries it takes.
struct Call {
    line: Arc<Line>,
    request: Request,
    body: Bytes,
    phase: Phase,
    connect_failures: u32,
    stream_failures: u32,
    tries: u32,
}

enum Phase {
    Waiting(Instant),
    Asking,
    Reading(Box<Reading>),
    Over,
}

impl Call {
    async fn next(&mut self) -> Option<Result<Delta, Error>> {
        loop {
            let fault = match &mut self.phase {
                Phase::Over => return None,
                Phase::Waiting(until) => {
                    sleep_until(*until).await;
                    self.phase = Phase::Asking;
                    continue;
                }
                Phase::Asking => match self.ask().await {
                    Ok(reading) => {
                        self.phase = Phase::Reading(Box::new(reading));
                        continue;
                    }
                    Err(fault) => fault,
                },
                Phase::Reading(reading) => match reading.next(&self.line.timing).await {
                    Ok(Piece::Delta(delta)) => return Some(Ok(delta)),
                    Ok(Piece::End(ended)) => {
                        let finished = self.finished(ended);
                        return Some(Ok(Delta::Done(finished)));
                    }
                    Err(fault) => fault,
                },
            };
            return Some(self.failed(fault));
        }
    }

    async fn ask(&mut self) -> Result<Reading, Fault> {
        self.tries += 1;
        let response = self.line.ask(self.body.clone()).await?;
        self.connect_failures = 0;
        let fold = wire::fold(self.line.shape.wire);
        Ok(Reading::new(response, fold, Answer::to(&self.request)))
    }

    fn finished(&mut self, ended: Ended) -> Finished {
        let received = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Reading(reading) => reading.answer.bytes(),
            Phase::Waiting(_) | Phase::Asking | Phase::Over => 0,
        };
        let estimate = Tokens::estimate(self.body.len() as u64, received);
        let tokens = ended.tokens.unwrap_or(estimate);
        let usage = tokens.usage(self.line.info.price, ended.tokens.is_none());
        Finished { stop: ended.stop, usage }
    }

    /// Decides whether there is another try.
    fn failed(&mut self, fault: Fault) -> Result<Delta, Error> {
        self.phase = Phase::Over;
        let Fault::Retry { stage, why, wait } = &fault else {
            return Err(self.line.error(fault, self.tries));
        };
        let delay = self.delay(*stage, *wait);
        match delay {
            Some(delay) => {
                self.phase = Phase::Waiting(Instant::now() + delay);
                let after_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                Ok(Delta::Retrying { why: shown(why, &self.line.secrets), after_ms })
            }
            None => Err(self.line.error(fault, self.tries)),
        }
    }

    /// How long to wait; `None`: no more tries.
    fn delay(&mut self, stage: Stage, wait: Wait) -> Option<Duration> {
        let retries = self.line.retries;
        let (failures, max) = match stage {
            Stage::Connect => (&mut self.connect_failures, retries.connect),
            Stage::Stream => (&mut self.stream_failures, retries.stream),
        };
        if *failures >= max {
            return None;
        }
        *failures += 1;
        match wait {
            Wait::Named(delay) => (delay <= Duration::from_millis(retries.wait_max_ms)).then_some(delay),
            Wait::Backoff => Some(backoff(retries.base_ms, *failures - 1)),
            Wait::Busy => Some(backoff(retries.busy_ms, *failures - 1)),
        }
    }
}

/// `base × 2^failures`, ± 10 % so that many clients do not come back at once.
fn backoff(base_ms: u64, failures: u32) -> Duration {
    let ms = base_ms.saturating_mul(1 << failures.min(16));
    Duration::from_millis(ms).mul_f64(0.9 + fastrand::f64() * 0.2)
}

/// An answer that is being read.
struct Reading {
    response: Response,
    decoder: Decoder,
    fold: Box<dyn Fold>,
    answer: Answer,
    ended: Option<Ended>,
    /// Why no more can be read; told after what was read before.
    fault: Option<Fault>,
    bytes: u64,
    /// Time waited since the last event with data.
    silent: Duration,
    /// Time waited since the last event that brought the answer forward.
    stuck: Duration,
}

enum Piece {
    Delta(Delta),
    End(Ended),
}

impl Reading {
    fn new(response: Response, fold: Box<dyn Fold>, answer: Answer) -> Self {
        Self {
            response,
            decoder: Decoder::default(),
            fold,
            answer,
            ended: None,
            fault: None,
            bytes: 0,
            silent: Duration::ZERO,
            stuck: Duration::ZERO,
        }
    }

    async fn next(&mut self, timing: &Timing) -> Result<Piece, Fault> {
        loop {
            if let Some(delta) = self.answer.next() {
                return Ok(Piece::Delta(delta));
            }
            if let Some(ended) = self.ended {
                self.drain().await;
                return Ok(Piece::End(ended));
            }
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if let Err(fault) = self.read(timing).await {
                self.answer.void();
                self.fault = Some(fault);
            }
        }
    }

    /// Waits for the next bytes and folds them.
    async fn read(&mut self, timing: &Timing) -> Result<(), Fault> {
        let idle = Duration::from_millis(timing.idle_ms).saturating_sub(self.silent);
        let progress = Duration::from_millis(timing.progress_ms).saturating_sub(self.stuck);
        let begun = Instant::now();
        let chunk = timeout(idle.min(progress), self.response.chunk()).await;
        let waited = begun.elapsed();
        self.silent += waited;
        self.stuck += waited;
        match chunk {
            Ok(Ok(Some(chunk))) => self.take(&chunk),
            Ok(Ok(None)) => self.closed("the stream ended before its last event".to_owned()),
            Ok(Err(error)) => self.closed(plain(&error)),
            Err(_) if idle < progress => self.closed(format!("no event in {}", seconds(self.silent))),
            Err(_) => self.closed(format!("no progress in {}", seconds(self.stuck))),
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        self.bytes += chunk.len() as u64;
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(Fault::broken("the answer is larger than any honest one"));
        }
        self.decoder
            .feed(chunk)
            .map_err(|_| Fault::broken("an event of the stream is larger than any honest one"))?;
        while let Some(event) = self.decoder.next() {
            if event.data.is_empty() || self.ended.is_some() {
                continue;
            }
            self.silent = Duration::ZERO;
            match self.fold.event(&event, &mut self.answer)? {
                Next::Ignored => {}
                Next::Progress => self.stuck = Duration::ZERO,
                Next::Done(ended) => self.ended = Some(ended),
            }
        }
        Ok(())
    }

    /// The connection gives no more: that is an end only if all that matters was there.
    fn closed(&mut self, why: String) -> Result<(), Fault> {
        self.ended = Some(self.fold.closed(&mut self.answer).ok_or_else(|| Fault::broken(why))?);
        Ok(())
    }

    /// Reads what stands after the last event, which gives the connection back to the pool.
    async fn drain(&mut self) {
        let rest = async {
            for _ in 0..8 {
                match self.response.chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // Late or broken, it costs the next call a new connection and nothing else.
        let _ = timeout(DRAIN, rest).await;
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
