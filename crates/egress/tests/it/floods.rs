//! Too much, too slowly, too many: what one sandbox says costs the proxy a bounded amount of memory, time and descriptors.

use std::time::Duration;

use legwork_egress::{Door, Methods, Outcome, Receipt, Rule, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::world::{World, get};

#[tokio::test]
async fn a_request_without_end_is_bounded() {
    let world = World::new().await;
    let inside = world.proxy(&["http://good.example"]);
    let at = world.http_at("good.example");
    let huge = "a".repeat(200_000);
    let many = "X-A: b\r\n".repeat(1000);
    for request in [
        get(&at, &format!("http://{at}/"), &format!("X-Huge: {huge}\r\n")),
        get(&at, &format!("http://{at}/{huge}"), ""),
        get(&at, &format!("http://{at}/"), &many),
        format!("CONNECT {huge}:443 HTTP/1.1\r\n\r\n"),
    ] {
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said:.100}");
    }
    assert!(world.asked().is_empty());
}

/// Bytes that come one by one keep a connection from being idle; what bounds it is the time for the whole. All doors at
/// the same time, for it takes a quarter of a minute.
#[tokio::test]
async fn what_comes_drop_by_drop_is_not_waited_for() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example", "http://good.example"]);
    let head = format!("GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nX: {}", "a".repeat(1000));
    let connect = format!("CONNECT good.example:443 HTTP/1.1\r\nX: {}", "a".repeat(1000));
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 1000]].concat();
    let question = [&[2, 0][..], &[0; 1000]].concat();
    let closed = [
        (Door::Proxy, head.as_bytes()),
        (Door::Proxy, connect.as_bytes()),
        (Door::Http, head.as_bytes()),
        (Door::Https, hello.as_slice()),
        (Door::Names, question.as_slice()),
    ]
    .map(|(door, words)| drip(inside.door(door), words));
    tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(closed)).await.unwrap();
    assert!(world.asked().is_empty());
}

/// Says a byte every fifth of a second until the other side has closed.
async fn drip(stream: DuplexStream, words: &[u8]) {
    let (mut heard, mut said) = tokio::io::split(stream);
    let speak = async {
        for byte in words {
            if said.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("all was listened to");
    };
    let hear = async { while heard.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {} };
    tokio::select! {
        () = speak => {}
        () = hear => {}
    }
}

#[tokio::test]
async fn tunnels_have_room_too_and_leave_it_when_they_end() {
    const ROOM: usize = 256;
    let world = World::new().await;
    let inside = world.proxy(&["good.example"]);
    let mut tunnels = Vec::new();
    for _ in 0..ROOM {
        tunnels.push(inside.connect(&world.at("good.example")).await.unwrap());
    }
    let mut waits = Box::pin(inside.proxy.room());
    let is_full = tokio::time::timeout(Duration::from_millis(100), &mut waits).await.is_err();
    assert!(is_full, "a tunnel has the room of its connection");
    tunnels.pop();
    waits.await;
}

#[tokio::test]
async fn what_is_open_at_the_end_is_written_down() {
    let world = World::new().await;
    let inside = world.proxy(&["good.example"]);
    let _open = inside.tls(&world.at("good.example"), "good.example", &["http/1.1"]).await.unwrap();
    assert!(inside.proxy.ledger().take().is_empty(), "it is under way");
    inside.proxy.close().await;
    let [receipt] = &inside.proxy.ledger().take()[..] else { panic!("not one") };
    assert!(receipt.sent > 0 && receipt.received > 0, "{receipt:?}");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_is_said_is_written_down() {
    let world = World::new().await;
    let at = world.at("good.example");
    let read = Rule { methods: Methods::Read, ..world.rule("good.example") };
    let mut settings = world.settings(&[]);
    settings.policy.allow = vec![read];
    let (passed_on, looked_into) = (world.proxy(&["good.example"]), world.of(settings));
    for inside in [&passed_on, &looked_into] {
        drop(inside.connect(&at).await.unwrap());
        failed(&inside.receipts().await, "its connection ended before a TLS hello");
        let _silent = inside.connect(&at).await.unwrap();
        inside.proxy.close().await;
        failed(&inside.proxy.ledger().take(), "its connection ended before a TLS hello");
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_handshake_without_a_request_is_written_down_and_one_with_a_request_is_that() {
    let world = World::new().await;
    let at = world.at("good.example");
    let mut settings = world.settings(&[]);
    settings.policy.allow = vec![Rule { methods: Methods::Read, ..world.rule("good.example") }];
    let inside = world.of(settings);
    let mut stream = inside.tls(&at, "good.example", &["http/1.1"]).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    failed(&inside.receipts().await, "its connection ended before a request");
    assert!(inside.https(&at, &get(&at, "/", "")).await.ends_with("welcome"));
    inside.proxy.close().await;
    let [receipt] = &inside.proxy.ledger().take()[..] else { panic!("not one") };
    assert_eq!((receipt.matter.way, receipt.count), (Way::Https, 1));
}

/// One line: a tunnel that came to nothing, for this reason.
fn failed(receipts: &[Receipt], why: &str) {
    let [receipt] = receipts else { panic!("{receipts:?}") };
    assert_eq!(receipt.matter.outcome, Outcome::Failed(why.to_owned()));
    let what = (receipt.matter.host.as_str(), receipt.matter.way, receipt.count);
    assert_eq!(what, ("good.example", Way::Tunnel, 1));
    assert_eq!((receipt.sent, receipt.received), (0, 0));
}
