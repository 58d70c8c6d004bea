//! A small internet: hosts with addresses, servers with certificates that note what they are asked, and programs that
//! speak through the proxy's doors.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use legwork_egress::{
    Door, Opened, Outcome, Pattern, Plain, Policy, Program, Proxy, Receipt, Resolver, Roots, Rule, Secret,
    Settings, Tripwire, Visit,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// For what takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a server was asked: method, target, headers in order, body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) version: hyper::Version,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

type Log = Arc<Mutex<Vec<Asked>>>;

/// Names that lead somewhere, perhaps elsewhere at the second look.
#[derive(Default)]
struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let Some(answers) = names.get_mut(name) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

pub(crate) struct World {
    names: Arc<Names>,
    pub(crate) tls_port: u16,
    pub(crate) http_port: u16,
    certificate: CertificateDer<'static>,
    log: Log,
}

/// The names that the server has a certificate for.
const HOSTS: [&str; 5] = ["good.example", "www.good.example", "api.example", "other.example", "evil.example"];

impl World {
    pub(crate) async fn new() -> Self {
        let log = Log::default();
        let (certificate, key) = certified(&HOSTS);
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls_port = serve(Some(TlsAcceptor::from(Arc::new(config))), Arc::clone(&log)).await;
        let http_port = serve(None, Arc::clone(&log)).await;
        let world = Self { names: Arc::default(), tls_port, http_port, certificate, log };
        for host in HOSTS {
            world.name(host, &[&["127.0.0.1"]]);
        }
        world
    }

    /// What a name leads to, look-up by look-up.
    pub(crate) fn name(&self, name: &str, answers: &[&[&str]]) {
        let answers =
            answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.names.0.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// What servers were asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// All that left, as one text.
    pub(crate) fn all_that_left(&self) -> String {
        format!("{:?}", self.asked())
    }

    pub(crate) fn settings(&self, rules: &[&str]) -> Settings {
        Settings {
            policy: Policy {
                name: "custom".into(),
                allow: rules.iter().map(|text| self.rule(text)).collect(),
                ..Policy::default()
            },
            secrets: Vec::new(),
            tripwire: Tripwire::new("nobody-has-this-decoy").unwrap(),
            resolver: Arc::clone(&self.names) as Arc<dyn Resolver>,
            opened: Opened { networks: vec!["127.0.0.1/32".parse().unwrap()], hosts: Vec::new() },
            upstream: None,
            roots: Roots::of(vec![self.certificate.clone()]),
            direct: Ipv4Addr::new(127, 80, 80, 80),
        }
    }

    /// `PATTERN` at the TLS server's port, or `http://PATTERN` at the other's.
    pub(crate) fn rule(&self, text: &str) -> Rule {
        let (plain, pattern, port) = match text.strip_prefix("http://") {
            Some(pattern) => (Plain::Allowed, pattern, self.http_port),
            None => (Plain::Refused, text, self.tls_port),
        };
        Rule { plain, port: Some(port), ..Rule::to(pattern.parse::<Pattern>().unwrap()) }
    }

    pub(crate) fn proxy(&self, rules: &[&str]) -> Inside {
        Inside::of(self.settings(rules))
    }

    pub(crate) fn of(&self, settings: Settings) -> Inside {
        Inside::of(settings)
    }

    pub(crate) fn with_secrets(&self, rules: &[&str], secrets: Vec<Secret>) -> Inside {
        Inside::of(Settings { secrets, ..self.settings(rules) })
    }

    pub(crate) fn with_decoy(&self, rules: &[&str], decoy: &str) -> Inside {
        Inside::of(Settings { tripwire: Tripwire::new(decoy).unwrap(), ..self.settings(rules) })
    }

    pub(crate) fn at(&self, host: &str) -> String {
        format!("{host}:{}", self.tls_port)
    }

    pub(crate) fn http_at(&self, host: &str) -> String {
        format!("{host}:{}", self.http_port)
    }
}

fn certified(hosts: &[&str]) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
}

/// A server that notes what it is asked and answers by path: `/echo` with all it was told, `/leak?VALUE` in a header,
/// `/redirect` to another host, anything else `welcome`.
async fn serve(acceptor: Option<TlsAcceptor>, log: Log) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, Arc::clone(&log)));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                match acceptor {
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                    None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                }
            });
        }
    });
    port
}

async fn answer(request: Request<Incoming>, log: Log) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = body.collect().await.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    let asked = Asked {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().unwrap().to_string(),
        headers,
        body: body.unwrap_or_else(|_| "(broken off)".to_owned()),
        version: parts.version,
    };
    log.lock().unwrap().push(asked.clone());
    let told = format!("{asked:?}");
    let response = match parts.uri.path() {
        "/echo" => Response::builder().body(Full::from(told)),
        "/gzip" => Response::builder().header("content-encoding", "gzip").body(Full::from(told)),
        "/leak" => {
            let token = asked.header("authorization").unwrap_or_default().to_owned();
            Response::builder()
                .header("x-token", &token)
                .header("location", format!("/?{}", token.replace(' ', "+")))
                .body(Full::from(""))
        }
        "/alternative" => Response::builder().header("alt-svc", "h3=\":443\"").body(Full::from("welcome")),
        _ => Response::builder().body(Full::from("welcome")),
    };
    Ok(response.unwrap())
}

/// A sandbox, as far as the proxy is concerned.
pub(crate) struct Inside {
    pub(crate) proxy: Arc<Proxy>,
}

impl Inside {
    fn of(settings: Settings) -> Self {
        Self { proxy: Proxy::new(settings).unwrap() }
    }

    /// A connection to a door.
    pub(crate) fn door(&self, door: Door) -> DuplexStream {
        let (inside, outside) = tokio::io::duplex(64 << 10);
        let proxy = Arc::clone(&self.proxy);
        let program = Some(Program { process: "curl".into(), command_line: "curl x".into(), command: None });
        tokio::spawn(async move {
            let room = proxy.room().await;
            proxy.serve(Visit { door, stream: Box::new(outside), program }, room).await;
        });
        inside
    }

    /// Sends bytes to a door and reads what comes until it is closed.
    pub(crate) async fn raw(&self, door: Door, bytes: &[u8]) -> String {
        let mut stream = self.door(door);
        let exchange = async {
            // Whoever refuses may close before all is written.
            let _ = stream.write_all(bytes).await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }

    /// CONNECT, and the status of the answer; the stream if it is 200.
    pub(crate) async fn connect(&self, target: &str) -> Result<DuplexStream, String> {
        let mut stream = self.door(Door::Proxy);
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap() {
                Ok(byte) => head.push(byte),
                Err(_) => return Err(String::from_utf8_lossy(&head).into_owned()),
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(head) }
    }

    /// TLS to a host through CONNECT, with another name in the hello if wanted.
    pub(crate) async fn tls(
        &self,
        target: &str,
        sni: &str,
        alpn: &[&str],
    ) -> Result<tokio_rustls::client::TlsStream<DuplexStream>, String> {
        let stream = self.connect(target).await?;
        self.handshake(stream, sni, alpn).await
    }

    pub(crate) async fn handshake(
        &self,
        stream: DuplexStream,
        sni: &str,
        alpn: &[&str],
    ) -> Result<tokio_rustls::client::TlsStream<DuplexStream>, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.proxy.bundle_pem().as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        tokio::time::timeout(PATIENCE, connecting).await.unwrap().map_err(|error| error.to_string())
    }

    /// One request of HTTP/1.1 over TLS, as bytes, and all of the answer.
    pub(crate) async fn https(&self, target: &str, request: &str) -> String {
        let sni = target.rsplit_once(':').unwrap().0;
        let mut stream = match self.tls(target, sni, &["http/1.1"]).await {
            Ok(stream) => stream,
            Err(said) => return said,
        };
        let exchange = async {
            let _ = stream.write_all(request.as_bytes()).await;
            let _ = stream.flush().await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }

    /// What was written down so far, waiting for the first line.
    pub(crate) async fn receipts(&self) -> Vec<Receipt> {
        let look = async {
            loop {
                let receipts = self.proxy.ledger().take();
                if !receipts.is_empty() {
                    return receipts;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap()
    }

    /// The one line of the receipt, which must be a refusal, and why.
    pub(crate) async fn denied(&self) -> String {
        let receipts = self.receipts().await;
        match &receipts[..] {
            [Receipt { matter, .. }] => match &matter.outcome {
                Outcome::Denied(why) => format!("{}:{} {why}", matter.host, matter.port),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// A request of HTTP/1.1 that ends its connection.
pub(crate) fn get(host: &str, target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
}
