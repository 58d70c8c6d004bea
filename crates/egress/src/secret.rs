//! Secrets that never enter: programs hold a placeholder, and the value takes its place on the way out.
//!
//! Only where it was said that it may stand, only over TLS, only to its hosts. Anywhere else a placeholder is a random text
//! that opens nothing; a request that carries one to where its value may not go is refused, so that people see why.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use legwork_forms::in_url;

use crate::host::Host;
use crate::policy::Pattern;

/// Reads what programs write, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a secret may stand in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the value of this header (in lower case), or of any.
    Header(Option<String>),
    /// In the user name or password of `Authorization: Basic`.
    Basic,
    /// In a value of the query.
    Query,
    /// In a value of a form (`application/x-www-form-urlencoded`) of at most 64 KiB.
    Form,
}

/// A secret.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its value, which nothing inside may see.
    pub value: String,
    /// What programs hold instead: random, letters, digits and `_`.
    pub placeholder: String,
    /// Where it may go.
    pub hosts: Vec<Pattern>,
    /// Where it may stand.
    pub places: Vec<Place>,
}

/// Without its value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value: _, placeholder, hosts, places } = self;
        f.debug_struct("Secret")
            .field("name", name)
            .field("placeholder", placeholder)
            .field("hosts", hosts)
            .field("places", places)
            .finish_non_exhaustive()
    }
}

impl Secret {
    fn may_go_to(&self, host: &Host) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn may_stand(&self, place: &Place) -> bool {
        self.places.iter().any(|allowed| match (allowed, place) {
            (Place::Header(None), Place::Header(_)) => true,
            (allowed, place) => allowed == place,
        })
    }

    /// What to put for the placeholder.
    ///
    /// # Errors
    /// A sentence, if it may not go there or stand there.
    fn put(&self, to: Target<'_>, place: &Place) -> Result<&str, String> {
        let Target::Tls(host) = to else {
            return Err(format!("the secret {} goes over https only", self.name));
        };
        if !self.may_go_to(host) {
            return Err(format!("the secret {} may not go to {host}", self.name));
        }
        if !self.may_stand(place) {
            return Err(format!("the secret {} may not stand {}", self.name, place_in_words(place)));
        }
        Ok(&self.value)
    }
}

fn place_in_words(place: &Place) -> String {
    match place {
        Place::Header(Some(name)) => format!("in the header {name}"),
        Place::Header(None) => "in a header".to_owned(),
        Place::Basic => "in the password of a basic authorization".to_owned(),
        Place::Query => "in the query".to_owned(),
        Place::Form => "in a form".to_owned(),
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// To this host, over TLS.
    Tls(&'a Host),
    /// Without TLS.
    Plain,
}

/// All secrets of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Secrets(pub(crate) Vec<Secret>);

impl Secrets {
    /// Whether any may go to a host: then requests to it have to be looked at.
    pub(crate) fn concern(&self, host: &Host) -> bool {
        self.0.iter().any(|secret| secret.may_go_to(host))
    }

    pub(crate) fn may_stand_in_a_form(&self, host: &Host) -> bool {
        self.0.iter().any(|secret| secret.may_go_to(host) && secret.may_stand(&Place::Form))
    }

    /// Puts values into headers.
    pub(crate) fn fill_headers(&self, to: Target<'_>, headers: &mut HeaderMap) -> Result<(), String> {
        for (name, value) in headers.iter_mut() {
            let is_login = name == AUTHORIZATION || name == PROXY_AUTHORIZATION;
            let login = is_login.then(|| basic(value.as_bytes())).flatten();
            for secret in &self.0 {
                if let Some(login) = login.as_deref().filter(|login| holds(login, &secret.placeholder)) {
                    let filled = replaced(login, &secret.placeholder, secret.put(to, &Place::Basic)?);
                    *value = sensitive(format!("Basic {}", BASE64.encode(filled)).as_bytes(), secret)?;
                } else if holds(value.as_bytes(), &secret.placeholder) {
                    let put = secret.put(to, &Place::Header(Some(name.as_str().to_owned())))?;
                    *value = sensitive(&replaced(value.as_bytes(), &secret.placeholder, put), secret)?;
                }
            }
        }
        Ok(())
    }

    /// Puts values into path and query as they stand in a request.
    pub(crate) fn fill_target(&self, to: Target<'_>, target: &str) -> Result<String, String> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if let Some(secret) = self.0.iter().find(|secret| path.contains(&secret.placeholder)) {
            return Err(format!("the secret {} may not stand in the path", secret.name));
        }
        let Some(query) = query else { return Ok(target.to_owned()) };
        Ok(format!("{path}?{}", self.fill_pairs(to, query, &Place::Query)?))
    }

    /// Puts values into a form's values.
    pub(crate) fn fill_form(&self, to: Target<'_>, form: &str) -> Result<String, String> {
        self.fill_pairs(to, form, &Place::Form)
    }

    fn fill_pairs(&self, to: Target<'_>, pairs: &str, place: &Place) -> Result<String, String> {
        let fill = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut filled = value.to_owned();
            for secret in &self.0 {
                if name.contains(&secret.placeholder) {
                    return Err(format!("the secret {} may not stand in a name", secret.name));
                }
                if value.contains(&secret.placeholder) {
                    filled = filled.replace(&secret.placeholder, &in_url(secret.put(to, place)?));
                }
            }
            Ok(if pair.contains('=') { format!("{name}={filled}") } else { pair.to_owned() })
        };
        Ok(pairs.split('&').map(fill).collect::<Result<Vec<_>, String>>()?.join("&"))
    }
}

/// The `USER:PASSWORD` of a basic authorization.
fn basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| BASE64.decode(rest.trim_ascii()).ok()).flatten()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to.as_bytes());
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn sensitive(bytes: &[u8], secret: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_bytes(bytes)
        .map_err(|_| format!("the value of the secret {} cannot stand in a header", secret.name))?;
    value.set_sensitive(true);
    Ok(value)
}
