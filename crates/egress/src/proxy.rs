//! The proxy of one sandbox: what comes to which door, and what is decided there.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Error;
use crate::body::{Body, full};
use crate::capacity::{Capacity, Room};
use crate::connect::Connector;
use crate::dial::{Dialer, NoWay, Opened, Resolver, Upstream};
use crate::exchange::{Site, head_text};
use crate::forms::Forms;
use crate::hello::{self, BadHello};
use crate::host::{Authority, Host};
use crate::names::{Answer, Question};
use crate::policy::{Policy, Scheme};
use crate::receipt::{Entry, Ledger, Matter, Outcome, Program, Way};
use crate::secret::{Secret, Secrets};
use crate::stream::{Rewound, Stream};
use crate::tripwire::Tripwire;
use crate::trust::{self, Roots};
use crate::tunnel::{Tunnel, refuse};

/// The head of a request: what nginx and Apache take (8 KiB a line), with room for large cookies.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
pub(crate) const HEADERS_MAX: usize = 128;

/// Time for the head of a request.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(20);

/// Time for a hello, and for a question for a name.
const HELLO_TIME: Duration = Duration::from_secs(15);

/// Connections to hosts that wait for the next request.
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_MAX: usize = 8;

/// The longest text of a host that the receipt shows: the longest host name.
const SHOWN_CHARS_MAX: usize = 253;

/// What a proxy is made of.
pub struct Settings {
    /// What may leave.
    pub policy: Policy,
    /// What stands in for what.
    pub secrets: Vec<Secret>,
    /// Whoever touches it has looked for secrets: nothing passes any more.
    pub tripwire: Arc<Tripwire>,
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolver>,
    /// What of the operator's own network may be reached.
    pub opened: Opened,
    /// The operator's own proxy.
    pub upstream: Option<Upstream>,
    /// Whom to trust outside.
    pub roots: Roots,
    /// The address that allowed names are said to have inside: where the direct doors are.
    pub direct: Ipv4Addr,
}

/// Which door of a sandbox something came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The proxy's, for programs that know proxies.
    Proxy,
    /// For TLS of programs that do not.
    Https,
    /// For their HTTP.
    Http,
    /// For questions for names, over TCP.
    Names,
}

/// A connection of a program inside.
pub struct Visit {
    /// Where it came to.
    pub door: Door,
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// Who made it.
    pub program: Option<Program>,
}

/// The proxy of one sandbox.
pub struct Proxy {
    pub(crate) policy: Policy,
    pub(crate) secrets: Secrets,
    /// The values of secrets, with what stands in for them.
    pub(crate) values: Forms,
    pub(crate) tripwire: Arc<Tripwire>,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) client: Client<Connector, Body>,
    pub(crate) authority: trust::Authority,
    pub(crate) ledger: Ledger,
    roots: Roots,
    direct: Ipv4Addr,
    capacity: Capacity,
}

impl Proxy {
    /// Makes a proxy with an authority of its own.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(settings: Settings) -> Result<Arc<Self>, Error> {
        let Settings { policy, secrets, tripwire, resolver, opened, upstream, roots, direct } = settings;
        let values = Forms::new(secrets.iter().map(|secret| (&*secret.value, &*secret.placeholder)))?;
        let dialer = Arc::new(Dialer { resolver, opened, upstream });
        let connector = Connector { dialer: Arc::clone(&dialer), tls: Arc::new(roots.client()?) };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            // A request is sent twice only by whoever made it.
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Arc::new(Self {
            policy,
            secrets: Secrets(secrets),
            values,
            tripwire,
            dialer,
            client,
            authority: trust::Authority::new()?,
            ledger: Ledger::default(),
            roots,
            direct,
            capacity: Capacity::default(),
        }))
    }

    /// Where receipts come to.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All that programs inside should trust, as text: the machine's roots and this sandbox's authority.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        trust::pem(self.roots.iter().chain([self.authority.certificate()]))
    }

    /// This sandbox's authority alone.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        trust::pem([self.authority.certificate()])
    }

    /// The bundle as a trust store for Java, of the type JKS, with [`crate::STORE_PASSWORD`].
    #[must_use]
    pub fn bundle_for_java(&self) -> Vec<u8> {
        trust::java_store(self.roots.iter().chain([self.authority.certificate()]))
    }

    /// Room for one more connection, once there is some: ask before one is taken, so that those that wait cost this process
    /// nothing.
    pub async fn room(&self) -> Room {
        self.capacity.room().await
    }

    /// Serves a connection to its end.
    pub async fn serve(self: &Arc<Self>, visit: Visit, room: Room) {
        let Visit { door, stream, program } = visit;
        let work = async {
            match door {
                Door::Proxy | Door::Http => self.serve_http(door, stream, (program, room)).await,
                Door::Https => self.serve_tls(stream, program).await,
                Door::Names => self.serve_names(stream, program).await,
            }
        };
        self.capacity.while_open(work).await;
    }

    /// Ends every connection, so that the ledger has them all. For when the sandbox has ended.
    pub async fn close(&self) {
        self.capacity.close().await;
    }

    /// The answer to a question for a name. `None`: it was none.
    #[must_use]
    pub fn answer(&self, message: &[u8], program: Option<Program>) -> Option<Bytes> {
        let question = Question::read(message)?;
        let host = question.host();
        let decision = match &host {
            _ if self.is_caught(question.name.as_bytes(), "a question for a name") => {
                Err("it holds what must not leave".to_owned())
            }
            Some(host) => self.policy.decide_name(host).map(|_| ()),
            None => Err("it is no host's name".to_owned()),
        };
        let answer = match decision {
            Ok(()) => Answer::At(self.direct),
            Err(why) => {
                let wanted = Wanted { host: shown(&question.name), port: 0, way: Way::Name, program };
                self.note(wanted.matter(Outcome::Denied(why)));
                Answer::Nowhere
            }
        };
        question.answer(&answer).map(Bytes::from)
    }

    /// Whether the decoy was touched. Then nothing leaves any more.
    #[must_use]
    pub fn is_alarmed(&self) -> bool {
        self.tripwire.place().is_some()
    }

    /// Whether the decoy is in these bytes, or was in others before: then this is the last thing that the sandbox tries.
    pub(crate) fn is_caught(&self, bytes: &[u8], place: impl std::fmt::Display) -> bool {
        self.tripwire.looks_at(bytes, format_args!("egress, in {place}")) || self.is_alarmed()
    }

    pub(crate) fn note(&self, matter: Matter) {
        drop(Entry::new(&self.ledger, matter));
    }

    async fn serve_http(
        self: &Arc<Self>,
        door: Door,
        stream: Box<dyn Stream>,
        (program, room): (Option<Program>, Room),
    ) {
        let proxy = Arc::clone(self);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (proxy, program) = (Arc::clone(&proxy), program.clone());
            // A tunnel lives on when this has ended.
            request.extensions_mut().insert(room.clone());
            async move { proxy.on_request(door, request, program).await }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        // What hyper could not read, it has answered; how a connection ends is the program's own affair.
        drop(served);
    }

    async fn on_request(
        self: Arc<Self>,
        door: Door,
        request: Request<Incoming>,
        program: Option<Program>,
    ) -> Result<Response<Body>, Infallible> {
        if request.method() == Method::CONNECT && door == Door::Proxy {
            return Ok(self.on_connect(request, program).await);
        }
        let is_absolute = request.uri().scheme_str() == Some("http") && request.uri().authority().is_some();
        if request.uri().scheme().is_some() && !is_absolute {
            return Ok(refusal(
                StatusCode::BAD_REQUEST,
                "https goes through CONNECT, and other schemes not at all",
            ));
        }
        if door == Door::Proxy && !is_absolute {
            return Ok(refusal(
                StatusCode::BAD_REQUEST,
                "this is a proxy: it takes CONNECT and whole http:// URLs",
            ));
        }
        let text = match request.uri().authority() {
            Some(authority) => authority.as_str().to_owned(),
            None => request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("").to_owned(),
        };
        let to = match Authority::parse(&text, Some(80)) {
            Ok(to) => to,
            Err(bad) => return Ok(self.deny(self.named(&text, Way::Http, program), &bad.to_string())),
        };
        // Also where the host is not allowed: what it was to hear is not read any further then.
        if self.is_caught(
            head_text(request.uri(), request.headers()).as_bytes(),
            format_args!("a request to {to}"),
        ) {
            return Ok(self.deny(Wanted::of(&to, Way::Http, program), "it holds what must not leave"));
        }
        match self.decide(&to, Scheme::Http) {
            Ok(grant) => {
                let site = Site { to, scheme: Scheme::Http, grant, program };
                self.exchange(&site, request).await
            }
            Err(why) => Ok(self.deny(Wanted::of(&to, Way::Http, program), &why)),
        }
    }

    /// Decides on a host, and looks for decoys in its name.
    pub(crate) fn decide(&self, to: &Authority, scheme: Scheme) -> Result<crate::Grant, String> {
        if self.is_caught(to.host.to_string().as_bytes(), "the name of a host") {
            return Err("it holds what must not leave".to_owned());
        }
        self.policy.decide(to, scheme)
    }

    async fn on_connect(
        self: Arc<Self>,
        request: Request<Incoming>,
        program: Option<Program>,
    ) -> Response<Body> {
        let text = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let to = match Authority::parse(&text, None) {
            Ok(to) => to,
            Err(bad) => return self.deny(self.named(&text, Way::Tunnel, program), &bad.to_string()),
        };
        if let Err(why) = agrees_with_host(&request, &to) {
            return self.deny(Wanted::of(&to, Way::Tunnel, program), &why);
        }
        let grant = match self.decide(&to, Scheme::Https) {
            Ok(grant) => grant,
            Err(why) => return self.deny(Wanted::of(&to, Way::Tunnel, program), &why),
        };
        let tunnel = Tunnel { to, grant, program };
        // First the host: a program hears at once that there is none.
        let upstream = if self.looks_into(&tunnel) {
            None
        } else {
            match self.dialer.dial(&tunnel.to).await {
                Ok(upstream) => Some(upstream),
                Err(no_way) => {
                    self.note(tunnel.matter(outcome_of(&no_way)));
                    return refusal_of(&no_way);
                }
            }
        };
        let room = request.extensions().get::<Room>().cloned();
        let entry = tunnel.open(&self.ledger);
        tokio::spawn(async move {
            let _room = room;
            let work = async {
                if let Ok(upgraded) = hyper::upgrade::on(request).await {
                    self.tunnel((tunnel, entry), TokioIo::new(upgraded), upstream).await;
                }
            };
            self.capacity.while_open(work).await;
        });
        Response::new(full(""))
    }

    async fn serve_tls(self: &Arc<Self>, mut stream: Box<dyn Stream>, program: Option<Program>) {
        let read = tokio::time::timeout(HELLO_TIME, hello::read(&mut stream)).await;
        let (shown_name, decided) = match read {
            Err(_) | Ok(Err(BadHello::Ended)) => return,
            Ok(Err(bad)) => (String::new(), Err(bad.to_string())),
            Ok(Ok((hello, bytes))) => {
                let name = hello.name.unwrap_or_default();
                let host = Host::parse(&name).map_err(|bad| bad.to_string());
                let decided = host.and_then(|host| {
                    let to = Authority { host, port: Scheme::Https.port() };
                    self.decide(&to, Scheme::Https).map(|grant| (to, grant, bytes))
                });
                (name, decided)
            }
        };
        match decided {
            Ok((to, grant, bytes)) => {
                let tunnel = Tunnel { to, grant, program };
                let entry = tunnel.open(&self.ledger);
                self.tunnel((tunnel, entry), Rewound::new(bytes, stream), None).await;
            }
            Err(why) => {
                let wanted = Wanted { host: shown(&shown_name), port: 443, way: Way::Tunnel, program };
                self.note(wanted.matter(Outcome::Denied(why)));
                refuse(stream).await;
            }
        }
    }

    /// Messages with their lengths before them (RFC 1035, section 4.2.2).
    async fn serve_names(&self, mut stream: Box<dyn Stream>, program: Option<Program>) {
        let one = async |stream: &mut Box<dyn Stream>| {
            let length = usize::from(stream.read_u16().await.ok()?);
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await.ok()?;
            let answer = self.answer(&message, program.clone())?;
            stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
            stream.write_all(&answer).await.ok()
        };
        while let Ok(Some(())) = tokio::time::timeout(HELLO_TIME, one(&mut stream)).await {}
    }

    /// A text that names no host. It may hold a decoy all the same.
    fn named(&self, text: &str, way: Way, program: Option<Program>) -> Wanted {
        self.is_caught(text.as_bytes(), "what a program told the proxy");
        Wanted { host: shown(text), port: 0, way, program }
    }

    /// Answers that it is blocked, and writes it down.
    fn deny(&self, wanted: Wanted, why: &str) -> Response<Body> {
        let place =
            if wanted.port == 0 { wanted.host.clone() } else { format!("{}:{}", wanted.host, wanted.port) };
        self.note(wanted.matter(Outcome::Denied(why.to_owned())));
        refusal(StatusCode::FORBIDDEN, &format!("{place} is blocked: {why}"))
    }
}

/// What a program wants, before it is known whether it gets it.
struct Wanted {
    host: String,
    port: u16,
    way: Way,
    program: Option<Program>,
}

impl Wanted {
    fn of(to: &Authority, way: Way, program: Option<Program>) -> Self {
        Self { host: to.host.to_string(), port: to.port, way, program }
    }

    fn matter(self, outcome: Outcome) -> Matter {
        let Self { host, port, way, program } = self;
        Matter { host, port, way, method: None, outcome, program }
    }
}

/// Whether the Host header of a CONNECT, if there is one, means the same host.
fn agrees_with_host(request: &Request<Incoming>, to: &Authority) -> Result<(), String> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(host) = hosts.next() else { return Ok(()) };
    let read = host.to_str().ok().and_then(|host| Authority::parse(host, Some(to.port)).ok());
    match read {
        Some(host) if host.host == to.host && hosts.next().is_none() => Ok(()),
        _ => Err("its Host header names another host".to_owned()),
    }
}

/// What becomes of a connection that was allowed by its name.
pub(crate) fn outcome_of(no_way: &NoWay) -> Outcome {
    match no_way {
        NoWay::Special { .. } => Outcome::Denied(no_way.to_string()),
        NoWay::Unreachable { .. } => Outcome::Failed(no_way.to_string()),
    }
}

/// The answer to a request that cannot be passed on.
pub(crate) fn refusal_of(no_way: &NoWay) -> Response<Body> {
    let status = match no_way {
        NoWay::Special { .. } => StatusCode::FORBIDDEN,
        NoWay::Unreachable { .. } => StatusCode::BAD_GATEWAY,
    };
    refusal(status, &no_way.to_string())
}

/// An answer of the proxy's own. The sentence is also where RFC 9209 has it, for programs that do not show bodies.
pub(crate) fn refusal(status: StatusCode, sentence: &str) -> Response<Body> {
    let plain: String = sentence
        .chars()
        .map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' })
        .collect();
    let mut response = Response::new(full(format!("legwork: {sentence}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(told) =
        HeaderValue::from_str(&format!("legwork; error=http_request_denied; details=\"{plain}\""))
    {
        headers.insert("proxy-status", told);
    }
    response
}

/// What a program has said, for people to read.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(SHOWN_CHARS_MAX).map(plain).collect()
}
