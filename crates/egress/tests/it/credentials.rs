//! Secrets: the value goes where it may and stands where it may, and comes back nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_egress::{Door, Place, Secret};

use crate::world::{Inside, World, get};

const VALUE: &str = "s3cr3t/value+with=signs";
const PLACEHOLDER: &str = "legwork_0123456789abcdef0123456789abcdef";

fn secret(places: &[Place]) -> Secret {
    Secret {
        name: "TOKEN".into(),
        value: VALUE.into(),
        placeholder: PLACEHOLDER.into(),
        hosts: vec!["api.example".parse().unwrap()],
        places: places.to_vec(),
    }
}

fn everywhere() -> Vec<Place> {
    vec![Place::Header(None), Place::Basic, Place::Query, Place::Form]
}

fn inside(world: &World, places: &[Place]) -> Inside {
    world.with_secrets(&["api.example", "other.example", "http://api.example"], vec![secret(places)])
}

/// Asks `api.example`.
async fn ask(world: &World, inside: &Inside, target: &str, headers: &str) -> String {
    let at = world.at("api.example");
    inside.https(&at, &get(&at, target, headers)).await
}

async fn post(world: &World, inside: &Inside, headers: &str, body: &str) -> String {
    let at = world.at("api.example");
    let length = body.len();
    let request = format!(
        "POST /form HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    inside.https(&at, &request).await
}

#[tokio::test]
async fn a_value_stands_where_it_may() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    ask(&world, &inside, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n")).await;
    let basic = STANDARD.encode(format!("me:{PLACEHOLDER}"));
    ask(&world, &inside, "/", &format!("Authorization: Basic {basic}\r\n")).await;
    ask(&world, &inside, &format!("/?a=1&key={PLACEHOLDER}&b"), "").await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    post(&world, &inside, form, &format!("grant=x&token={PLACEHOLDER}")).await;
    let asked = world.asked();
    assert_eq!(asked[0].header("authorization"), Some(&*format!("Bearer {VALUE}")));
    assert_eq!(
        asked[1].header("authorization"),
        Some(&*format!("Basic {}", STANDARD.encode(format!("me:{VALUE}"))))
    );
    assert_eq!(asked[2].target, "/?a=1&key=s3cr3t%2Fvalue%2Bwith%3Dsigns&b");
    assert_eq!(
        (asked[3].method.as_str(), asked[3].body.as_str()),
        ("POST", "grant=x&token=s3cr3t%2Fvalue%2Bwith%3Dsigns")
    );
}

/// The request is refused with these words, and nothing of the value left.
async fn refused(world: &World, said: &str, words: &str) {
    assert!(said.starts_with("HTTP/1.1 403") && said.contains(words), "{said}");
    assert!(!world.all_that_left().contains("s3cr3t") && !said.contains("s3cr3t"));
}

#[tokio::test]
async fn a_value_stands_nowhere_else() {
    let world = World::new().await;
    let basic = STANDARD.encode(format!("{PLACEHOLDER}:"));
    let header = |name: &str| format!("{name}: {PLACEHOLDER}\r\n");
    for (places, target, headers, words) in [
        (vec![Place::Basic], "/".to_owned(), header("Authorization"), "in the header authorization"),
        (vec![Place::Query], "/".to_owned(), header("X-Key"), "in the header x-key"),
        (vec![Place::Header(None)], format!("/?k={PLACEHOLDER}"), String::new(), "in the query"),
        (
            vec![Place::Header(None)],
            "/".to_owned(),
            format!("Authorization: Basic {basic}\r\n"),
            "basic authorization",
        ),
        (
            vec![Place::Header(Some("x-key".into()))],
            "/".to_owned(),
            header("X-Other"),
            "in the header x-other",
        ),
        (vec![Place::Form], "/".to_owned(), header("Cookie"), "in the header cookie"),
        (everywhere(), format!("/{PLACEHOLDER}/x"), String::new(), "in the path"),
        (everywhere(), format!("/?{PLACEHOLDER}=x"), String::new(), "in a name"),
        (everywhere(), format!("/?x{PLACEHOLDER}"), String::new(), "in a name"),
    ] {
        let inside = inside(&world, &places);
        let said = ask(&world, &inside, &target, &headers).await;
        refused(&world, &said, words).await;
        assert!(inside.denied().await.contains("TOKEN"));
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_value_goes_to_its_hosts_only() {
    let world = World::new().await;
    let mut other = secret(&everywhere());
    (other.name, other.placeholder, other.value) =
        ("OTHER".into(), "legwork_other_0123456789abcdef".into(), "other-value-0000".into());
    other.hosts = vec!["other.example".parse().unwrap()];
    let inside = world
        .with_secrets(&["api.example", "other.example", "good.example"], vec![secret(&everywhere()), other]);
    let at = world.at("other.example");
    // A host where another secret may go: looked into, and told.
    let said = inside.https(&at, &get(&at, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n"))).await;
    refused(&world, &said, "the secret TOKEN may not go to other.example").await;
    // A host where none may go: not looked into, and the placeholder opens nothing there.
    let at = world.at("good.example");
    inside.https(&at, &get(&at, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n"))).await;
    assert_eq!(world.asked()[0].header("authorization"), Some(&*format!("Bearer {PLACEHOLDER}")));
    assert!(!world.all_that_left().contains("s3cr3t"));
}

#[tokio::test]
async fn a_value_does_not_go_without_tls() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    let at = world.http_at("api.example");
    for request in [
        get(&at, &format!("http://{at}/"), &format!("Authorization: Bearer {PLACEHOLDER}\r\n")),
        get(&at, &format!("http://{at}/?k={PLACEHOLDER}"), ""),
    ] {
        let said = inside.raw(Door::Proxy, request.as_bytes()).await;
        refused(&world, &said, "over https only").await;
    }
    let body = format!("k={PLACEHOLDER}");
    let form = "Content-Type: application/x-www-form-urlencoded";
    let request = format!(
        "POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{form}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    inside.raw(Door::Proxy, request.as_bytes()).await;
    assert!(!world.all_that_left().contains("s3cr3t"), "a form without TLS keeps its placeholder");
}

#[tokio::test]
async fn other_bodies_and_encodings_keep_their_placeholder() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    let json = format!("{{\"token\":\"{PLACEHOLDER}\"}}");
    post(&world, &inside, "Content-Type: application/json\r\n", &json).await;
    post(&world, &inside, "Content-Type: multipart/form-data; boundary=x\r\n", PLACEHOLDER).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n";
    post(&world, &inside, form, &format!("a={PLACEHOLDER}")).await;
    // Text that becomes the placeholder only when it is decoded is not the placeholder.
    let encoded = STANDARD.encode(PLACEHOLDER);
    ask(&world, &inside, "/", &format!("Authorization: Bearer {encoded}\r\n")).await;
    let percent: String = PLACEHOLDER.bytes().map(|byte| format!("%{byte:02x}")).collect();
    ask(&world, &inside, &format!("/?k={percent}"), "").await;
    ask(&world, &inside, "/", &format!("Authorization: Bearer {}\r\n", PLACEHOLDER.to_uppercase())).await;
    assert_eq!(world.asked().len(), 6);
    assert!(!world.all_that_left().contains("s3cr3t"), "{:?}", world.asked());
}

#[tokio::test]
async fn a_form_in_pieces_is_filled_whole() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    let at = world.at("api.example");
    let (one, two) = PLACEHOLDER.split_at(11);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\nt={one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len() + 2,
        two.len()
    );
    inside.https(&at, &request).await;
    assert_eq!(world.asked()[0].body, "t=s3cr3t%2Fvalue%2Bwith%3Dsigns");
    let huge = format!("a={}", "x".repeat(70_000));
    let said = post(&world, &inside, "Content-Type: application/x-www-form-urlencoded\r\n", &huge).await;
    refused_alone(&said);
}

fn refused_alone(said: &str) {
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("64 KiB"), "{said}");
}

#[tokio::test]
async fn what_comes_back_has_the_placeholder() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    let bearer = format!("Authorization: Bearer {PLACEHOLDER}\r\n");
    let said = ask(&world, &inside, "/echo", &bearer).await;
    assert!(said.contains(PLACEHOLDER) && !said.contains("s3cr3t"), "{said}");
    let said = ask(&world, &inside, "/leak", &bearer).await;
    assert!(said.contains(&format!("x-token: Bearer {PLACEHOLDER}")) && !said.contains("s3cr3t"), "{said}");
    let said = ask(&world, &inside, &format!("/echo?k={PLACEHOLDER}"), "").await;
    assert!(!said.contains("s3cr3t%2F") && !said.contains("s3cr3t/"), "{said}");
    let basic = STANDARD.encode(format!("me:{PLACEHOLDER}"));
    let said = ask(&world, &inside, "/echo", &format!("Authorization: Basic {basic}\r\n")).await;
    assert!(!said.contains(&STANDARD.encode(format!("me:{VALUE}"))) && !said.contains("s3cr3t"), "{said}");
}

#[tokio::test]
async fn what_could_hide_a_value_on_its_way_back_is_not_asked_for_or_not_passed_on() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    let headers =
        format!("Authorization: Bearer {PLACEHOLDER}\r\nAccept-Encoding: gzip, br\r\nRange: bytes=3-9\r\n");
    ask(&world, &inside, "/", &headers).await;
    assert_eq!(world.asked()[0].header("accept-encoding"), Some("identity"));
    assert_eq!(world.asked()[0].header("range"), None);
    let said = ask(&world, &inside, "/gzip", &headers).await;
    assert!(said.starts_with("HTTP/1.1 502") && !said.contains("s3cr3t"), "{said}");
}

#[tokio::test]
async fn a_request_that_is_sent_on_elsewhere_takes_no_value_along() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    // What a client does that follows a redirect with its headers.
    let at = world.at("other.example");
    inside.https(&at, &get(&at, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n"))).await;
    assert!(!world.all_that_left().contains("s3cr3t"));
    // And with a Host that is not its connection's.
    let api = world.at("api.example");
    let said = inside.https(&api, &get(&at, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n"))).await;
    refused(&world, &said, "another host").await;
}

#[tokio::test]
async fn a_value_that_fits_no_header_is_refused() {
    let world = World::new().await;
    let mut broken = secret(&everywhere());
    broken.value = "s3cr3t\r\nX-Injected: 1".into();
    let inside = world.with_secrets(&["api.example"], vec![broken]);
    let said = ask(&world, &inside, "/", &format!("X-Key: {PLACEHOLDER}\r\n")).await;
    refused(&world, &said, "cannot stand in a header").await;
    ask(&world, &inside, &format!("/?k={PLACEHOLDER}"), "").await;
    assert_eq!(world.asked()[0].target, "/?k=s3cr3t%0D%0AX-Injected%3A%201", "in a query it is encoded");
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_value() {
    let world = World::new().await;
    let inside = inside(&world, &everywhere());
    ask(&world, &inside, "/", &format!("Authorization: Bearer {PLACEHOLDER}\r\n")).await;
    ask(&world, &inside, &format!("/{PLACEHOLDER}"), "").await;
    let shown = format!("{:?} {:?}", inside.receipts().await, secret(&everywhere()));
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert!(!inside.proxy.bundle_pem().contains("PRIVATE"), "the authority's key stays");
}
