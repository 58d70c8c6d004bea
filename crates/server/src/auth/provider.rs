//! Identity providers: others who say who people are, by OpenID Connect, or by OAuth 2.0 as GitHub speaks it.
//!
//! What a provider says is believed only if this server asked for it (state, PKCE), for this log-in (nonce), and where the
//! provider has signed it for us (OpenID Connect) or tells it itself over TLS (GitHub). A person is known by the
//! provider's own id for them. A name or a mail address never makes somebody the user that they are called like.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use axum::http;
use legwork_domain::Role;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm,
    CoreProviderMetadata,
};
use openidconnect::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, JsonWebKeySet,
    Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _, TokenUrl,
};
use reqwest::Url;
use serde::Deserialize;

use crate::Outside;
use crate::outbound::{Outbound, checked};

/// What a token may be signed with. Not with a secret that both know, and not with nothing.
const SIGNED_WITH: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// GitHub's web and API addresses (docs.github.com, "Authorizing OAuth apps").
const GITHUB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// An identity provider.
#[derive(Clone)]
pub struct Provider {
    /// How it stands in URLs: small letters, digits and dashes.
    pub name: String,
    /// What it speaks.
    pub speech: Speech,
    /// This server's name there.
    pub client_id: String,
    /// What proves that.
    pub client_secret: String,
    /// Whom it may bring.
    pub admits: Admits,
    /// What a newcomer is, on everything; `None`: nothing, until an owner says so.
    pub role: Option<Role>,
}

/// Without the secret.
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("speech", &self.speech)
            .finish_non_exhaustive()
    }
}

/// What an identity provider speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// OpenID Connect with discovery.
    OpenId {
        /// Its name for itself, below which `.well-known/openid-configuration` is.
        issuer: String,
    },
    /// OAuth 2.0 and `GET /user`.
    GitHub {
        /// Where a GitHub Enterprise Server is; `None`: github.com.
        host: Option<String>,
    },
}

/// Whom a provider may bring for the first time. Who is a user already comes in as long as nobody shuts it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admits {
    /// Whoever the provider knows.
    pub anyone: bool,
    /// By mail address, which the provider has verified, or by login name at GitHub.
    pub users: Vec<String>,
    /// By the domain of a mail address, which the provider has verified.
    pub domains: Vec<String>,
}

impl Admits {
    fn lets_in(&self, person: &Person) -> bool {
        let is_named = |name: &str| self.users.iter().any(|user| user.eq_ignore_ascii_case(name));
        let domain = person.mail.as_deref().and_then(|mail| mail.rsplit_once('@')).map(|(_, domain)| domain);
        self.anyone
            || person.mail.as_deref().is_some_and(is_named)
            || person.login.as_deref().is_some_and(is_named)
            || domain.is_some_and(|domain| self.domains.iter().any(|ours| ours.eq_ignore_ascii_case(domain)))
    }
}

/// Who a provider says that somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// What they would like to be called.
    pub(crate) name: String,
    /// Their unique login name, where the provider guarantees that.
    login: Option<String>,
    /// A mail address that the provider has verified.
    mail: Option<String>,
}

/// What goes with a log-in to the provider.
pub(crate) struct Errand {
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// RFC 7636.
    pub(crate) verifier: String,
    /// Where the browser comes back.
    pub(crate) back: String,
}

/// Why nobody could be logged in, as a sentence for them.
pub(crate) type Told<T> = Result<T, String>;

/// The server's way out, as the crate wants it.
pub(super) struct Way<'a>(pub(super) &'a Outbound);

/// What the way out said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

impl<'c> AsyncHttpClient<'c> for Way<'_> {
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Vec<u8>>, Refused>> + Send + 'c>>;

    fn call(&'c self, request: http::Request<Vec<u8>>) -> Self::Future {
        Box::pin(async move { self.0.fetch(request).await.map_err(Refused) })
    }
}

impl Provider {
    /// Whether somebody who is no user yet may come.
    pub(crate) fn admits(&self, person: &Person) -> bool {
        self.admits.lets_in(person)
    }

    /// Says what is wrong with it, if anything is, before anybody relies on it.
    ///
    /// # Errors
    /// The end of a sentence that begins with the provider's name.
    pub fn check(&self) -> Result<(), String> {
        let (key, address) = match &self.speech {
            Speech::OpenId { issuer } => ("issuer", issuer.as_str()),
            Speech::GitHub { host } => ("github", host.as_deref().unwrap_or(GITHUB)),
        };
        let url = checked(address).map_err(|why| format!("has an `{key}` that cannot be used: {why}"))?;
        if url.query().is_some() {
            return Err(format!("has an `{key}` with a query, which none has."));
        }
        if !is_safe(&url) {
            return Err(format!("has an `{key}` without TLS: anybody on the way could say who people are."));
        }
        if self.admits.anyone && self.role == Some(Role::Owner) {
            return Err("would make an owner of whoever has an account there.".to_owned());
        }
        Ok(())
    }

    /// Where the browser goes to log in.
    pub(crate) async fn address(&self, errand: &Errand, way: &Outside) -> Told<String> {
        let verifier = PkceCodeVerifier::new(errand.verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let (state, nonce) = (CsrfToken::new(errand.state.clone()), Nonce::new(errand.nonce.clone()));
        let (state, nonce) = (move || state, move || nonce);
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let (url, _, _) = match &self.speech {
            Speech::OpenId { issuer } => {
                let metadata = way.discovery.of(issuer, &way.out).await?;
                let client = CoreClient::from_provider_metadata(metadata, self.id(), Some(self.secret()))
                    .set_redirect_uri(redirect(errand)?);
                let request = client.authorize_url(flow, state, nonce).set_pkce_challenge(challenge);
                request
                    .add_scope(Scope::new("email".to_owned()))
                    .add_scope(Scope::new("profile".to_owned()))
                    .url()
            }
            Speech::GitHub { host } => {
                let web = host.as_deref().unwrap_or(GITHUB);
                let auth =
                    AuthUrl::new(format!("{web}/login/oauth/authorize")).map_err(|_| misconfigured())?;
                let client = self.plain(web)?.set_auth_uri(auth).set_redirect_uri(redirect(errand)?);
                client.authorize_url(flow, state, nonce).set_pkce_challenge(challenge).url()
            }
        };
        Ok(url.into())
    }

    /// Who came back with that code.
    pub(crate) async fn person(&self, code: String, errand: Errand, way: &Outside) -> Told<Person> {
        match &self.speech {
            Speech::OpenId { issuer } => self.by_open_id(issuer, code, errand, way).await,
            Speech::GitHub { host } => self.by_github(host.as_deref(), code, errand, &way.out).await,
        }
    }

    async fn by_open_id(&self, issuer: &str, code: String, errand: Errand, way: &Outside) -> Told<Person> {
        let metadata = way.discovery.of(issuer, &way.out).await?;
        let client = CoreClient::from_provider_metadata(metadata.clone(), self.id(), Some(self.secret()))
            .set_redirect_uri(redirect(&errand)?);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| misconfigured())?
            .set_pkce_verifier(PkceCodeVerifier::new(errand.verifier))
            .request_async(&Way(&way.out))
            .await
            .map_err(|error| not_taken(&error))?;
        let token = answer.id_token().ok_or("The identity provider sent no ID token.")?;
        let nonce = Nonce::new(errand.nonce);
        let claims = match self.claims(token, metadata, &nonce) {
            Ok(claims) => claims,
            // It may have taken a new key into use since it was asked.
            Err(_) => self.claims(token, way.discovery.anew(issuer, &way.out).await?, &nonce)?,
        };
        let verified = claims.email_verified() == Some(true);
        let mail = claims.email().filter(|_| verified).map(|mail| mail.to_string());
        let called = claims.preferred_username().map(|name| name.to_string());
        let name = called.or_else(|| mail.clone()).unwrap_or_else(|| self.name.clone());
        Ok(Person {
            issuer: issuer.to_owned(),
            subject: claims.subject().to_string(),
            name,
            login: None,
            mail,
        })
    }

    /// What a token says, if the provider signed it for us and this log-in.
    fn claims(
        &self,
        token: &CoreIdToken,
        by: CoreProviderMetadata,
        nonce: &Nonce,
    ) -> Told<CoreIdTokenClaims> {
        let offered = by.id_token_signing_alg_values_supported();
        let signed_with: Vec<_> = SIGNED_WITH.into_iter().filter(|one| offered.contains(one)).collect();
        let client = CoreClient::from_provider_metadata(by, self.id(), Some(self.secret()));
        let verifier = client.id_token_verifier().set_allowed_algs(signed_with);
        token.claims(&verifier, nonce).cloned().map_err(|error| {
            tracing::warn!(provider = %self.name, %error, "an ID token was not believed");
            "What the identity provider said of you is not signed by it for this log-in.".to_owned()
        })
    }

    async fn by_github(
        &self,
        host: Option<&str>,
        code: String,
        errand: Errand,
        out: &Outbound,
    ) -> Told<Person> {
        let web = host.unwrap_or(GITHUB);
        let client = self.plain(web)?.set_redirect_uri(redirect(&errand)?);
        let token = TokenUrl::new(format!("{web}/login/oauth/access_token")).map_err(|_| misconfigured())?;
        let client = client.set_token_uri(token);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(errand.verifier))
            .request_async(&Way(out))
            .await
            .map_err(|error| not_taken(&error))?;
        let api = host.map_or_else(|| GITHUB_API.to_owned(), |host| format!("{host}/api/v3"));
        let request = http::Request::get(format!("{api}/user"))
            .header("authorization", format!("Bearer {}", answer.access_token().secret()))
            .header("accept", "application/vnd.github+json")
            .body(Vec::new())
            .map_err(|_| misconfigured())?;
        let answer = out.fetch(request).await.map_err(|why| unreachable_provider(&why))?;
        let user: GitHubUser = serde_json::from_slice(answer.body())
            .map_err(|_| "GitHub did not say who you are.".to_owned())?;
        Ok(Person {
            issuer: web.to_owned(),
            subject: user.id.to_string(),
            name: user.login.clone(),
            login: Some(user.login),
            mail: None,
        })
    }

    fn id(&self) -> ClientId {
        ClientId::new(self.client_id.clone())
    }

    fn secret(&self) -> ClientSecret {
        ClientSecret::new(self.client_secret.clone())
    }

    /// A client of a provider that describes itself to nobody and signs nothing.
    fn plain(&self, issuer: &str) -> Told<CoreClient> {
        let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| misconfigured())?;
        let client = CoreClient::new(self.id(), issuer, JsonWebKeySet::default());
        Ok(client.set_client_secret(self.secret()).disable_openid_scope())
    }
}

/// Of `GET /user`. The number is the person's for ever; the login name can be given up and taken by another.
#[derive(Deserialize)]
struct GitHubUser {
    id: u64,
    login: String,
}

/// Whether nobody on the way can read or change what goes there: by TLS, or to this machine itself.
pub(super) fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || is_here
}

fn redirect(errand: &Errand) -> Told<RedirectUrl> {
    RedirectUrl::new(errand.back.clone()).map_err(|_| misconfigured())
}

pub(super) fn misconfigured() -> String {
    "The identity provider is configured wrongly on this server: one of its URLs cannot be read.".to_owned()
}

pub(super) fn unreachable_provider(why: &str) -> String {
    format!("The identity provider cannot be asked: {why}")
}

fn not_taken(error: &dyn std::error::Error) -> String {
    let why = source_of(error);
    tracing::warn!(%why, "an identity provider did not take a code");
    "The identity provider did not take what it had sent you back with.".to_owned()
}

/// The innermost reason.
pub(super) fn source_of(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(login: Option<&str>, mail: Option<&str>) -> Person {
        Person {
            issuer: "i".into(),
            subject: "s".into(),
            name: "n".into(),
            login: login.map(Into::into),
            mail: mail.map(Into::into),
        }
    }

    #[test]
    fn only_who_is_named_comes_in() {
        let admits = Admits {
            anyone: false,
            users: vec!["ada".into(), "bob@x.org".into()],
            domains: vec!["corp.example".into()],
        };
        for (login, mail, comes) in [
            (Some("Ada"), None, true),
            (None, Some("bob@x.org"), true),
            (None, Some("eve@Corp.Example"), true),
            (None, Some("eve@notcorp.example"), false),
            (None, Some("eve@sub.corp.example"), false),
            (None, Some("corp.example"), false),
            (Some("corp.example"), None, false),
            (None, None, false),
        ] {
            assert_eq!(admits.lets_in(&person(login, mail)), comes, "{login:?} {mail:?}");
        }
        assert!(Admits { anyone: true, ..Admits::default() }.lets_in(&person(None, None)));
        assert!(!Admits::default().lets_in(&person(Some("x"), Some("x@y"))));
    }

    #[test]
    fn a_provider_is_reached_by_tls_and_makes_no_owners_of_strangers() {
        let provider = |issuer: &str| Provider {
            name: "corp".into(),
            speech: Speech::OpenId { issuer: issuer.into() },
            client_id: "us".into(),
            client_secret: "secret".into(),
            admits: Admits { anyone: true, ..Admits::default() },
            role: Some(Role::Runner),
        };
        for fit in ["https://id.corp/realm", "http://127.0.0.1:8080", "http://[::1]", "http://localhost:1/a"]
        {
            assert_eq!(provider(fit).check(), Ok(()), "{fit}");
        }
        for unfit in [
            "http://id.corp",
            "http://localhost.evil.example",
            "https://me:pw@id.corp",
            "https://id.corp?a=b",
            "https://id.corp#x",
            "id.corp",
            "ftp://id.corp",
        ] {
            let why = provider(unfit).check().unwrap_err();
            assert!(why.contains("issuer") && !why.contains("me:pw"), "{unfit}: {why}");
        }
        let github = Speech::GitHub { host: Some("http://git.corp".into()) };
        assert!(Provider { speech: github, ..provider("") }.check().unwrap_err().contains("github"));
        let owners = Provider { role: Some(Role::Owner), ..provider("https://id.corp") };
        assert!(owners.check().unwrap_err().contains("owner"));
        let admits = Admits { users: vec!["ada@corp.example".into()], ..Admits::default() };
        assert_eq!(Provider { admits, ..owners }.check(), Ok(()));
    }
}
