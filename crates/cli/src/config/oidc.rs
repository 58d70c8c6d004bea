//! `[server.oidc.NAME]`: who, beside one-time links, says who people are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use legwork_domain::Role;
use legwork_server::{Admits, Provider, Speech};
use serde::Deserialize;

use super::Vars;
use crate::exit::Trouble;

/// The longest name of a provider; it stands in URLs.
const NAME_BYTES_MAX: usize = 32;

/// An identity provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcFile {
    /// Its name for itself, of OpenID Connect.
    issuer: Option<String>,
    /// GitHub instead: `https://github.com`, or where a GitHub Enterprise Server is.
    github: Option<String>,
    /// This server's name there.
    client_id: String,
    /// The variable with the secret that goes with it.
    client_secret_env: Option<String>,
    /// Or the file.
    client_secret_file: Option<PathBuf>,
    /// Whom it may bring.
    anyone: bool,
    users: Vec<String>,
    domains: Vec<String>,
    /// What a newcomer is, on everything.
    role: Option<Role>,
}

/// The providers, with their secrets.
///
/// # Errors
/// If one is not whole.
pub fn providers(files: &BTreeMap<String, OidcFile>, vars: Vars<'_>) -> Result<Vec<Provider>, Trouble> {
    files.iter().map(|(name, file)| file.provider(name, vars)).collect()
}

impl OidcFile {
    fn provider(&self, name: &str, vars: Vars<'_>) -> Result<Provider, Trouble> {
        let wrong = |what: &str, next: &str| Trouble::usage(format!("[server.oidc.{name}] {what}"), next);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(wrong("has a name that cannot stand in a URL.", "Use a-z, 0-9 and -, at most 32."));
        }
        let speech = match (&self.issuer, &self.github) {
            (Some(issuer), None) => Speech::OpenId { issuer: issuer.clone() },
            (None, Some(host)) => {
                let host = host.trim_end_matches('/');
                Speech::GitHub { host: (host != "https://github.com").then(|| host.to_owned()) }
            }
            _ => return Err(wrong("names no issuer, or two.", "Set either `issuer` or `github`.")),
        };
        if self.client_id.is_empty() {
            return Err(wrong(
                "has no client_id.",
                "Register this server at the provider, which gives it one.",
            ));
        }
        if !self.anyone && self.users.is_empty() && self.domains.is_empty() {
            return Err(wrong(
                "lets nobody in.",
                "Name `users` or `domains`, or set `anyone = true` if whoever has an account there may come.",
            ));
        }
        let provider = Provider {
            name: name.to_owned(),
            speech,
            client_id: self.client_id.clone(),
            client_secret: self.secret(name, vars)?,
            admits: Admits { anyone: self.anyone, users: self.users.clone(), domains: self.domains.clone() },
            role: self.role,
        };
        provider.check().map_err(|what| {
            wrong(&what, "Correct it; docs/access.md says what a provider needs. With `anyone`, no role above maintainer.")
        })?;
        Ok(provider)
    }

    fn secret(&self, name: &str, vars: Vars<'_>) -> Result<String, Trouble> {
        let wrong = |what: String| {
            let next =
                "Name the variable that holds it (client_secret_env) or the file (client_secret_file).";
            Trouble::usage(format!("[server.oidc.{name}] {what}"), next)
        };
        match (&self.client_secret_env, &self.client_secret_file) {
            (Some(variable), None) => {
                vars(variable).ok_or_else(|| wrong(format!("wants {variable}, which is not set.")))
            }
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    wrong(format!("wants {}, which cannot be read: {error}.", file.display()))
                })?;
                Some(text.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| wrong(format!("wants {}, which is empty.", file.display())))
            }
            _ => Err(wrong("names no client secret, or two.".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Result<Vec<Provider>, Trouble> {
        let vars = |name: &str| (name == "CORP_SECRET").then(|| "s3cret".to_owned());
        providers(&toml::from_str(text).unwrap(), &vars)
    }

    #[test]
    fn a_provider_is_whole_or_refused_with_what_to_do() {
        let corp = "client_id = \"us\"\nclient_secret_env = \"CORP_SECRET\"\n";
        let text = format!(
            "[corp]\nissuer = \"https://id.corp\"\ndomains = [\"corp.example\"]\nrole = \"runner\"\n{corp}"
        );
        let [provider] = made(&text).unwrap().try_into().unwrap();
        assert_eq!((provider.client_secret.as_str(), provider.role), ("s3cret", Some(Role::Runner)));
        let github = format!("[gh]\ngithub = \"https://github.com/\"\nusers = [\"ada\"]\n{corp}");
        assert_eq!(made(&github).unwrap()[0].speech, Speech::GitHub { host: None });
        for (text, why) in [
            (format!("[corp]\nissuer = \"https://id.corp\"\n{corp}"), "lets nobody in"),
            (format!("[corp]\nanyone = true\n{corp}"), "names no issuer"),
            (format!("[\"a/b\"]\nissuer = \"i\"\nanyone = true\n{corp}"), "cannot stand in a URL"),
            (text.replace("https://id.corp", "http://id.corp"), "without TLS"),
            (
                text.replace("domains = [\"corp.example\"]", "anyone = true").replace("runner", "owner"),
                "make an owner",
            ),
            (text.replace("CORP_SECRET", "OTHER"), "wants OTHER, which is not set"),
            (text.replace("client_id = \"us\"", ""), "has no client_id"),
        ] {
            let error = made(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
