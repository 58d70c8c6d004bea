//! From a name that is allowed to a connection: resolved once, looked at, and connected to just that address.
//!
//! A name that is allowed may lead to the worker's own network, now or at the second look-up. So the address that was
//! looked at is the one that is connected to, and a name of which any address is not public is refused whole.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use legwork_address::special;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::{Authority, Host};
use crate::policy::Pattern;

/// Time for a look-up and for a connection: what browsers and curl give, rounded.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The longest answer of an operator's proxy to CONNECT.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Turns names into addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a name, in the order in which they are to be tried. An empty list: there are none.
    ///
    /// # Errors
    /// If it cannot be said.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // With the dot at its end, so that no search list of the machine's adds anything.
        let found = tokio::net::lookup_host((format!("{name}."), 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What of the operator's own network may be reached.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Addresses that are not public.
    pub networks: Vec<IpNet>,
    /// Names that may have such addresses.
    pub hosts: Vec<Pattern>,
}

/// A proxy of the operator's, through which everything goes.
#[derive(Clone)]
pub struct Upstream {
    /// Where it listens, by plain HTTP.
    pub authority: Authority,
    /// `USER:PASSWORD`.
    pub login: Option<String>,
}

/// Without the login.
impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoWay {
    /// The name leads where nobody inside may go.
    #[error("{host} is at {address}, which is {what}")]
    Special {
        /// Which host.
        host: Host,
        /// Its address.
        address: IpAddr,
        /// What that is.
        what: &'static str,
    },
    /// It cannot be reached.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Which host.
        host: Host,
        /// Why.
        why: String,
    },
}

/// Makes connections.
pub(crate) struct Dialer {
    pub(crate) resolver: std::sync::Arc<dyn Resolver>,
    pub(crate) opened: Opened,
    pub(crate) upstream: Option<Upstream>,
}

impl Dialer {
    /// Connects, to an address that was looked at.
    pub(crate) async fn dial(&self, to: &Authority) -> Result<TcpStream, NoWay> {
        let unreachable = |why: String| NoWay::Unreachable { host: to.host.clone(), why };
        if let Some(upstream) = &self.upstream {
            // Who has a proxy may be unable to resolve anything else; where it can, what it finds is looked at.
            match self.addresses(&to.host).await {
                Err(refused @ NoWay::Special { .. }) => return Err(refused),
                Ok(_) | Err(NoWay::Unreachable { .. }) => {}
            }
            return through(upstream, to).await.map_err(|error| unreachable(error.to_string()));
        }
        let mut last = "it has no address".to_owned();
        for address in self.addresses(&to.host).await? {
            match connect(SocketAddr::new(address, to.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.to_string(),
            }
        }
        Err(unreachable(last))
    }

    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, NoWay> {
        addresses(host, self.resolver.as_ref(), &self.opened).await
    }
}

/// The addresses of a host, none of which is refused: all are public, or opened.
///
/// # Errors
/// [`NoWay`], if one is not, or there is none.
pub async fn addresses(host: &Host, resolver: &dyn Resolver, opened: &Opened) -> Result<Vec<IpAddr>, NoWay> {
    let unreachable = |why: &str| NoWay::Unreachable { host: host.clone(), why: why.to_owned() };
    let mut addresses = match host {
        Host::Ip(address) => vec![*address],
        Host::Name(name) => match tokio::time::timeout(RESOLVE_TIME, resolver.resolve(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => return Err(unreachable("its name is not known")),
            Err(_) => return Err(unreachable("its name was not found in time")),
        },
    };
    let is_open = opened.hosts.iter().any(|pattern| pattern.matches(host));
    for address in &addresses {
        if let Some(what) = special(*address).filter(|_| !is_open && !is_opened(*address, &opened.networks)) {
            return Err(NoWay::Special { host: host.clone(), address: *address, what });
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

/// Whether the operator has opened this address.
fn is_opened(address: IpAddr, opened: &[IpNet]) -> bool {
    opened.iter().any(|network| network.contains(&address))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects through the operator's proxy, by name: it may know names and addresses that this machine does not.
async fn through(upstream: &Upstream, to: &Authority) -> io::Result<TcpStream> {
    let at = (upstream.authority.host.to_string(), upstream.authority.port);
    let connected = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(at)).await;
    let mut stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let login = upstream.login.as_ref().map_or_else(String::new, |login| {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login))
    });
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n").as_bytes()).await?;
    let answer = tokio::time::timeout(CONNECT_TIME, head(&mut stream)).await;
    let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let status = answer.split_ascii_whitespace().nth(1).unwrap_or("");
    if status.starts_with('2') && status.len() == 3 {
        return Ok(stream);
    }
    Err(io::Error::other(format!(
        "the operator's proxy answers {}",
        answer.lines().next().unwrap_or_default()
    )))
}

/// The head of an answer, and not a byte more: what follows is the connection's.
async fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= ANSWER_BYTES_MAX {
            return Err(io::Error::other("an answer too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
