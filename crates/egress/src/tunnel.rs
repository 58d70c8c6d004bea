//! Connections that should be TLS to a host that is allowed: looked at no further than needed.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::exchange::Site;
use crate::hello::{self, BadHello, Hello};
use crate::host::{Authority, Host};
use crate::policy::{Grant, Methods, Scheme};
use crate::proxy::{HEAD_BYTES_MAX, HEAD_TIME, HEADERS_MAX, Proxy};
use crate::receipt::{Entry, Ledger, Matter, Outcome, Program, Way};
use crate::stream::{Rewound, Stream, join};

/// Time for a client to say its hello and to end its handshake.
const HELLO_TIME: Duration = Duration::from_secs(15);

/// Requests of one HTTP/2 connection at the same time; a browser's usual bound.
const STREAMS_MAX: u32 = 100;

/// The alert "access denied" (RFC 8446, section 6): clients end at once, and say so.
const DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];

/// A connection that is allowed by the name that was asked for.
pub(crate) struct Tunnel {
    pub(crate) to: Authority,
    pub(crate) grant: Grant,
    pub(crate) program: Option<Program>,
}

impl Tunnel {
    pub(crate) fn matter(&self, outcome: Outcome) -> Matter {
        let Self { to, grant: _, program } = self;
        Matter {
            host: to.host.to_string(),
            port: to.port,
            way: Way::Tunnel,
            method: None,
            outcome,
            program: program.clone(),
        }
    }

    /// What is written down of it whenever it ends, until it is more than a connection.
    pub(crate) fn open(&self, ledger: &Ledger) -> Entry {
        Entry::new(ledger, self.matter(Outcome::Failed("its connection ended before a TLS hello".to_owned())))
    }

    /// Whether the name in the hello is the one that was asked for.
    fn agrees(&self, hello: &Hello) -> Result<(), String> {
        let said = hello.name.as_deref().map(Host::parse);
        match (&self.to.host, said) {
            (Host::Name(_), None) => Err("its TLS hello names no server".to_owned()),
            (_, Some(Err(_))) => Err("its TLS hello names no host".to_owned()),
            (Host::Ip(_), None) => Ok(()),
            (asked, Some(Ok(said))) if *asked == said => Ok(()),
            (asked, Some(Ok(said))) => {
                Err(format!("it was opened for {asked} and its TLS hello names {said}"))
            }
        }
    }
}

impl Proxy {
    /// Whether requests to a host have to be seen.
    pub(crate) fn looks_into(&self, tunnel: &Tunnel) -> bool {
        tunnel.grant.methods == Methods::Read || self.secrets.concern(&tunnel.to.host)
    }

    /// Serves a client that has been told to go on. `upstream` is the connection to the host, where there is one already.
    pub(crate) async fn tunnel(
        self: &Arc<Self>,
        (tunnel, entry): (Tunnel, Entry),
        mut stream: impl Stream + 'static,
        upstream: Option<TcpStream>,
    ) {
        let read = tokio::time::timeout(HELLO_TIME, hello::read(&mut stream)).await;
        let agreed = match read {
            Err(_) => Err("it did not say whom it wants to speak to".to_owned()),
            // It wanted nothing, and that is what is written down.
            Ok(Err(BadHello::Ended)) => return,
            Ok(Err(bad)) => Err(bad.to_string()),
            Ok(Ok((hello, bytes))) => tunnel.agrees(&hello).map(|()| bytes),
        };
        let bytes = match agreed {
            Ok(bytes) => bytes,
            Err(why) => {
                // Written down before its program hears of it, and may end.
                entry.came_to(Outcome::Denied(why));
                drop(entry);
                return refuse(stream).await;
            }
        };
        let stream = Rewound::new(bytes, stream);
        if self.looks_into(&tunnel) {
            return self.intercept(tunnel, entry, stream).await;
        }
        self.pass_on((&tunnel, entry), stream, upstream).await;
    }

    async fn pass_on(
        &self,
        (tunnel, entry): (&Tunnel, Entry),
        stream: impl Stream,
        upstream: Option<TcpStream>,
    ) {
        entry.came_to(Outcome::Allowed(tunnel.grant.rule.clone()));
        let connected = match upstream {
            Some(upstream) => Ok(upstream),
            None => self.dialer.dial(&tunnel.to).await,
        };
        match connected {
            Ok(upstream) => join(stream, upstream, &entry.bytes).await,
            Err(no_way) => {
                entry.came_to(crate::proxy::outcome_of(&no_way));
                drop(entry);
                refuse(stream).await;
            }
        }
    }

    /// Ends TLS here and serves the requests inside it.
    async fn intercept(self: &Arc<Self>, tunnel: Tunnel, entry: Entry, stream: impl Stream + 'static) {
        let Ok(config) = self.authority.server(&tunnel.to.host) else {
            return entry.came_to(Outcome::Failed("no certificate could be made".to_owned()));
        };
        let accepted = tokio::time::timeout(HELLO_TIME, TlsAcceptor::from(config).accept(stream)).await;
        let Ok(Ok(stream)) = accepted else {
            let why = "its program does not trust the sandbox's certificate authority, which it must to speak to this host";
            return entry.came_to(Outcome::Failed(why.to_owned()));
        };
        entry.came_to(Outcome::Failed("its connection ended before a request".to_owned()));
        let Tunnel { to, grant, program } = tunnel;
        let site = Arc::new(Site { to, scheme: Scheme::Https, grant, program });
        let proxy = Arc::clone(self);
        let service = service_fn(move |request| {
            // From now on the requests tell.
            entry.forget();
            let (proxy, site) = (Arc::clone(&proxy), Arc::clone(&site));
            async move { proxy.exchange(&site, request).await }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        server
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(HEAD_TIME);
        // How it ends, its requests have told.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }
}

/// Tells a TLS client that it was refused.
pub(crate) async fn refuse(mut stream: impl Stream) {
    let say = async {
        let _ = stream.write_all(&DENIED).await;
        let _ = stream.shutdown().await;
    };
    let _ = tokio::time::timeout(HELLO_TIME, say).await;
}
