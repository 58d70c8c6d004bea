//! Names of hosts, read so that two readings of one text cannot differ.
//!
//! A filter is beaten where it reads a name otherwise than whoever connects: `127.1`, `0x7f.1` and `2130706433` are
//! loopback to most resolvers, `GOOD.example.` is `good.example`, and a full-width dot is a dot to some. So there is one
//! spelling of each host, and what has none is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name and label (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// Lower case, without a dot at its end, in ASCII.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host name: {why}")]
pub struct BadHost {
    text: String,
    why: &'static str,
}

impl Host {
    /// Reads a name or an address; an IPv6 one may stand in brackets.
    ///
    /// # Errors
    /// [`BadHost`]: another spelling of an address than four decimal numbers, a character that no host name has, a name that
    /// is not in ASCII (its `xn--` form is).
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        read(text).map_err(|why| BadHost { text: text.chars().take(NAME_BYTES_MAX).collect(), why })
    }
}

fn read(text: &str) -> Result<Host, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or("a bracket is not closed")?;
        let address: Ipv6Addr = inner.parse().map_err(|_| "no IPv6 address stands in the brackets")?;
        return Ok(Host::Ip(address.into()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(address));
    }
    if !text.is_ascii() {
        return Err("it is not in ASCII; write its xn-- form");
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("it is empty or too long");
    }
    if !name.split('.').all(is_label) {
        return Err("it has a part or a character that no host name has");
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return name
            .parse::<Ipv4Addr>()
            .map(|address| Host::Ip(address.into()))
            .map_err(|_| "it ends in a number, and is no address of four decimal numbers");
    }
    Ok(Host::Name(name))
}

/// With the underscore, which no host should have and many do.
fn is_label(label: &str) -> bool {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    plain
        && !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What the URL standard takes for a number at the end of a host.
fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// As it stands in a URL: an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Authority {
    /// Reads `HOST:PORT`, or `HOST` with a port that is understood.
    ///
    /// # Errors
    /// [`BadHost`], also for user names before the host, and for a port that is missing or none.
    pub fn parse(text: &str, understood: Option<u16>) -> Result<Self, BadHost> {
        let bad = |why| BadHost { text: text.chars().take(NAME_BYTES_MAX).collect(), why };
        if text.contains('@') {
            return Err(bad("a user name stands before it"));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') && (host.starts_with('[') || !host.contains(':')) => {
                let plain = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| plain && *port != 0);
                (host, port.ok_or_else(|| bad("its port is none"))?)
            }
            _ => (text, understood.ok_or_else(|| bad("it has no port"))?),
        };
        Ok(Self { host: Host::parse(host)?, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let spelled = |text: &str| Host::parse(text).map(|host| host.to_string());
        for (text, host) in [
            ("Example.COM.", "example.com"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4.", "1.2.3.4"),
            ("[::1]", "[::1]"),
            ("::ffff:1.2.3.4", "[::ffff:1.2.3.4]"),
            ("0xa.example", "0xa.example"),
        ] {
            assert_eq!(spelled(text).unwrap(), host, "{text}");
        }
    }

    #[test]
    fn what_others_might_read_otherwise_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "0x",
            "a b",
            "a/b",
            "a%2eb",
            "a\0b",
            "a\r\nb",
            "b\u{fc}cher.example",
            "127\u{3002}0.0.1",
            "\u{ff11}27.0.0.1",
            "[::1",
            "[::1%eth0]",
            "[1.2.3.4]",
            "a:b",
            "*.a",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_authority_has_a_port() {
        let read = |text: &str| Authority::parse(text, None).map(|authority| authority.to_string());
        assert_eq!(read("A.example:443").unwrap(), "a.example:443");
        assert_eq!(read("[::1]:8080").unwrap(), "[::1]:8080");
        for text in [
            "a.example",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a: 80",
            "u@a:80",
            "u:p@a:80",
            "[::1]",
            "::1:80",
            "a:80:80",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(Authority::parse("a", Some(80)).unwrap().port, 80);
        assert_eq!(Authority::parse("[::1]", Some(80)).unwrap().to_string(), "[::1]:80");
    }
}
