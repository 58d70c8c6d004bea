//! What is allowed works, on each way, and is written down.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use legwork_egress::{Door, Methods, Outcome, Rule, Settings, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, get};

#[tokio::test]
async fn a_tunnel_is_passed_on_untouched() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example"]);
    let said = inside
        .https(&world.at("good.example"), &get(&world.at("good.example"), "/a?b", "X-Own: 1\r\n"))
        .await;
    assert!(said.ends_with("welcome"), "{said}");
    assert_eq!(world.asked()[0].header("x-own"), Some("1"));
    let receipt = &inside.receipts().await[0];
    assert_eq!((receipt.matter.way, receipt.count), (Way::Tunnel, 1));
    assert_eq!(receipt.matter.outcome, Outcome::Allowed(world.rule("good.example").to_string()));
    assert!(receipt.sent > 100 && receipt.received > 100, "{receipt:?}");
    assert_eq!(receipt.matter.program.as_ref().unwrap().process, "curl");
}

#[tokio::test]
async fn plain_http_is_passed_on_where_it_is_listed() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let at = world.http_at("good.example");
    let said = inside.raw(Door::Proxy, get(&at, &format!("http://{at}/a"), "").as_bytes()).await;
    assert!(said.ends_with("welcome"), "{said}");
    let receipt = &inside.receipts().await[0];
    assert_eq!((receipt.matter.way, receipt.matter.method.as_deref()), (Way::Http, Some("GET")));
}

fn reading(world: &World) -> Settings {
    let mut settings = world.settings(&[]);
    settings.policy.allow = vec![Rule { methods: Methods::Read, ..world.rule("good.example") }];
    settings
}

#[tokio::test]
async fn where_methods_are_limited_requests_are_looked_into() {
    let world = World::new().await;
    let inside = world.of(reading(&world));
    let at = world.at("good.example");
    assert!(inside.https(&at, &get(&at, "/", "")).await.ends_with("welcome"));
    let post = format!("POST /x HTTP/1.1\r\nHost: {at}\r\nContent-Length: 1\r\n\r\nx");
    let said = inside.https(&at, &post).await;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("allows GET, HEAD and OPTIONS only"), "{said}");
    assert_eq!(world.asked().len(), 1);
    let lines: Vec<_> = inside
        .receipts()
        .await
        .into_iter()
        .map(|receipt| (receipt.matter.way, receipt.matter.method))
        .collect();
    assert_eq!(lines, [(Way::Https, Some("GET".into())), (Way::Https, Some("POST".into()))]);
}

#[tokio::test]
async fn http_2_is_spoken_on_both_sides() {
    let world = World::new().await;
    let inside = world.of(reading(&world));
    let at = world.at("good.example");
    let stream = inside.tls(&at, "good.example", &["h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("https://{at}/two")).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "welcome");
    assert_eq!(
        (world.asked()[0].version, world.asked()[0].target.as_str()),
        (hyper::Version::HTTP_2, "/two")
    );
}

#[tokio::test]
async fn a_program_that_knows_no_proxy_is_served_by_the_name_in_its_hello() {
    let world = World::new().await;
    let mut settings = world.settings(&[]);
    settings.policy.allow = vec![Rule::to("good.example".parse().unwrap())];
    let inside = world.of(settings);
    // Nobody listens on port 443 here: that it is tried is what can be seen.
    let stream = inside.door(Door::Https);
    assert!(inside.handshake(stream, "good.example", &[]).await.is_err());
    let receipt = &inside.receipts().await[0];
    assert!(
        matches!(&receipt.matter.outcome, Outcome::Failed(why) if why.contains("refused")),
        "{receipt:?}"
    );
    let stream = inside.door(Door::Https);
    let error = inside.handshake(stream, "evil.example", &[]).await.unwrap_err();
    assert!(error.to_lowercase().contains("access"), "{error}");
    assert!(inside.denied().await.starts_with("evil.example:443 the network policy"));
}

#[tokio::test]
async fn names_are_answered_by_the_policy_and_by_nobody_else() {
    let world = World::new().await;
    let mut settings = world.settings(&[]);
    settings.policy.allow = vec![Rule::to("**.good.example".parse().unwrap())];
    let inside = world.of(settings);
    let question = |name: &str, kind: u16| {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&[kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
        message
    };
    let answer = inside.proxy.answer(&question("a.good.example", 1), None).unwrap();
    assert!(answer.starts_with(&[0x12, 0x34]) && answer.ends_with(&[127, 80, 80, 80]), "{answer:?}");
    let none = inside.proxy.answer(&question("a.good.example", 28), None).unwrap();
    assert_eq!((none[3] & 0xf, none[7]), (0, 0), "no address of IPv6, and no error");
    let refused = inside.proxy.answer(&question("c2VjcmV0.evil.example", 16), None).unwrap();
    assert_eq!(refused[3] & 0xf, 3, "no such name");
    assert!(inside.denied().await.starts_with("c2VjcmV0.evil.example:0"));
    // Over TCP as well.
    let mut stream = inside.door(Door::Names);
    let message = question("good.example", 1);
    stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
    stream.write_all(&message).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.ends_with(&[127, 80, 80, 80]));
    for garbage in [&b""[..], b"x", &[0xff; 600], &question("a", 1)[..10]] {
        assert!(inside.proxy.answer(garbage, None).is_none());
    }
}
