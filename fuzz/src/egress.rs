//! What programs in a sandbox say to the proxy.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use legwork_egress::{
    Authority, Door, Host, Opened, Pattern, Policy, Proxy, Resolver, Roots, Rule, Settings, Tripwire, Visit,
    hello,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The one name that may be asked for. Nobody has it.
const ALLOWED: &str = "allowed.example";

/// Names lead nowhere, and only one may be asked for.
struct Nowhere;

#[async_trait]
impl Resolver for Nowhere {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        assert_eq!(name, ALLOWED, "a name was looked up that the policy does not allow");
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[expect(clippy::expect_used, reason = "a harness fails by panicking")]
static PROXY: LazyLock<Arc<Proxy>> = LazyLock::new(|| {
    let pattern: Pattern = ALLOWED.parse().expect("a pattern");
    let policy = Policy { name: "custom".to_owned(), allow: vec![Rule::to(pattern)], ..Policy::default() };
    let settings = Settings {
        policy,
        secrets: Vec::new(),
        tripwire: Tripwire::new("nobody-has-this-decoy").expect("a tripwire"),
        resolver: Arc::new(Nowhere),
        opened: Opened::default(),
        upstream: None,
        roots: Roots::of(Vec::new()),
        direct: Ipv4Addr::new(127, 80, 80, 80),
    };
    Proxy::new(settings).expect("a proxy")
});

/// A door, and what is said at it.
pub(crate) fn proxy(bytes: &[u8]) {
    let [door, said @ ..] = bytes else { return };
    let door = [Door::Proxy, Door::Https, Door::Http, Door::Names][usize::from(door % 4)];
    crate::tools::within(async {
        let (mut program, stream) = tokio::io::duplex(1 << 16);
        let visit = Visit { door, stream: Box::new(stream), program: None };
        let serves = async { PROXY.serve(visit, PROXY.room().await).await };
        let speaks = async {
            // One that is not heard to the end has its answer.
            let _ = program.write_all(said).await;
            let _ = program.shutdown().await;
            let _ = program.read_to_end(&mut Vec::new()).await;
        };
        tokio::join!(serves, speaks);
    });
}

/// A question for a name. What is answered is an answer.
pub(crate) fn dns(bytes: &[u8]) {
    if let Some(answer) = PROXY.answer(bytes, None) {
        assert_eq!(answer.get(..2), bytes.get(..2), "the answer has the question's number");
        assert!(answer.get(2).is_some_and(|flags| flags & 0x80 != 0), "and is no question itself");
    }
}

/// A host as a program may write it, and a client's first words of TLS.
pub(crate) fn host(bytes: &[u8]) {
    let whole = hello::parse(bytes);
    for end in 0..bytes.len().min(64) {
        let part = hello::parse(&bytes[..end]);
        assert!(part.is_err() || whole.is_err() || matches!(part, Ok(None)) || part == whole, "{end}");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for host in [Host::parse(text), Authority::parse(text, Some(443)).map(|authority| authority.host)] {
        let Ok(host) = host else { continue };
        assert_eq!(Host::parse(&host.to_string()), Ok(host), "a host is read again as it was");
    }
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.to_string().parse::<Pattern>(), Ok(pattern), "and so is a pattern");
    }
}
