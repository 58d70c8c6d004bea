//! What the server counts, for Prometheus.
//!
//! Each server has a registry of its own, so that two in one process do not add up and a test sees what it did. Labels
//! come from sets that are fixed in the code (the route as it is written in the table, never a path), so that no caller
//! can make the page grow. What is true of the database and not of this process (turns and the queue) is asked when
//! somebody looks: several servers on one database then say the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use legwork_domain::{Outcome, Timestamp};
use legwork_store::{After, Census};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::Server;

/// From an answer out of memory to a lease call that waited its full 30 seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 40.0];

/// The route of a request that no route took.
const NO_ROUTE: &str = "none";

/// What the page is: the text format 1.0.0 of OpenMetrics, which Prometheus reads since version 2.5.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedAs {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveredAs {
    result: &'static str,
}

/// The counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram>,
    streams: Gauge,
    events: Counter,
    leases: Counter,
    lapsed: Counter,
    ended: Family<EndedAs, Counter>,
    refusals: Counter,
    deliveries: Family<DeliveredAs, Counter>,
    turns: Family<InState, Gauge>,
    oldest: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("legwork"),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            streams: Gauge::default(),
            events: Counter::default(),
            leases: Counter::default(),
            lapsed: Counter::default(),
            ended: Family::default(),
            refusals: Counter::default(),
            deliveries: Family::default(),
            turns: Family::default(),
            oldest: Gauge::default(),
        };
        metrics.register_http();
        metrics.register_work();
        metrics
    }
}

impl Metrics {
    fn register_http(&mut self) {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.register("build", "What was built", build);
        self.registry.register("http_requests", "Requests that were answered", self.requests.clone());
        self.registry.register_with_unit(
            "http_request_duration",
            "Time until an answer began; a stream goes on after it",
            Unit::Seconds,
            self.durations.clone(),
        );
        self.registry.register("open_streams", "Streams of events that are open", self.streams.clone());
    }

    fn register_work(&mut self) {
        let registry = &mut self.registry;
        registry.register("events_taken", "Events that workers sent and the log holds", self.events.clone());
        registry.register("leases_given", "Turns that went to a worker", self.leases.clone());
        registry.register(
            "leases_lapsed",
            "Leases that were taken back from silent workers",
            self.lapsed.clone(),
        );
        registry.register("turns_finished", "Turns that workers ended", self.ended.clone());
        registry.register(
            "budget_refusals",
            "Model requests for which no budget had room",
            self.refusals.clone(),
        );
        registry.register("webhook_deliveries", "Tries to deliver a webhook", self.deliveries.clone());
        registry.register("turns", "Turns that are not finished, in the database", self.turns.clone());
        registry.register_with_unit(
            "queue_oldest_age",
            "How long the oldest queued turn has waited; 0 if none waits",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    pub(crate) fn events_taken(&self, events: usize) {
        self.events.inc_by(events as u64);
    }

    pub(crate) fn lease_given(&self) {
        self.leases.inc();
    }

    pub(crate) fn lease_lapsed(&self) {
        self.lapsed.inc();
    }

    pub(crate) fn turn_finished(&self, outcome: Outcome) {
        self.ended.get_or_create(&EndedAs { outcome: word(outcome) }).inc();
    }

    pub(crate) fn budget_refused(&self) {
        self.refusals.inc();
    }

    pub(crate) fn delivered(&self, after: After) {
        let result = match after {
            After::Delivered => "delivered",
            After::Again { .. } => "failed",
            After::GivenUp | After::Unwanted => "given_up",
        };
        self.deliveries.get_or_create(&DeliveredAs { result }).inc();
    }

    /// The page, with what the database said at `now` and how many streams are open.
    ///
    /// # Errors
    /// Writing to a string does not fail; the library's types say that it may.
    pub(crate) fn page(
        &self,
        census: &Census,
        streams: usize,
        now: Timestamp,
    ) -> Result<String, std::fmt::Error> {
        for (state, turns) in &census.turns {
            let turns = i64::try_from(*turns).unwrap_or(i64::MAX);
            self.turns.get_or_create(&InState { state }).set(turns);
        }
        self.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
        let age = census.oldest_queued_at.map_or(0, |at| now.ms_since(at));
        self.oldest.set(Duration::from_millis(age).as_secs_f64());
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    fn answered(&self, asked: Asked, response: &Response, took: Duration) {
        self.durations.get_or_create(&asked).observe(took.as_secs_f64());
        let Asked { method, route } = asked;
        let answered = Answered { method, route, status: response.status().as_u16().into() };
        self.requests.get_or_create(&answered).inc();
    }
}

/// Counts each call and how long it took.
pub(crate) async fn count(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let asked = Asked { method: method(request.method()), route: route(&request).to_owned() };
    let began = Instant::now();
    let response = next.run(request).await;
    server.metrics.answered(asked, &response, began.elapsed());
    response
}

/// The route as the table has it.
pub(crate) fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str)
}

/// Callers may invent methods, so those that the API does not use are one.
pub(crate) fn method(method: &Method) -> &'static str {
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
        .iter()
        .zip(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        .find_map(|(known, word)| (known == method).then_some(word))
        .unwrap_or("other")
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::NoChange => "no_change",
        Outcome::Failed { .. } => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::LimitReached { .. } => "limit_reached",
    }
}
