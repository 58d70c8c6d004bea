//! Spans of requests, turns, model requests and tool calls, sent to a collector by OTLP over HTTP.
//!
//! They hold ids, names, counts and times, never a prompt, an answer or a command. A thread of its own sends them, with a
//! client of its own: the program's work neither waits for a collector nor stops because there is none.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Who the spans are from, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
const SERVICE: &str = "legwork";

/// How long the end of the program waits for the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// The way to a collector. Dropping it sends what is left.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Sends to `endpoint`, the URL of a collector for all signals (`http://127.0.0.1:4318`). Headers, such as a key, are
    /// those of `OTEL_EXPORTER_OTLP_HEADERS`, which the exporter reads.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn to(endpoint: &str) -> Result<Self, ExporterBuildError> {
        // The exporter's client asks for the process's provider. `Err` means that one is installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        let named = Resource::builder().build();
        let known =
            named.get(&SERVICE_NAME).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
        let resource = if known { named } else { Resource::builder().with_service_name(SERVICE).build() };
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { provider })
    }

    /// What hands our own spans over; those of libraries are left out.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target("legwork", LevelFilter::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The attribute of a resource that says who it is.
const SERVICE_NAME: opentelemetry::Key = opentelemetry::Key::from_static_str("service.name");
