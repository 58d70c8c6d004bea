//! Browsers' sessions: a cookie that scripts cannot read, and the proof that a change comes from a page of ours.
//!
//! A browser sends the cookie with whatever any page makes it send. So a call that changes something is taken only if the
//! browser says that it comes from our own origin; one that says nothing is refused, since silence is no permission.
//! Tokens need none of this: no page of another site can make a browser send one.

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method};
use legwork_domain::Timestamp;

use super::door::Door;
use super::secret::{Digest, Secret};
use crate::problem::Failure;

/// How long a session holds that is not used: over a night.
pub(crate) const IDLE_MS: i64 = 24 * 60 * 60 * 1000;

/// How long a session holds at most.
const LIFE_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// How exactly it is kept when a session was last seen: one write a minute, however many calls.
pub(crate) const SEEN_MS: u64 = 60_000;

/// When a session that opens now ends, used or not.
pub(crate) const fn expiry(now: Timestamp) -> Timestamp {
    now.plus_ms(LIFE_MS)
}

/// The cookie's name. With the prefix a browser takes it over TLS only, for this host only (RFC 6265bis, section 4.1.3).
const fn name(door: &Door) -> &'static str {
    if door.is_secure() { "__Host-legwork" } else { "legwork" }
}

/// The header that gives a browser its cookie.
pub(crate) fn cookie(door: &Door, secret: Secret) -> Result<HeaderValue, Failure> {
    set_cookie(door, &secret.reveal(), LIFE_MS / 1000)
}

/// The header that takes it away.
pub(crate) fn no_cookie(door: &Door) -> Result<HeaderValue, Failure> {
    set_cookie(door, "", 0)
}

fn set_cookie(door: &Door, value: &str, seconds: i64) -> Result<HeaderValue, Failure> {
    let secure = if door.is_secure() { "; Secure" } else { "" };
    let name = name(door);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut header = HeaderValue::from_str(&text).map_err(|_| Failure::internal())?;
    header.set_sensitive(true);
    Ok(header)
}

/// The digest of the cookie that came, if one did.
pub(crate) fn digest(door: &Door, headers: &HeaderMap) -> Option<Digest> {
    sent(headers, name(door)).map(|value| Digest::of(value.as_bytes()))
}

/// A cookie that came.
pub(crate) fn sent<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Whether a call that a browser sends with its cookie comes from a page of ours, if it could change anything.
pub(crate) fn same_origin(door: &Door, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    if method.is_safe() {
        return Ok(());
    }
    let fetched = headers.get("sec-fetch-site").is_none_or(|site| site.as_bytes() == b"same-origin");
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let ours = origin.is_some_and(|origin| door.is_origin(origin, host));
    if fetched && ours { Ok(()) } else { Err(Failure::cross_site()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_our_own_pages_change_anything() {
        let door = Door::default();
        let host = ("host", "127.0.0.1:7433");
        let ours = ("origin", "http://127.0.0.1:7433");
        for (method, pairs, taken) in [
            (Method::GET, vec![host], true),
            (Method::POST, vec![host, ours], true),
            (Method::POST, vec![host, ours, ("sec-fetch-site", "same-origin")], true),
            (Method::POST, vec![host], false),
            (Method::POST, vec![host, ("origin", "null")], false),
            (Method::POST, vec![host, ("origin", "http://127.0.0.1:8000")], false),
            (Method::POST, vec![host, ("origin", "https://127.0.0.1:7433")], false),
            (Method::DELETE, vec![host, ("origin", "http://evil.example")], false),
            (Method::POST, vec![host, ours, ("sec-fetch-site", "same-site")], false),
            (Method::POST, vec![host, ours, ("sec-fetch-site", "none")], false),
        ] {
            assert_eq!(same_origin(&door, &method, &headers(&pairs)).is_ok(), taken, "{method} {pairs:?}");
        }
    }

    #[test]
    fn behind_tls_the_cookie_is_this_hosts_alone() {
        let door = Door { public_url: Some("https://legwork.example".into()), ..Door::default() };
        let header = cookie(&door, Secret::draw(super::super::Kind::Session).unwrap()).unwrap();
        let text = header.to_str().unwrap();
        assert!(
            text.starts_with("__Host-legwork=") && text.ends_with("HttpOnly; SameSite=Lax; Secure"),
            "{text}"
        );
        let sent = headers(&[("host", "legwork.example"), ("origin", "https://legwork.example")]);
        assert!(same_origin(&door, &Method::POST, &sent).is_ok());
        let inner = headers(&[("host", "legwork.example"), ("origin", "http://legwork.example")]);
        assert!(same_origin(&door, &Method::POST, &inner).is_err());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let sent = headers(&[("cookie", "a=b; legwork=lws_1; c=d")]);
        assert!(digest(&Door::default(), &sent) == Some(Digest::of(b"lws_1")));
        assert!(digest(&Door::default(), &headers(&[("cookie", "xlegwork=lws_1")])).is_none());
    }
}
