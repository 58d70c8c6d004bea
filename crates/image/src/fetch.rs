//! Requests to registries, and the one place that lets them out.
//!
//! A name may point into the house: at this machine, the network behind it or a cloud's metadata. So names are resolved
//! here, and only addresses of the public internet are connected to, unless the operator says that a registry is private.
//! Redirects are followed one by one under the same rules, and never with what opens the registry.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use legwork_address::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::crypto::ring;

/// What registries see of us.
const USER_AGENT: &str = concat!("legwork/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// How long a registry may say nothing in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Redirects of one request: a registry leads to its storage, that one perhaps to a near copy.
const REDIRECTS_MAX: usize = 5;

/// Which addresses and schemes a registry may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The public internet, by TLS.
    Public,
    /// Anything: the operator has said so.
    Private,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It leads where it may not.
    Forbidden(String),
    /// No connection, or it broke off.
    Broken(String),
}

/// Sends requests to one registry and to where that one leads.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    client: Client,
    reach: Reach,
}

impl Outlet {
    pub(crate) fn new(reach: Reach) -> Result<Self, Failed> {
        // The verifier of reqwest's own set-up asks for the process's provider. `Err` means that one is installed.
        let _ = ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_WAIT)
            .read_timeout(SILENCE_MAX)
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Looked(reach)))
            .build()
            .map_err(|error| Failed::Broken(reason(&error)))?;
        Ok(Self { client, reach })
    }

    /// Gets what is at the URL, or where it leads. `key` goes to the URL's own host alone.
    pub(crate) async fn get(
        &self,
        url: &str,
        accept: &'static str,
        key: Option<&HeaderValue>,
    ) -> Result<Response, Failed> {
        let mut url = Url::parse(url).map_err(|_| Failed::Forbidden(format!("{url:.200} is no URL")))?;
        let origin = url.origin();
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url)?;
            let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
            if let Some(key) = key.filter(|_| url.origin() == origin) {
                request = request.header(AUTHORIZATION, key);
            }
            let answer = request.send().await.map_err(|error| self.why(&url, &error))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let next = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let next = next.and_then(|to| url.join(to).ok());
            url = next.ok_or_else(|| Failed::Broken("it redirects to no URL".to_owned()))?;
        }
        Err(Failed::Broken(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// An address in the URL itself is never resolved, so it is looked at here.
    fn check(&self, url: &Url) -> Result<(), Failed> {
        if self.reach == Reach::Private {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(Failed::Forbidden(format!("{} without TLS", host(url))));
        }
        let literal = host(url).trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|ip| !is_public(ip)) {
            return Err(Failed::Forbidden(format!("{}, a private address,", host(url))));
        }
        Ok(())
    }

    fn why(&self, url: &Url, error: &reqwest::Error) -> Failed {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if inner.is::<NotPublic>() {
                return Failed::Forbidden(format!("{}, a private address,", host(url)));
            }
            cause = inner.source();
        }
        Failed::Broken(reason(error))
    }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// Without the URL: one of a storage holds what opens it.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "it is too slow"
    } else if error.is_connect() {
        "it takes no connection"
    } else {
        "the connection broke off"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let last = cause.to_string();
    if last.contains("://") { what.to_owned() } else { format!("{what} ({last:.200})") }
}

/// A name whose addresses are not all public.
#[derive(Debug, thiserror::Error)]
#[error("it has a private address")]
struct NotPublic;

/// Resolves names, and gives only addresses that may be connected to.
struct Looked(Reach);

impl Resolve for Looked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if reach == Reach::Public && !found.iter().all(|address| is_public(address.ip())) {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
