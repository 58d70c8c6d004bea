//! Which server a command talks to.
//!
//! In this order: the one named with `--server` or `LEGWORK_SERVER`, the one of `legwork login`, the one that sits on the
//! data directory (`legwork up`), and else one that the command starts in its own process for itself. All of them speak
//! the same API, so no command has to know which it is, but for what only this machine has: its paths.

use legwork_client::{Client, Error};

use crate::config::{Config, Vars};
use crate::exit::Trouble;
use crate::local::Host;
use crate::logins::{Logins, trimmed};
use crate::serve::Address;

/// The word for a server in the command's own process.
const NONE: &str = "none";

/// Which server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArg {
    /// The server's URL; none: this process itself. Default: LEGWORK_SERVER, the server of legwork login, the one of
    /// legwork up on this data directory, or none.
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
}

/// A server that runs apart from this command.
#[derive(Clone)]
pub struct Served {
    /// Its URL.
    pub url: String,
    /// Whether it has this machine's files.
    pub place: Place,
    token: String,
}

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine: it sees the same paths.
    Here,
    /// On another, for all that is known.
    Elsewhere,
}

/// A server within reach.
pub struct Reach {
    /// Speaks to it.
    pub client: Client,
    /// What runs in this process for this command alone.
    host: Option<Host>,
}

impl ServerArg {
    /// The server that is meant, if it runs apart from this command.
    ///
    /// # Errors
    /// If there is no token for it.
    pub async fn served(&self, config: &Config, vars: Vars<'_>) -> anyhow::Result<Option<Served>> {
        let named = self.server.clone().or_else(|| vars("LEGWORK_SERVER"));
        if named.as_deref() == Some(NONE) {
            return Ok(None);
        }
        let logins = Logins::read(&config.logins)?;
        if let Some(url) = named.or_else(|| logins.current.clone()) {
            let url = trimmed(&url);
            let token = vars("LEGWORK_TOKEN").or_else(|| logins.token(&url).map(str::to_owned));
            let Some(token) = token else { return Err(no_token(&url).await.into()) };
            return Ok(Some(Served { place: place(&url), url, token }));
        }
        let here = Address::of(&config.home).await?;
        Ok(here.map(|Address { url, token, .. }| Served { url, token, place: Place::Here }))
    }
}

/// What to say where there is no token for a server: first of all whether there is a server.
async fn no_token(url: &str) -> Trouble {
    let unknown = "Check --server, LEGWORK_SERVER or the last legwork login; legwork up starts a server on this machine.";
    match health(url).await {
        Err(error @ Error::Address { .. }) => {
            Trouble::usage(format!("{url:?} is no server's address: {error}."), unknown)
        }
        Err(Error::Unreachable { source, .. }) => {
            Trouble::failed(format!("The server {url} cannot be reached: {}.", innermost(&source)), unknown)
        }
        Err(Error::Silent { .. }) => Trouble::failed(format!("The server {url} says nothing."), unknown),
        Err(Error::Protocol { .. }) => {
            Trouble::failed(format!("What answers at {url} is no server of Legwork's."), unknown)
        }
        Ok(()) | Err(Error::Refused { .. }) => {
            let what = format!("There is no token for {url}.");
            Trouble::usage(what, format!("Log in: legwork login {url}\nOr set LEGWORK_TOKEN."))
        }
    }
}

async fn health(url: &str) -> Result<(), Error> {
    Client::new(url, "none")?.health().await
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl Served {
    /// A client for it.
    ///
    /// # Errors
    /// If URL or token cannot be used.
    pub fn client(&self) -> Result<Client, legwork_client::Error> {
        Client::new(&self.url, &self.token)
    }
}

impl Reach {
    /// Reaches `served`, or starts a server in this process.
    ///
    /// # Errors
    /// If the token cannot be used, or the data directory.
    pub async fn to(served: Option<&Served>, config: &Config) -> anyhow::Result<Self> {
        if let Some(served) = served {
            return Ok(Self { client: served.client()?, host: None });
        }
        let host = Host::start(config).await?;
        Ok(Self { client: host.client.clone(), host: Some(host) })
    }

    /// The server of this process, where it is that.
    #[must_use]
    pub const fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Ends what was started for this command. What `done` failed with may be the end of its own server.
    ///
    /// # Errors
    /// That of `done`, or the reason behind it.
    pub async fn end<T>(self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(host) = self.host else { return done };
        match done {
            Ok(value) => host.stop().await.map(|()| value),
            Err(error) => Err(host.why_gone().await.unwrap_or(error)),
        }
    }
}

/// A loopback address is taken for this machine. It may be the end of a tunnel; then the worker says that there is no such
/// path.
pub(crate) fn place(url: &str) -> Place {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback { Place::Here } else { Place::Elsewhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        for url in ["http://127.0.0.1:7433", "http://[::1]:7433/", "http://localhost"] {
            assert_eq!(place(url), Place::Here, "{url}");
        }
        for url in ["https://legwork.example", "http://10.0.0.1:80", "http://localhost.example:1", "nonsense"]
        {
            assert_eq!(place(url), Place::Elsewhere, "{url}");
        }
    }
}
