//! The distribution specification, as far as pulling goes: manifests, blobs, and the tokens that open them.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use crate::fetch::{Failed, Outlet, Reach, reason};
use crate::manifest::{ACCEPT, Descriptor, MANIFEST_BYTES_MAX};
use crate::reference::{Digest, Reference};
use crate::{Error, Step};

/// The largest answer of a server of tokens: theirs have some kilobytes.
const TOKEN_BYTES_MAX: u64 = 256 * 1024;

/// What is quoted of a registry's words.
const WORDS_CHARS_MAX: usize = 300;

/// How a registry is reached, where the operator has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Where its API is: a mirror's address, or one without TLS. `None`: `https://` and its name.
    pub url: Option<String>,
    /// Whether it, and where it leads, may have private addresses and no TLS.
    pub is_private: bool,
    /// What opens it.
    pub credentials: Option<Credentials>,
}

/// A name and a password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// A repository of a registry, as one pull sees it.
pub(crate) struct Repository<'a> {
    reference: &'a Reference,
    registry: Registry,
    outlet: Outlet,
    /// What opens it, once the registry has said how.
    key: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(reference: &'a Reference, registry: Registry) -> Result<Self, Error> {
        let reach = if registry.is_private { Reach::Private } else { Reach::Public };
        let outlet = Outlet::new(reach).map_err(|failed| explain(reference, failed))?;
        Ok(Self { reference, registry, outlet, key: None })
    }

    /// The manifest that the reference means, or the one of this digest, verified; and its digest.
    pub(crate) async fn manifest(&mut self, which: Option<&Descriptor>) -> Result<(Digest, Vec<u8>), Error> {
        let target =
            which.map_or_else(|| self.reference.target().to_owned(), |found| found.digest.to_string());
        let mut answer = self.get(&format!("manifests/{target}"), ACCEPT).await?;
        let bytes = self.body(&mut answer, MANIFEST_BYTES_MAX).await?;
        let digest = Digest::of(&Sha256::digest(&bytes));
        let wanted = which.map(|found| &found.digest).or(self.reference.digest.as_ref());
        if wanted.is_some_and(|wanted| *wanted != digest) {
            return Err(self.unusable("its manifest is not what its digest says"));
        }
        Ok((digest, bytes))
    }

    /// A small blob, verified.
    pub(crate) async fn blob(&mut self, blob: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut answer = self.get(&format!("blobs/{}", blob.digest), "*/*").await?;
        let bytes = self.body(&mut answer, bytes_max).await?;
        if Digest::of(&Sha256::digest(&bytes)) != blob.digest {
            return Err(self.unusable("its configuration is not what its digest says"));
        }
        Ok(bytes)
    }

    /// Writes a large blob to a new file. Nothing else has seen its bytes before they are known to be the right ones.
    pub(crate) async fn download(&mut self, blob: &Descriptor, file: &Path) -> Result<(), Error> {
        let mut answer = self.get(&format!("blobs/{}", blob.digest), "*/*").await?;
        let mut out = tokio::fs::File::create_new(file).await.step("keep a layer")?;
        let mut hash = Sha256::new();
        let mut left = blob.size;
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            let rest = left.checked_sub(chunk.len() as u64);
            left = rest.ok_or_else(|| self.unusable("a layer is longer than its manifest says"))?;
            hash.update(&chunk);
            out.write_all(&chunk).await.step("keep a layer")?;
        }
        out.flush().await.step("keep a layer")?;
        if left != 0 || Digest::of(&hash.finalize()) != blob.digest {
            return Err(self.unusable("a layer is not what its digest says"));
        }
        Ok(())
    }

    async fn body(&self, answer: &mut Response, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            if (bytes.len() + chunk.len()) as u64 > bytes_max {
                return Err(self.unusable(&format!("an answer has more than {bytes_max} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Asks, learns what opens it if need be, and asks again.
    async fn get(&mut self, what: &str, accept: &'static str) -> Result<Response, Error> {
        let Reference { registry: host, path, .. } = self.reference;
        // The one registry whose API is not at its name.
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let base = self.registry.url.clone().unwrap_or_else(|| format!("https://{host}"));
        let url = format!("{}/v2/{path}/{what}", base.trim_end_matches('/'));
        let mut answer = self.send(&url, accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.key = Some(self.key_for(&answer).await?);
            answer = self.send(&url, accept).await?;
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let words = self.body(&mut answer, 64 * 1024).await.unwrap_or_default();
        Err(self.refused(status, &words))
    }

    async fn send(&self, url: &str, accept: &'static str) -> Result<Response, Error> {
        let sent = self.outlet.get(url, accept, self.key.as_ref()).await;
        sent.map_err(|failed| explain(self.reference, failed))
    }

    /// What a registry that says "401" wants to see (RFC 9110, section 11.6.1; Docker's token authentication).
    async fn key_for(&self, answer: &Response) -> Result<HeaderValue, Error> {
        let said =
            answer.headers().get(WWW_AUTHENTICATE).and_then(|said| said.to_str().ok()).unwrap_or_default();
        let challenge = Challenge::read(said);
        let credentials = self.registry.credentials.as_ref().map(basic);
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            let key = credentials
                .ok_or_else(|| self.missing("it wants a name and a password, and there are none"))?;
            return header(&key).ok_or_else(|| self.missing("its password cannot be sent"));
        }
        let realm = challenge.realm.and_then(|realm| Url::parse(&realm).ok());
        let mut realm = realm.ok_or_else(|| self.missing("it does not say how it is opened"))?;
        let scope = format!("repository:{}:pull", self.reference.path);
        realm.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = challenge.service {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        let key = credentials.as_deref().and_then(header);
        let sent = self.outlet.get(realm.as_str(), "application/json", key.as_ref()).await;
        let mut answer = sent.map_err(|failed| explain(self.reference, failed))?;
        if !answer.status().is_success() {
            let why = format!("its server of tokens says {}", answer.status());
            return Err(self.missing(&why));
        }
        let bytes = self.body(&mut answer, TOKEN_BYTES_MAX).await?;
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let key = token.and_then(|token| header(&format!("Bearer {token}")));
        key.ok_or_else(|| self.missing("its server of tokens gives none"))
    }

    fn refused(&self, status: StatusCode, words: &[u8]) -> Error {
        let words: String = String::from_utf8_lossy(words)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(WORDS_CHARS_MAX)
            .collect();
        let why = format!("{} says {status} {words}", self.reference.registry);
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Error::Unreachable { registry: self.reference.registry.clone(), why };
        }
        self.missing(why.trim_end())
    }

    fn missing(&self, why: &str) -> Error {
        Error::Missing { image: self.reference.to_string(), why: why.to_owned() }
    }

    fn unusable(&self, why: &str) -> Error {
        Error::Unusable { image: self.reference.to_string(), why: why.to_owned() }
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { registry: self.reference.registry.clone(), why: reason(error) }
    }
}

fn explain(reference: &Reference, failed: Failed) -> Error {
    match failed {
        Failed::Forbidden(what) => Error::NotAllowed {
            what: format!("{} for {reference}", what.trim_end_matches(',')),
            mend: "The operator of the worker may say `private = true` for that registry.",
        },
        Failed::Broken(why) => Error::Unreachable { registry: reference.registry.clone(), why },
    }
}

fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", BASE64.encode(format!("{}:{}", credentials.user, credentials.password)))
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a registry says of how it is opened.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    realm: Option<String>,
    service: Option<String>,
}

impl Challenge {
    /// `Bearer realm="…",service="…",scope="…"`; the scope is ours to choose.
    fn read(text: &str) -> Self {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut challenge = Self { scheme: scheme.to_owned(), ..Self::default() };
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match name.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = Some(value.to_owned()),
                "service" => challenge.service = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        challenge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_read() {
        let said = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let challenge = Challenge::read(said);
        assert_eq!(challenge.realm.as_deref(), Some("https://auth.docker.io/token"));
        assert_eq!(challenge.service.as_deref(), Some("registry.docker.io"));
        assert_eq!(Challenge::read("Basic realm=x").scheme, "Basic");
        for odd in ["", "Bearer", "Bearer =", "Bearer realm=\"", "a=b=c=\"\"\"", "Bearer ,,,="] {
            let _ = Challenge::read(odd);
        }
    }
}
