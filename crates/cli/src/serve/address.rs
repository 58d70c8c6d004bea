//! Where a server listens, and where it must not.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use legwork_server::Door;
use tokio::net::TcpListener;

use crate::config::{ServerFile, Vars, providers};
use crate::exit::Trouble;

/// Where a server listens if nobody says.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7433);

/// Where to listen.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ListenArgs {
    /// The address to listen at. Port 0 takes a free one. Default: 127.0.0.1:7433.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Something in front speaks TLS with the world and plain HTTP with this server: allows other addresses than loopback.
    #[arg(long)]
    behind_proxy: bool,
    /// The URL by which it is reached through what is in front, for example https://legwork.example. With https it implies
    /// --behind-proxy.
    #[arg(long, value_name = "URL", value_parser = url)]
    public_url: Option<String>,
    /// A further name by which it may be called. May be given several times.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

fn url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") || text.starts_with("http://") {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("it begins with https:// or http://".to_owned())
    }
}

impl ListenArgs {
    /// The address that is meant.
    ///
    /// # Errors
    /// If it is not this machine's own and nothing is said to be in front.
    pub(super) fn over(&self, file: &ServerFile) -> Result<SocketAddr, Trouble> {
        let listen = self.listen.or(file.listen).unwrap_or(LISTEN);
        let tls = self.public_url(file).is_some_and(|url| url.starts_with("https://"));
        if listen.ip().is_loopback() || self.behind_proxy || file.behind_proxy || tls {
            Ok(listen)
        } else {
            Err(in_the_open(listen))
        }
    }

    fn public_url<'a>(&'a self, file: &'a ServerFile) -> Option<&'a str> {
        self.public_url.as_deref().or(file.public_url.as_deref())
    }

    /// What the server is called from outside.
    ///
    /// # Errors
    /// If an identity provider is not whole.
    pub(super) fn door(&self, file: &ServerFile, vars: Vars<'_>) -> Result<Door, Trouble> {
        let hosts = if self.hosts.is_empty() { &file.hosts } else { &self.hosts };
        let public_url = self.public_url(file).map(str::to_owned);
        let providers = providers(&file.oidc, vars)?;
        let trusted_proxies = file.trusted_proxies()?;
        let is_behind = self.behind_proxy || file.behind_proxy || public_url.is_some();
        if is_behind && trusted_proxies.is_empty() {
            tracing::warn!(
                "whoever comes through the proxy in front counts as one stranger; `trusted_proxies` of [server] tells them apart"
            );
        }
        Ok(Door { public_url, hosts: hosts.clone(), trusted_proxies, rates: file.rates.rates(), providers })
    }
}

/// Takes the address.
///
/// # Errors
/// If it cannot be had.
pub(super) async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(Trouble::failed(
            format!("Another program listens at {listen} already; nothing was started."),
            format!("Stop it, or take a free port: --listen {}:0", listen.ip()),
        )
        .into()),
        Err(error) => Err(error).context(format!("The address {listen} cannot be listened at.")),
    }
}

fn in_the_open(listen: SocketAddr) -> Trouble {
    Trouble::usage(
        format!(
            "{listen} can be reached from other machines, and this server speaks plain HTTP: tokens, prompts and code \
             would cross the network for anyone to read. Nothing was started."
        ),
        "Let a proxy that speaks TLS (Caddy, nginx, a cloud's load balancer) stand in front and say --public-url https://NAME \
         (or --behind-proxy), \
         or listen at loopback and come by ssh -L 7433:127.0.0.1:7433.",
    )
}
