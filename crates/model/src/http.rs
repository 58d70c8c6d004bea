//! The HTTP clients, one for each kind of way.
//!
//! A model on this machine must be reachable in a millisecond: its client knows no proxies and no certificates. Loading
//! the system's certificates takes tens of milliseconds, so the client that needs them is built when a first provider
//! far away is opened. Neither follows redirects: a key must not travel to a host that nobody configured.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Url, redirect};
use tokio::sync::OnceCell;

use crate::Error;

/// How long an unused connection is kept: longer than most tool calls, shorter than what servers allow.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// Both clients.
#[derive(Debug)]
pub(crate) struct Clients {
    connect: Duration,
    near: OnceCell<Client>,
    far: OnceCell<Client>,
}

impl Clients {
    /// Clients that give up connecting after `connect`. None is built yet.
    pub(crate) const fn new(connect: Duration) -> Self {
        Self { connect, near: OnceCell::const_new(), far: OnceCell::const_new() }
    }

    /// The client for `url`.
    pub(crate) async fn for_url(&self, url: &Url) -> Result<Client, Error> {
        let connect = self.connect;
        let client = if is_loopback(url) {
            self.near.get_or_try_init(|| async move { near(connect) }).await?
        } else {
            self.far.get_or_try_init(|| far(connect)).await?
        };
        Ok(client.clone())
    }
}

/// Whether plain HTTP to `url` stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    local && url.scheme() == "http"
}

fn common(connect: Duration) -> ClientBuilder {
    Client::builder()
        .connect_timeout(connect)
        .pool_idle_timeout(POOL_IDLE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .user_agent(concat!("legwork/", env!("CARGO_PKG_VERSION")))
}

/// The client wants a TLS configuration even where no TLS will be spoken: one that trusts nobody is made in no time.
fn near(connect: Duration) -> Result<Client, Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(format!("no TLS: {error}")))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    build(common(connect).no_proxy().tls_backend_preconfigured(tls))
}

/// Reads the system's certificates, so off the async threads.
async fn far(connect: Duration) -> Result<Client, Error> {
    let task = tokio::task::spawn_blocking(move || {
        // An error means that somebody installed one before, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        build(common(connect))
    });
    task.await.map_err(|error| Error::Config(format!("the HTTP client could not be made: {error}")))?
}

fn build(builder: ClientBuilder) -> Result<Client, Error> {
    builder
        .build()
        .map_err(|error| Error::Config(format!("the HTTP client could not be made: {}", plain(&error))))
}

/// An error's words with all its causes and without the URL, which may hold credentials.
pub(crate) fn plain(error: &reqwest::Error) -> String {
    let mut words = match () {
        () if error.is_connect() => "cannot connect".to_owned(),
        () if error.is_timeout() => "timed out".to_owned(),
        () if error.is_body() || error.is_decode() => "the connection broke off".to_owned(),
        () => "the request failed".to_owned(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !text.contains("://") && !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_this_machine_is_near() {
        let near = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(near("http://127.0.0.1:1/v1") && near("http://localhost/") && near("http://[::1]:8080/"));
        assert!(
            !near("https://127.0.0.1/")
                && !near("http://10.0.0.1/")
                && !near("http://localhost.evil.example/")
        );
    }
}
