//! How calls travel: one pooled HTTP client, bounded answers, problems told from nonsense.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use legwork_domain::Problem;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use serde::de::DeserializeOwned;

use crate::Error;

/// A server that does not take a connection within this is down for our purposes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For calls that do not wait on purpose: far above a commit on a busy disk.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest JSON answer: an assignment, whose history is bounded by what a worker could append.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The largest problem document worth reading.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A pooled HTTP client that knows its server and carries the token.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    base: Arc<str>,
}

impl Transport {
    pub(crate) fn new(base_url: &str, token: &str) -> Result<Self, Error> {
        let address = |reason| Error::Address { base_url: base_url.to_owned(), reason };
        let url = Url::parse(base_url).map_err(|_| address("it is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(address("its scheme is neither http nor https"));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| address("the token has characters that a header cannot hold"))?;
        authorization.set_sensitive(true);
        let http = builder(&url)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            .build()
            .map_err(|source| Error::unreachable("set up HTTP", source))?;
        Ok(Self { http, base: base_url.trim_end_matches('/').into() })
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.base))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base)).timeout(CALL_TIMEOUT)
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.http.delete(format!("{}{path}", self.base)).timeout(CALL_TIMEOUT)
    }

    pub(crate) fn patch(&self, path: &str) -> RequestBuilder {
        self.http.patch(format!("{}{path}", self.base)).timeout(CALL_TIMEOUT)
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.http.put(format!("{}{path}", self.base))
    }

    /// Sends and gives back a response of a 2xx status; any other becomes an error.
    pub(crate) async fn send(
        &self,
        action: &'static str,
        request: RequestBuilder,
    ) -> Result<Response, Error> {
        let response = request.send().await.map_err(|source| Error::unreachable(action, source))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(action, response).await) }
    }

    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        action: &'static str,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        self.json_or_empty(action, request)
            .await?
            .ok_or_else(|| Error::protocol(action, "an answer without content"))
    }

    /// `None` for 204.
    pub(crate) async fn json_or_empty<T: DeserializeOwned>(
        &self,
        action: &'static str,
        request: RequestBuilder,
    ) -> Result<Option<T>, Error> {
        let response = self.send(action, request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let body = read(action, response, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&body).map(Some).map_err(|error| Error::protocol(action, error.to_string()))
    }

    pub(crate) async fn empty(&self, action: &'static str, request: RequestBuilder) -> Result<(), Error> {
        let response = self.send(action, request).await?;
        read(action, response, PROBLEM_BYTES_MAX).await.map(drop)
    }

    pub(crate) async fn bytes(
        &self,
        action: &'static str,
        request: RequestBuilder,
        bytes_max: usize,
    ) -> Result<Bytes, Error> {
        read(action, self.send(action, request).await?, bytes_max).await
    }
}

/// No redirects, so that the token never travels to another host.
fn builder(url: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none());
    let builder = if is_loopback(url) { builder.no_proxy() } else { builder };
    if url.scheme() == "https" {
        // The verifier of reqwest's own set-up asks for the process's provider. `Err` means that one is installed.
        let _ = ring::default_provider().install_default();
        builder
    } else {
        without_roots(builder)
    }
}

/// Plain HTTP never looks at certificates: loading the system's would cost more than a whole loopback call.
fn without_roots(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    let provider = Arc::new(ring::default_provider());
    match rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(config) => builder.tls_backend_preconfigured(
            config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
        ),
        Err(_) => builder,
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn refusal(action: &'static str, response: Response) -> Error {
    let status = response.status();
    let body = match read(action, response, PROBLEM_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Error::Refused { action, problem: Box::new(problem) },
        Err(_) => Error::protocol(action, format!("status {status} without a problem document")),
    }
}

async fn read(action: &'static str, mut response: Response, bytes_max: usize) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| Error::unreachable(action, source))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Error::protocol(action, format!("an answer of more than {bytes_max} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_machine_is_loopback() {
        for (url, loopback) in [
            ("http://127.0.0.1:7433", true),
            ("http://127.8.8.8", true),
            ("http://[::1]:7433", true),
            ("http://localhost:7433", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let transport = Transport::new("http://127.0.0.1:1", "s3cret-token").unwrap();
        assert!(!format!("{transport:?}").contains("s3cret"), "{transport:?}");
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_at_once() {
        for (url, token) in [("ftp://x", "t"), ("nonsense", "t"), ("http://127.0.0.1", "a\nb")] {
            assert!(matches!(Transport::new(url, token), Err(Error::Address { .. })), "{url}");
        }
    }
}
