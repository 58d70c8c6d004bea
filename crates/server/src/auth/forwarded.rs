//! Who is behind a proxy.
//!
//! Each proxy adds at the end of a list whom it was called by. So the list is read from its end, and only as long as the
//! address before is that of a proxy which the operator trusts: what a stranger wrote itself stands further in front.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::Server;
use crate::problem::Failure;

/// The list as most proxies write it.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies in a row that are looked behind: a content network, a load balancer, a gateway, and some.
const HOPS_MAX: usize = 8;

/// Where a call comes from, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) IpAddr);

impl Origin {
    /// Of a connection from `peer`.
    pub(crate) fn of(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> Self {
        let is_trusted = |address: IpAddr| {
            let address = address.to_canonical();
            trusted.iter().any(|network| network.contains(&address))
        };
        let mut origin = peer;
        if !is_trusted(origin) {
            return Self(origin);
        }
        for named in named(headers).iter().rev().take(HOPS_MAX) {
            let Some(before) = address(named) else { break };
            origin = before;
            if !is_trusted(origin) {
                break;
            }
        }
        Self(origin)
    }
}

impl FromRequestParts<std::sync::Arc<Server>> for Origin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &std::sync::Arc<Server>) -> Result<Self, Failure> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or_else(Failure::internal)?;
        Ok(Self::of(peer.0.ip(), &server.door.trusted_proxies, &parts.headers))
    }
}

/// Whom the calls before came from, in order. Where a proxy writes the one header and lets the other pass, the other is a
/// stranger's word; so only one is read.
fn named(headers: &HeaderMap) -> Vec<String> {
    let lines = |name: &str| -> Vec<String> {
        // A line that is no text counts all the same: its end is a proxy's, however a stranger began it.
        let lines = headers.get_all(name).into_iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let parts =
            |line: Cow<'_, str>| line.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        lines.flat_map(parts).collect()
    };
    let usual = lines(X_FORWARDED_FOR);
    if !usual.is_empty() {
        return usual;
    }
    lines(FORWARDED.as_str()).iter().map(|element| of_element(element).to_owned()).collect()
}

/// The `for` of an element (RFC 7239, section 4); empty if there is none.
fn of_element(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut whom = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, value)| value);
    whom.next().unwrap_or_default().trim_matches('"')
}

/// An address, which may have a port; `None` for a word in its place.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Origin::of(peer.parse().unwrap(), &trusted, &map).0.to_string()
    }

    #[test]
    fn a_trusted_proxy_says_who_is_behind_it_and_nobody_else_does() {
        let list = "x-forwarded-for";
        for (peer, headers, who) in [
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec![(list, "192.0.2.7")], "192.0.2.7"),
            ("::ffff:127.0.0.1", vec![(list, "192.0.2.7:4711")], "192.0.2.7"),
            ("192.0.2.9", vec![(list, "198.51.100.1")], "192.0.2.9"),
            // What the stranger wrote stands before what the proxies wrote.
            ("127.0.0.1", vec![(list, "198.51.100.1, 192.0.2.7, 10.0.0.2")], "192.0.2.7"),
            ("127.0.0.1", vec![(list, "198.51.100.1"), (list, "192.0.2.7")], "192.0.2.7"),
            ("127.0.0.1", vec![(list, "198.51.100.1, nonsense, 10.0.0.2")], "10.0.0.2"),
            (
                "127.0.0.1",
                vec![("forwarded", "for=198.51.100.1, for=\"[2001:db8::1]:80\";proto=https")],
                "2001:db8::1",
            ),
            ("127.0.0.1", vec![("forwarded", "proto=https;FOR=192.0.2.7, for=fd00::2")], "192.0.2.7"),
            ("127.0.0.1", vec![("forwarded", "for=unknown")], "127.0.0.1"),
            ("127.0.0.1", vec![("forwarded", "for=198.51.100.1"), (list, "192.0.2.7")], "192.0.2.7"),
            // What is no text hides neither what a proxy wrote behind it nor that there is such a header.
            ("127.0.0.1", vec![("forwarded", "for=198.51.100.1"), (list, "\u{e9}, 192.0.2.7")], "192.0.2.7"),
            ("127.0.0.1", vec![("forwarded", "for=198.51.100.1"), (list, "\u{e9}")], "127.0.0.1"),
        ] {
            assert_eq!(origin(peer, &headers), who, "{peer} {headers:?}");
        }
    }
}
