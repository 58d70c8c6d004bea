//! Which addresses are public.
//!
//! Whoever may name a host may name one whose name leads into the house: this machine, the network behind it, a cloud's
//! metadata. Sandboxes, webhooks, identity providers, registries and git hosts are all reached by such names, so there is
//! one list for all of them, and whoever connects asks it about the very address that is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// IPv4 that is not public: IANA's registry of special addresses (RFC 6890), with what is reserved, multicast, and the two
/// metadata addresses that lie in public space.
const SPECIAL_V4: [([u8; 4], u8, &str); 19] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "shared with carriers"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([168, 63, 129, 16], 32, "a cloud's metadata"),
    ([169, 254, 0, 0], 16, "link-local or a cloud's metadata"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 31, 196, 0], 24, "reserved"),
    ([192, 52, 193, 0], 24, "reserved"),
    ([192, 88, 99, 0], 24, "reserved"),
    ([192, 168, 0, 0], 16, "private"),
    ([192, 175, 48, 0], 24, "reserved"),
    ([198, 18, 0, 0], 15, "for measurements"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved or broadcast"),
];

/// The one range of IPv6 that is assigned to public hosts (RFC 4291, section 2.4).
const PUBLIC_V6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What of it is not public.
const SPECIAL_V6: [([u16; 8], u8, &str); 5] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "reserved or a tunnel"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "a tunnel"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "reserved"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation"),
];

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    special(address).is_none()
}

/// What an address is, if it is not a public host's. Addresses of IPv6 that hold one of IPv4 (mapped, compatible, NAT64)
/// are what that one is; Teredo and 6to4 (RFC 7526), whose relays are anybody, are refused whole.
#[must_use]
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let holds = |(network, length, _): &&([u8; 4], u8, &str)| {
        Ipv4Net::new((*network).into(), *length).is_ok_and(|network| network.contains(&address))
    };
    SPECIAL_V4.iter().find(holds).map(|(_, _, what)| *what)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = embedded(address) {
        return special_v4(inner);
    }
    let holds = |network: [u16; 8], length| {
        Ipv6Net::new(network.into(), length).is_ok_and(|network| network.contains(&address))
    };
    if !holds(PUBLIC_V6.0, PUBLIC_V6.1) {
        return Some(match address {
            Ipv6Addr::LOCALHOST => "loopback",
            _ if address.is_multicast() => "multicast",
            _ if address.is_unicast_link_local() => "link-local",
            _ if address.is_unique_local() => "private",
            _ => "not assigned to public hosts",
        });
    }
    SPECIAL_V6.iter().find(|(network, length, _)| holds(*network, *length)).map(|(_, _, what)| *what)
}

/// The address of IPv4 inside one of IPv6: mapped and compatible (RFC 4291), NAT64 (RFC 6052).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => Some(low(a, b)),
        // Elsewhere (RFC 8215) which bits hold it is the network's own choice: no such address is public.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(special(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn everything_else_is_special() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.80",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:101:101::1",
            "2002:a9fe:a9fe::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "4000::1",
        ] {
            assert!(special(text.parse().unwrap()).is_some(), "{text}");
        }
    }
}
