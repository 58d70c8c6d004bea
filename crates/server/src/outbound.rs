//! The one way out: calls to addresses that callers named.
//!
//! A name may point into the house: at this machine, the network behind it or a cloud's metadata. So the name is resolved
//! first, each of its addresses must be one of the public internet, and the call goes to those addresses and no other,
//! whatever the name says a moment later. Redirects are not followed. An operator may name hosts that are allowed all
//! the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http;
use legwork_address::is_public;
use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::crypto::ring;

/// What the other end sees of us.
const USER_AGENT: &str = concat!("legwork/", env!("CARGO_PKG_VERSION"));

/// The longest answer that is read: some hundred times what an identity provider says of itself.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest that such a call may take: a person waits for it.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Calls out of the server.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Hosts that may be private, as URLs name them.
    allowed: Vec<String>,
}

/// What came back. The body is not read: nobody needs it, and it may have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
}

impl Outbound {
    pub(crate) const fn new(allowed: Vec<String>) -> Self {
        Self { allowed }
    }

    /// Posts JSON. The caller bounds the time.
    ///
    /// # Errors
    /// A sentence for the one who named the URL. It does not tell closed ports of hosts that are refused from open ones.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: [(&'static str, String); 3],
        body: String,
    ) -> Result<Answer, String> {
        let url = checked(url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let addresses = self.resolve(&url).await?;
        let client = client(&url, &host, &addresses).map_err(|error| reason(&error))?;
        let mut request = client.post(url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| reason(&error))?;
        Ok(Answer { status: response.status().as_u16() })
    }

    /// Sends a request and reads the answer, of at most [`BODY_BYTES_MAX`], within [`FETCH_LIMIT`].
    ///
    /// # Errors
    /// As [`Outbound::post`].
    pub(crate) async fn fetch(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, String> {
        tokio::time::timeout(FETCH_LIMIT, self.fetch_at_leisure(request))
            .await
            .unwrap_or_else(|_| Err("The receiver was too slow.".to_owned()))
    }

    async fn fetch_at_leisure(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, String> {
        let url = checked(&request.uri().to_string())?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let addresses = self.resolve(&url).await?;
        let client = client(&url, &host, &addresses).map_err(|error| reason(&error))?;
        let request = reqwest::Request::try_from(request).map_err(|error| reason(&error))?;
        let mut response = client.execute(request).await.map_err(|error| reason(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_BYTES_MAX {
                return Err(format!("The answer is longer than {BODY_BYTES_MAX} bytes."));
            }
        }
        let mut answer = http::Response::new(body);
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, String> {
        let host = bare(url);
        let port = url.port_or_known_default().unwrap_or(443);
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|_| "The receiver's name cannot be resolved.".to_owned())?.collect();
        let allowed = self.allowed.iter().any(|name| name.eq_ignore_ascii_case(host));
        if !allowed && !found.iter().all(|address| is_public(address.ip())) {
            return Err(
                "The receiver is in a private network, which this server's operator has not allowed."
                    .to_owned(),
            );
        }
        Ok(found)
    }
}

const SCHEME: &str = "The URL must begin with https:// or http:// and name a host.";

/// A URL that calls may go to.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(crate) fn checked(text: &str) -> Result<Url, String> {
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err(SCHEME.to_owned());
    }
    // A parser would drop them, or take `\\` for `/`: what is stored is then not what is called.
    let authority = text.splitn(3, '/').nth(2).unwrap_or_default();
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) || authority.contains('\\') {
        return Err(
            "The URL must have no spaces and no control characters, and no \\ in its host.".to_owned()
        );
    }
    let url = Url::parse(text).map_err(|_| "The URL cannot be read.".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(SCHEME.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("The URL must have no user, no password and no fragment.".to_owned());
    }
    Ok(url)
}

/// The host without the brackets of an IPv6 address.
fn bare(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// One for each call, since each has its own addresses.
fn client(url: &Url, host: &str, addresses: &[SocketAddr]) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .no_proxy()
        .resolve_to_addrs(host, addresses);
    if url.scheme() == "https" {
        // The verifier of reqwest's own set-up asks for the process's provider. `Err` means that one is installed.
        let _ = ring::default_provider().install_default();
        return builder.build();
    }
    // Plain HTTP never looks at certificates: the system's need not be loaded.
    let provider = Arc::new(ring::default_provider());
    match rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(config) => builder
            .tls_backend_preconfigured(
                config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
            )
            .build(),
        Err(_) => builder.build(),
    }
}

/// Without the URL, which may hold a secret.
fn reason(error: &reqwest::Error) -> String {
    let what = if error.is_connect() {
        "The receiver takes no connection"
    } else if error.is_timeout() {
        "The receiver was too slow"
    } else {
        "The call broke off"
    };
    format!("{what}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn however_a_private_host_is_written_it_is_refused() {
        let outbound = Outbound::new(vec!["an-allowed-host".to_owned()]);
        for url in [
            "http://localhost:1/",
            "http://127.0.0.1:1/",
            "http://2130706433:1/",
            "http://0x7f.1:1/",
            "http://[::1]:1/",
            "http://[::ffff:7f00:1]:1/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            let headers = [("a", String::new()), ("b", String::new()), ("c", String::new())];
            let refused = outbound.post(url, headers, String::new()).await.unwrap_err();
            assert!(refused.contains("private network"), "{url}: {refused}");
        }
    }

    #[test]
    fn urls_that_carry_more_than_a_place_are_refused() {
        for url in [
            "ftp://h/",
            "http://",
            "https://u@h/",
            "https://u:p@h/",
            "https://h/#x",
            "h",
            "file:///etc/passwd",
        ] {
            assert!(checked(url).is_err(), "{url}");
        }
        assert!(checked("https://h:8443/a?b=c").is_ok());
    }
}
