//! What the server is called, how often one may knock, and how long a call may take.
//!
//! A page of a hostile site can make its own name point to this machine and then talk to us as if we were it (DNS
//! rebinding). The browser still sends the name that it believes in, so a call with a name that is not ours is refused
//! before anything else. An address in place of a name cannot be made to point elsewhere, so any is taken.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;

use super::provider::Provider;
use super::rate::Rates;
use crate::Server;
use crate::problem::{self, Failure, MEDIA_TYPE};

/// The longest that a call may take: above the longest wait of a lease call and the slowest commit.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The same for a blob, which may be 64 MiB over a slow line.
const BLOB_LIMIT: Duration = Duration::from_secs(600);

/// How the server is reached from outside.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// The URL by which browsers reach the server, if a proxy stands before it, such as `https://legwork.example`. With
    /// `https` the cookies are for TLS only.
    pub public_url: Option<String>,
    /// Further names by which the server may be called. Addresses, `localhost` and the name in `public_url` need none.
    pub hosts: Vec<String>,
    /// Proxies whose word on who is behind them is taken (`X-Forwarded-For`, `Forwarded`).
    pub trusted_proxies: Vec<IpNet>,
    /// How often one may call.
    pub rates: Rates,
    /// Who says, beside one-time links, who people are.
    pub providers: Vec<Provider>,
}

impl Door {
    /// Whether browsers come over TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        match &self.public_url {
            Some(url) => matches!(url.as_bytes(), [b'h', b't', b't', b'p', b's', b':', ..]),
            None => false,
        }
    }

    /// Whether pages of this origin are ours, where the call came for `host`.
    pub(crate) fn is_origin(&self, origin: &str, host: &str) -> bool {
        match self.public_url.as_deref().and_then(split) {
            Some((scheme, authority)) => origin.strip_prefix(scheme).is_some_and(|rest| rest == authority),
            None => origin.strip_prefix("http://").is_some_and(|rest| rest == host),
        }
    }

    /// The URL before which paths are put in links, where the call came for `host`.
    pub(crate) fn base(&self, host: &str) -> String {
        self.public_url
            .as_deref()
            .map_or_else(|| format!("http://{host}"), |url| url.trim_end_matches('/').to_owned())
    }

    /// Whether `host`, as a call names it, is this server.
    fn is_called(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let public = self.public_url.as_deref().and_then(split).map(|(_, authority)| without_port(authority));
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address
            || name == "localhost"
            || public.is_some_and(|public| public.eq_ignore_ascii_case(&name))
            || self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(&name))
    }
}

/// A URL's scheme with `://`, and its authority.
fn split(url: &str) -> Option<(&str, &str)> {
    let end = url.find("://")? + 3;
    let (scheme, rest) = url.split_at(end);
    Some((scheme, rest.split('/').next().unwrap_or(rest)))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// Lets no call through that is for another server, and none take for ever.
pub(crate) async fn watch(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    if !is_for_us(&server.door, request.uri(), request.headers()) {
        return Failure::misdirected().into();
    }
    let limit = limit(request.method(), request.uri());
    // Only until the answer begins: a stream may go on for days.
    let answer = tokio::time::timeout(limit, next.run(request)).await;
    let answer = answer.unwrap_or_else(|_| Failure::too_slow(limit).into());
    if answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == MEDIA_TYPE.as_bytes()) {
        problem::without_secrets(answer, &server.redactor).await
    } else {
        answer
    }
}

fn is_for_us(door: &Door, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).into_iter();
    let (host, more) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
    let named = host.is_some_and(|host| door.is_called(host)) && more.is_none();
    named && uri.authority().is_none_or(|authority| door.is_called(authority.as_str()))
}

fn limit(method: &Method, uri: &Uri) -> Duration {
    if method == Method::PUT && uri.path().starts_with("/v1/blobs/") { BLOB_LIMIT } else { CALL_LIMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered() {
        let door = Door {
            public_url: Some("https://legwork.example:8443/".into()),
            hosts: vec!["build.lan".into()],
            ..Door::default()
        };
        for (host, ours) in [
            ("127.0.0.1:7433", true),
            ("[::1]:7433", true),
            ("[::1]", true),
            ("192.168.1.5", true),
            ("localhost", true),
            ("LOCALHOST:7433", true),
            ("legwork.example", true),
            ("build.lan:7433", true),
            ("rebound.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(door.is_called(host), ours, "{host}");
        }
    }
}
