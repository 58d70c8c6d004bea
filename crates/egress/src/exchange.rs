//! One request and its answer, where both are looked at.
//!
//! The request is taken apart and put together anew: what two programs could read differently (two lengths, two hosts,
//! headers that hold for one hop) does not reach the host, and only what is known to be harmless is passed on.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::body::{Body, Look, Watched, full};
use crate::dial::NoWay;
use crate::forms::Stream;
use crate::host::Authority;
use crate::policy::{Grant, Scheme};
use crate::proxy::{Proxy, outcome_of, refusal, refusal_of};
use crate::receipt::{Entry, Matter, Outcome, Program, Way};
use crate::secret::Target;
use crate::stream::add;

/// Headers that hold for one hop (RFC 9110, section 7.6.1), and one that leads clients past the proxy (RFC 7838).
const ONE_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const ALTERNATIVES: &str = "alt-svc";

/// The longest form that values are put into.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Where a connection's requests go.
pub(crate) struct Site {
    pub(crate) to: Authority,
    pub(crate) scheme: Scheme,
    pub(crate) grant: Grant,
    pub(crate) program: Option<Program>,
}

/// A request that is not passed on.
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    fn bad(why: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.to_owned() }
    }

    fn forbidden(why: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, why: why.into() }
    }
}

impl Site {
    fn matter(&self, method: &Method) -> Matter {
        let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
        Matter {
            host: self.to.host.to_string(),
            port: self.to.port,
            way: if self.scheme == Scheme::Https { Way::Https } else { Way::Http },
            method: Some(if known { method.to_string() } else { "other".to_owned() }),
            outcome: Outcome::Allowed(self.grant.rule.clone()),
            program: self.program.clone(),
        }
    }

    const fn target(&self) -> Target<'_> {
        match self.scheme {
            Scheme::Https => Target::Tls(&self.to.host),
            Scheme::Http => Target::Plain,
        }
    }
}

impl Proxy {
    /// Passes a request on and its answer back.
    pub(crate) async fn exchange(
        &self,
        site: &Site,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        // Both bodies hold it; the last of them writes it down.
        let entry = Arc::new(Entry::new(&self.ledger, site.matter(request.method())));
        let is_head = request.method() == Method::HEAD;
        let (parts, body) = request.into_parts();
        let prepared = match self.prepare(site, parts) {
            Ok(parts) => self.fill_body(site, parts, body).await,
            Err(refused) => Err(refused),
        };
        let (parts, body) = match prepared {
            Ok(prepared) => prepared,
            Err(Refused { status, why }) => {
                let sentence = format!("{} is blocked: {why}", site.to);
                entry.came_to(Outcome::Denied(why));
                return Ok(refusal(status, &sentence));
            }
        };
        let body = match body {
            Outgoing::Stream(body) => {
                let place = format!("egress, in the body of a request to {}", site.to);
                let look = Look::Out(self.tripwire.watch(), place);
                Watched::new(body, look, Arc::clone(&entry)).boxed()
            }
            Outgoing::Whole(bytes) => {
                add(&entry.bytes.sent, bytes.len());
                full(bytes)
            }
        };
        match self.client.request(Request::from_parts(parts, body)).await {
            Ok(response) => Ok(self.answer_of(site, response, entry, is_head)),
            Err(error) => Ok(self.failed(&entry, &error)),
        }
    }

    /// Looks at the head of a request and makes the one that is sent.
    fn prepare(&self, site: &Site, mut parts: Parts) -> Result<Parts, Refused> {
        check_authority(site, &parts)?;
        check_framing(&parts)?;
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Refused::forbidden(format!("{} is not passed on", parts.method)));
        }
        if !site.grant.methods.allow(parts.method.as_str()) {
            return Err(Refused::forbidden(format!("{} allows GET, HEAD and OPTIONS only", site.grant.rule)));
        }
        let head = head_text(&parts.uri, &parts.headers);
        if self.is_caught(head.as_bytes(), format_args!("a request to {}", site.to)) {
            return Err(Refused::forbidden("it holds what must not leave"));
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let target = self.secrets.fill_target(site.target(), target).map_err(Refused::forbidden)?;
        strip(&mut parts.headers);
        parts.headers.remove(HOST);
        self.secrets.fill_headers(site.target(), &mut parts.headers).map_err(Refused::forbidden)?;
        if self.scrubs(site) {
            // What comes back must be readable, and whole, to find values in it.
            parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            parts.headers.remove(RANGE);
        }
        let scheme = if site.scheme == Scheme::Https { "https" } else { "http" };
        parts.uri = Uri::builder()
            .scheme(scheme)
            .authority(authority_text(site))
            .path_and_query(target)
            .build()
            .map_err(|_| Refused::bad("its path cannot be passed on"))?;
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Ok(parts)
    }

    fn scrubs(&self, site: &Site) -> bool {
        site.scheme == Scheme::Https && self.secrets.concern(&site.to.host)
    }

    /// Puts values into a form.
    async fn fill_body(
        &self,
        site: &Site,
        mut parts: Parts,
        body: Incoming,
    ) -> Result<(Parts, Outgoing), Refused> {
        let is_form = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str()
                .is_ok_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
        });
        let fills = is_form
            && site.scheme == Scheme::Https
            && self.secrets.may_stand_in_a_form(&site.to.host)
            && !parts.headers.contains_key(CONTENT_ENCODING);
        if !fills {
            return Ok((parts, Outgoing::Stream(body)));
        }
        let collected = Limited::new(body, FORM_BYTES_MAX).collect().await;
        let bytes =
            collected.map_err(|_| Refused::forbidden("a form to this host has at most 64 KiB"))?.to_bytes();
        if self.is_caught(&bytes, format_args!("a form for {}", site.to)) {
            return Err(Refused::forbidden("it holds what must not leave"));
        }
        let Ok(form) = std::str::from_utf8(&bytes) else { return Ok((parts, Outgoing::Whole(bytes))) };
        let filled = self.secrets.fill_form(site.target(), form).map_err(Refused::forbidden)?;
        parts.headers.remove(CONTENT_LENGTH);
        Ok((parts, Outgoing::Whole(filled.into())))
    }

    /// Makes the answer that is given inside.
    fn answer_of(
        &self,
        site: &Site,
        response: Response<Incoming>,
        entry: Arc<Entry>,
        is_head: bool,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return refusal(
                StatusCode::BAD_GATEWAY,
                "the host wants to change the protocol, which is not passed on",
            );
        }
        strip(&mut parts.headers);
        parts.headers.remove(ALTERNATIVES);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        if !self.scrubs(site) {
            return Response::from_parts(parts, Watched::new(body, Look::In(None), entry).boxed());
        }
        let is_plain = parts.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
        if !is_plain && !is_head {
            return refusal(
                StatusCode::BAD_GATEWAY,
                "the host answers compressed though it was asked not to; secrets could not be found in that",
            );
        }
        self.scrub_headers(&mut parts.headers);
        if !is_head {
            parts.headers.remove(CONTENT_LENGTH);
        }
        let look = Look::In(Some(Stream::new(self.values.clone())));
        Response::from_parts(parts, Watched::new(body, look, entry).boxed())
    }

    fn scrub_headers(&self, headers: &mut HeaderMap) {
        let replaced: Vec<(HeaderName, Vec<HeaderValue>)> = headers
            .keys()
            .filter(|name| headers.get_all(*name).iter().any(|value| self.values.are_in(value.as_bytes())))
            .map(|name| {
                let scrub = |value: &HeaderValue| {
                    HeaderValue::from_bytes(&self.values.replace(value.as_bytes())).ok()
                };
                (name.clone(), headers.get_all(name).iter().filter_map(scrub).collect())
            })
            .collect();
        for (name, values) in replaced {
            headers.remove(&name);
            for value in values {
                headers.append(name.clone(), value);
            }
        }
    }

    fn failed(&self, entry: &Entry, error: &hyper_util::client::legacy::Error) -> Response<Body> {
        if self.is_alarmed() {
            entry.came_to(Outcome::Denied("it holds what must not leave".to_owned()));
            return refusal(StatusCode::FORBIDDEN, "it holds what must not leave");
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(no_way) = cause.downcast_ref::<NoWay>() {
                entry.came_to(outcome_of(no_way));
                return refusal_of(no_way);
            }
            source = cause.source();
        }
        let why = format!("the host could not be asked: {}", innermost(error));
        entry.came_to(Outcome::Failed(why.clone()));
        refusal(StatusCode::BAD_GATEWAY, &why)
    }
}

/// What is sent.
enum Outgoing {
    Stream(Incoming),
    Whole(Bytes),
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The host's name, with its port where that is not the usual one: as clients write it.
fn authority_text(site: &Site) -> String {
    if site.to.port == site.scheme.port() { site.to.host.to_string() } else { site.to.to_string() }
}

/// Every name of a host in the request is the one that was allowed.
fn check_authority(site: &Site, parts: &Parts) -> Result<(), Refused> {
    let hosts = parts.headers.get_all(HOST).iter();
    let named: Vec<Option<&str>> = parts
        .uri
        .authority()
        .map(|authority| Some(authority.as_str()))
        .into_iter()
        .chain(hosts.map(|host| host.to_str().ok()))
        .collect();
    if named.is_empty() || parts.headers.get_all(HOST).iter().count() > 1 {
        return Err(Refused::bad("it does not name one host"));
    }
    let agrees = |text: &Option<&str>| {
        text.and_then(|text| Authority::parse(text, Some(site.scheme.port())).ok())
            .is_some_and(|named| named == site.to)
    };
    if named.iter().all(agrees) {
        Ok(())
    } else {
        Err(Refused::forbidden("it names another host than its connection"))
    }
}

/// One length, and no protocol but HTTP.
fn check_framing(parts: &Parts) -> Result<(), Refused> {
    let headers = &parts.headers;
    let codings = headers.get_all(TRANSFER_ENCODING).iter().count();
    if codings > 0 && headers.contains_key(CONTENT_LENGTH) || codings > 1 {
        return Err(Refused::bad("it has two lengths"));
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Refused::bad("it has two lengths"));
    }
    if headers.contains_key(UPGRADE) {
        return Err(Refused::forbidden("a change of protocol is not passed on"));
    }
    Ok(())
}

/// What a decoy is looked for in.
pub(crate) fn head_text(uri: &Uri, headers: &HeaderMap) -> String {
    let mut text = uri.to_string();
    for (name, value) in headers {
        text.push('\n');
        text.push_str(name.as_str());
        text.push(':');
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

/// Takes out what holds for one hop, and what the request itself says does.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ONE_HOP {
        headers.remove(name);
    }
    debug_assert!(!headers.contains_key(TE) && !headers.contains_key(TRAILER));
}
