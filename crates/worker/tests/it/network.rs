//! What leaves a sandbox: a real server with TLS on loopback, whose name only the worker's resolver knows.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use legwork_domain::{AllowedHost, Connection, CustomPolicy, EventKind, NetworkPolicy, Passage, Phase, Way};
use legwork_egress::{Opened, Resolver, Roots};
use legwork_worker::Network;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::world::{Run, World};

pub(crate) struct Names(pub(crate) HashMap<String, IpAddr>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(self.0.get(name).copied().into_iter().collect())
    }
}

/// What a server of that name has for TLS, and its certificate.
pub(crate) fn tls(name: &str) -> (rustls::ServerConfig, rustls::pki_types::CertificateDer<'static>) {
    let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
    (config, certificate)
}

/// A server that answers every request with the same text; its port, and whom to trust.
async fn server(name: &str) -> (u16, Roots) {
    let (config, certificate) = tls(name);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
                {}
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, Roots::of(vec![certificate]))
}

fn network(roots: Roots) -> Network {
    let names = ["good.example", "evil.example"].map(|name| (name.to_owned(), Ipv4Addr::LOCALHOST.into()));
    Network {
        resolver: Arc::new(Names(HashMap::from(names))),
        opened: Opened { networks: vec!["127.0.0.0/8".parse().unwrap()], hosts: Vec::new() },
        roots,
        ..Network::default()
    }
}

fn custom(allow: &[String]) -> NetworkPolicy {
    let allow = allow.iter().cloned().map(AllowedHost::Any).collect();
    NetworkPolicy::Custom(CustomPolicy { allow, ..CustomPolicy::default() })
}

pub(crate) fn connections(run: &Run) -> Vec<&Connection> {
    run.events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Connection { connection, .. } => Some(connection),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_what_is_allowed_and_is_told_what_is_not() {
    let world = World::without_worker().await;
    let (port, roots) = server("good.example").await;
    world.start_worker_on(network(roots));
    let repository = world.repository(&[("a", "a\n")]);
    let model = world.model(&[
        &format!("curl -sS https://good.example:{port}/"),
        &format!("curl -sS https://evil.example:{port}/; echo exit $?"),
        "getent hosts elsewhere.example; echo exit $?",
    ]);
    let mut task = world.task(&repository, model);
    task.environment.network = custom(&[format!("good.example:{port}")]);
    let run = world.run(&task).await;
    let outputs = run.outputs(Phase::Agent);
    assert_eq!(outputs[0], (Some(0), "welcome".to_owned()));
    let denied = &outputs[1].1;
    assert!(denied.contains("exit 56") || denied.contains("exit 7"), "{denied}");
    let line = format!(
        "[network] blocked: evil.example:{port}, wanted by `curl -sS https://evil.example:{port}/`: the network policy is \"custom\" and does not list it"
    );
    assert!(denied.contains(&line), "{denied}");
    assert!(
        outputs[2].1.contains("blocked: elsewhere.example, wanted by `getent hosts elsewhere.example`"),
        "{}",
        outputs[2].1
    );
    let told: Vec<_> = connections(&run)
        .into_iter()
        .map(|one| (one.host.as_str(), one.way, one.outcome, one.process.as_deref(), one.received_bytes > 0))
        .collect();
    assert_eq!(
        told,
        [
            ("good.example", Way::Tunnel, Passage::Allowed, Some("curl"), true),
            ("evil.example", Way::Tunnel, Passage::Denied, Some("curl"), false),
            ("elsewhere.example", Way::Name, Passage::Denied, Some("getent"), false),
        ]
    );
}

/// A server that answers with the request that it got.
async fn echo(name: &str) -> (u16, Roots) {
    let (config, certificate) = tls(name);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            let is_right = String::from_utf8_lossy(&head).contains("Bearer hunter2-hunter2");
            let body = format!("{is_right} {}", String::from_utf8_lossy(&head));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, Roots::of(vec![certificate]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_and_never_seen() {
    let world = World::without_worker().await;
    let (port, roots) = echo("good.example").await;
    world.start_worker_on(network(roots));
    let repository = world.repository(&[("a", "a\n")]);
    let secret: legwork_domain::SecretUse =
        serde_json::from_str(r#"{"name":"TOKEN","hosts":["good.example"]}"#).unwrap();
    let recipe = legwork_domain::Environment {
        network: custom(&[format!("good.example:{port}")]),
        secrets: vec![secret],
        ..legwork_domain::Environment::default()
    };
    let environment = world.keep(&repository, recipe, &[("TOKEN", "hunter2-hunter2")]).await;
    let model = world.model(&[
        &format!("curl -sS -H \"Authorization: Bearer $TOKEN\" https://good.example:{port}/"),
        "env | grep TOKEN; grep -rs hunter2 /etc /home /tmp /proc/self/environ || echo nowhere",
    ]);
    let mut task = world.task(&repository, model);
    task.environment_id = Some(environment);
    // What the task itself says of secrets and network does not count.
    task.environment.network = NetworkPolicy::All;
    let run = world.run(&task).await;
    let outputs = run.outputs(Phase::Agent);
    assert!(outputs[0].1.starts_with("true GET / HTTP/1.1"), "{}", outputs[0].1);
    assert!(outputs[0].1.contains("Bearer legwork_"), "the answer has the placeholder: {}", outputs[0].1);
    assert!(outputs[1].1.contains("TOKEN=legwork_") && outputs[1].1.contains("nowhere"), "{}", outputs[1].1);
    assert!(!format!("{:?}", run.events).contains("hunter2-hunter2"));
    let seen = connections(&run);
    assert_eq!((seen[0].way, seen[0].method.as_deref()), (Way::Https, Some("GET")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_touches_the_decoy_ends_the_task() {
    let world = World::without_worker().await;
    world.start_worker_on(Network::default());
    let repository = world.repository(&[("a", "a\n")]);
    let model = world.model(&["cat ~/.config/deploy/credentials; sleep 30; echo still here", "echo and on"]);
    let run = world.run(&world.task(&repository, model)).await;
    assert_eq!(
        run.ended.outcome,
        legwork_domain::Outcome::Failed { reason: legwork_domain::Failure::Decoy },
        "{}",
        run.ended.sentence
    );
    assert!(
        run.ended
            .sentence
            .contains("showed up in the log, in the output of `cat ~/.config/deploy/credentials; sleep 30"),
        "{}",
        run.ended.sentence
    );
    assert!(run.notices().contains("Alarm: The task was stopped"), "{}", run.notices());
    let frozen = run.events.iter().any(|event| matches!(&event.kind, EventKind::Snapshot { live: None, .. }));
    assert!(frozen, "its files are kept");
    assert!(!run.output().contains("still here"), "{}", run.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tries_an_address_past_the_proxy_is_counted_and_told() {
    let world = World::without_worker().await;
    world.start_worker_on(Network::default());
    let repository = world.repository(&[("a", "a\n")]);
    let tries = "for port in 80 443; do bash -c \"exec 3<>/dev/tcp/192.0.2.1/$port\"; done; echo x > /dev/udp/192.0.2.1/53";
    let model = world.model(&[tries, "echo nothing more"]);
    let run = world.run(&world.task(&repository, model)).await;
    let outputs = run.outputs(Phase::Agent);
    let told = "[network] blocked: an address: there is no route to an address without a name";
    assert!(outputs[0].1.contains(told) && !outputs[1].1.contains("[network]"), "{outputs:?}");
    let seen: Vec<_> = connections(&run).into_iter().map(|one| (one.way, one.outcome, one.count)).collect();
    assert_eq!(seen, [(Way::Direct, Passage::Denied, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_when_the_turn_ends_is_on_the_receipt() {
    let world = World::without_worker().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, certificate) = tls("good.example");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        // It listens to all, never answers, and does not hang up either.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        std::future::pending::<()>().await;
    });
    world.start_worker_on(network(Roots::of(vec![certificate])));
    let repository = world.repository(&[("a", "a\n")]);
    let script = format!(
        "[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = \"curl -sSv https://good.example:{port}/ 2>&1\", yield_time_ms = 5000 }} }}]\n[[turn]]\ntext = \"Done.\"\n"
    );
    let mut task = world.task(&repository, world.script(&script));
    task.environment.network = custom(&[format!("good.example:{port}")]);
    let run = world.run(&task).await;
    let seen = connections(&run);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].host.as_str(), seen[0].outcome), ("good.example", Passage::Allowed));
    assert!(seen[0].sent_bytes > 0, "{seen:?}");
    server.abort();
}

/// What a command is told that was kept from evil.example, whatever else it prints.
fn told(output: &str) -> usize {
    output.matches("[network] blocked: evil.example:443, wanted by `curl").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_command_that_was_blocked_is_told() {
    let world = World::without_worker().await;
    world.start_worker_on(Network::default());
    let repository = world.repository(&[("a", "a\n")]);
    // The first is blocked while the second runs, which ends before it.
    let script = r#"
[[turn]]
calls = [
  { tool = "exec_command", arguments = { cmd = "curl -sS https://evil.example/; touch /tmp/tried; until test -s /tmp/second; do sleep 0.02; done; while kill -0 $(cat /tmp/second); do sleep 0.02; done 2> /tmp/gone; printf first", yield_time_ms = 30000 } },
  { tool = "exec_command", arguments = { cmd = "echo $$ > /tmp/second; until test -e /tmp/tried; do sleep 0.02; done; echo second", yield_time_ms = 30000 } },
]
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo third", yield_time_ms = 30000 } }]
[[turn]]
text = "Done."
"#;
    let run = world.run(&world.task(&repository, world.script(script))).await;
    let ran = run.commands();
    let of = |line: &str| ran.iter().find(|(command, ..)| command.contains(line)).unwrap().2.as_str();
    assert_eq!(told(of("printf first")), 1, "{ran:?}");
    assert!(of("printf first").contains("first\n[network]"), "it is a line of its own: {ran:?}");
    assert_eq!((of("echo second"), of("echo third")), ("second\n", "third\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_the_background_is_told_what_it_wanted_itself() {
    let world = World::without_worker().await;
    world.start_worker_on(Network::default());
    let repository = world.repository(&[("a", "a\n")]);
    let script = r#"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "setsid curl -sS https://evil.example/; touch /tmp/tried; until test -e /tmp/go; do sleep 0.02; done; echo background", yield_time_ms = 250 } }]
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "until test -e /tmp/tried; do sleep 0.02; done; echo next", yield_time_ms = 30000 } }]
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "touch /tmp/go; echo last", yield_time_ms = 30000 } }]
[[turn]]
calls = [{ tool = "write_stdin", arguments = { session_id = 1, yield_time_ms = 60000 } }]
[[turn]]
text = "Done."
"#;
    let run = world.run(&world.task(&repository, world.script(script))).await;
    let ran = run.commands();
    let of = |line: &str| ran.iter().find(|(command, ..)| command.contains(line)).unwrap().2.as_str();
    assert_eq!((of("echo next"), of("echo last")), ("next\n", "last\n"));
    assert!(of("echo background").contains("background\n"), "{ran:?}");
    assert_eq!(told(of("echo background")), 1, "{ran:?}");
}
