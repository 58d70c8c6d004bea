//! What identity providers say of themselves, asked for once in a while.
//!
//! Anybody may begin a log-in, so that must not make the server call out each time: a provider is asked once for many
//! log-ins, by one of those that wait, and again when what it said has grown old. That it gave no answer is remembered too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openidconnect::IssuerUrl;
use openidconnect::core::CoreProviderMetadata;
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::provider::{Told, Way, is_safe, misconfigured, source_of, unreachable_provider};
use crate::outbound::{Outbound, checked};

/// How long what a provider said holds: it may change its keys at any time, and a token with a new one has it asked again.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// How long it holds that it said nothing, and how soon after an answer it is not asked for newer keys.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of the providers, by their issuers. There are as many as the configuration names.
#[derive(Default)]
pub(crate) struct Discovery {
    known: std::sync::Mutex<HashMap<String, Arc<Mutex<Option<Known>>>>>,
}

struct Known {
    at: Instant,
    said: Told<CoreProviderMetadata>,
}

impl Known {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.at.elapsed() < age
    }
}

impl Discovery {
    /// What a provider says of itself.
    pub(crate) async fn of(&self, issuer: &str, out: &Outbound) -> Told<CoreProviderMetadata> {
        self.younger_than(LIFE, issuer, out).await
    }

    /// The same, asked anew unless it was asked just now.
    pub(crate) async fn anew(&self, issuer: &str, out: &Outbound) -> Told<CoreProviderMetadata> {
        self.younger_than(PAUSE, issuer, out).await
    }

    async fn younger_than(&self, age: Duration, issuer: &str, out: &Outbound) -> Told<CoreProviderMetadata> {
        let place = {
            let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(known.entry(issuer.to_owned()).or_default())
        };
        // Who comes meanwhile waits here for the answer to the first.
        let mut known = place.lock().await;
        let age_of = |known: &Known| if known.said.is_ok() { age } else { PAUSE };
        if let Some(known) = known.as_ref().filter(|known| known.is_younger_than(age_of(known))) {
            return known.said.clone();
        }
        let said = ask(issuer, out).await;
        *known = Some(Known { at: Instant::now(), said: said.clone() });
        said
    }
}

async fn ask(issuer: &str, out: &Outbound) -> Told<CoreProviderMetadata> {
    let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| misconfigured())?;
    let metadata = CoreProviderMetadata::discover_async(issuer, &Way(out)).await.map_err(|error| {
        let why = source_of(&error);
        tracing::warn!(%why, "an identity provider cannot be asked");
        unreachable_provider(&why)
    })?;
    let token = metadata.token_endpoint().map(|url| url.url().clone());
    let named = [
        Some(metadata.authorization_endpoint().url().clone()),
        token,
        Some(metadata.jwks_uri().url().clone()),
    ];
    if let Some(url) = named.iter().flatten().find(|url| !is_fit(url)) {
        tracing::warn!(%url, "an identity provider names an address without TLS, or with a login in it");
        return Err("The identity provider names an address that a log-in must not go to.".to_owned());
    }
    Ok(metadata)
}

fn is_fit(url: &Url) -> bool {
    checked(url.as_str()).is_ok_and(|url| is_safe(&url))
}
