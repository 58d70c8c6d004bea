//! Ways out by the network. What the egress proxy lets through is its own matter; the kernel knows no way.

use super::{Probe, perl, sh};

/// Connects, and says how that ended.
fn reach(name: &str, family: &str, address: &str) -> Probe {
    let program = format!(
        "use Socket; use Errno; socket(my $s, {family}, SOCK_STREAM, 0) or die; \
         print connect($s, {address}) ? 'reached' : 'unreachable';"
    );
    perl(&format!("network_{name}"), &program, "unreachable")
}

/// Opens a socket of a kind that nobody needs.
fn open(name: &str, family: &str, kind: &str, protocol: &str) -> Probe {
    let program = format!(
        "use Socket; use Errno; print socket(my $s, {family}, {kind}, {protocol}) ? 'open' : $!{{EPERM}} ? 'refused' : \"$!\";"
    );
    perl(&format!("network_open_{name}"), &program, "refused")
}

pub(super) fn probes() -> Vec<Probe> {
    let v4 = |name, host: &str, port: u16| {
        reach(name, "AF_INET", &format!("pack_sockaddr_in({port}, inet_aton('{host}'))"))
    };
    let v6 = |name, host: &str| {
        reach(
            name,
            "AF_INET6",
            &format!("Socket::pack_sockaddr_in6(80, Socket::inet_pton(AF_INET6, '{host}'))"),
        )
    };
    vec![
        v4("metadata", "169.254.169.254", 80),
        v4("metadata_of_containers", "169.254.170.2", 80),
        v4("private_a", "10.0.0.1", 80),
        v4("private_b", "172.17.0.1", 2375),
        v4("private_c", "192.168.1.1", 80),
        v4("anywhere", "1.1.1.1", 443),
        v4("names_by_tcp", "8.8.8.8", 53),
        v4("broadcast", "255.255.255.255", 80),
        v6("anywhere_6", "2606:4700:4700::1111"),
        v6("link_local_6", "fe80::1"),
        v6("mapped_6", "::ffff:10.0.0.1"),
        perl(
            "network_names_by_udp",
            "use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die; \
             print defined(send($s, 'x', 0, pack_sockaddr_in(53, inet_aton('8.8.8.8')))) ? 'sent' : 'unreachable';",
            "unreachable",
        ),
        perl(
            "network_multicast",
            "use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die; \
             print defined(send($s, 'x', 0, pack_sockaddr_in(5353, inet_aton('224.0.0.251')))) ? 'sent' : 'unreachable';",
            "unreachable",
        ),
        sh("network_interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \\n'", "lo"),
        sh("network_routes", "tail -n +2 /proc/net/route | wc -l", "0"),
        sh("network_sockets_of_others", "grep -c '@' /proc/net/unix; true", "0"),
        perl(
            "network_families_that_programs_need",
            "use Socket; print join ' ', map { socket(my $s, $_->[0], $_->[1], 0) ? 'open' : 'refused' } \
             [AF_UNIX, SOCK_STREAM], [AF_INET, SOCK_STREAM], [AF_INET6, SOCK_DGRAM], [16, SOCK_RAW];",
            "open open open open",
        ),
        open("packet", "17", "SOCK_RAW", "0"),
        open("raw_icmp", "AF_INET", "SOCK_RAW", "1"),
        open("raw_icmp_6", "AF_INET6", "SOCK_RAW", "58"),
        open("audit", "16", "SOCK_RAW", "9"),
        open("vsock", "40", "SOCK_STREAM", "0"),
        open("crypto", "38", "5", "0"),
        open("bluetooth", "31", "SOCK_RAW", "1"),
        open("xdp", "44", "SOCK_RAW", "0"),
        open("sctp", "AF_INET", "SOCK_STREAM", "132"),
        open("dccp", "AF_INET", "6", "33"),
        open("mptcp", "AF_INET", "SOCK_STREAM", "262"),
        open("tipc", "30", "5", "0"),
        open("can", "29", "SOCK_RAW", "1"),
        open("old_packet", "AF_INET", "10", "0"),
    ]
}
