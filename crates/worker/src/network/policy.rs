//! From the recipe's words to the proxy's policy.

use legwork_domain::{AllowedHost, AllowedMethods, NetworkPolicy, Preset};
use legwork_egress::{Authority, Methods, Pattern, Plain, Policy, Reach, Rule};

use super::Network;

/// The policy of a phase.
///
/// # Errors
/// A sentence that names the host which is none.
pub(super) fn of(policy: &NetworkPolicy, network: &Network) -> Result<Policy, String> {
    let custom = policy.clone().into_custom();
    let mut allow = custom.allow.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    if custom.base == Preset::PackageManagers {
        let known = network.package_managers.iter().cloned().map(AllowedHost::Any);
        allow.extend(known.map(|host| rule(&host)).collect::<Result<Vec<_>, _>>()?);
    }
    let denied = custom.deny.iter().chain(&network.deny).map(|text| pattern(text));
    Ok(Policy {
        name: policy.name().to_owned(),
        reach: if custom.base == Preset::All { Reach::All } else { Reach::Listed },
        allow,
        deny: denied.collect::<Result<_, _>>()?,
    })
}

/// `[http://]PATTERN[:PORT]`.
fn rule(host: &AllowedHost) -> Result<Rule, String> {
    let text = host.host();
    let (plain, rest) = match text.strip_prefix("http://") {
        Some(rest) => (Plain::Allowed, rest),
        None => (Plain::Refused, text.strip_prefix("https://").unwrap_or(text)),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (hosts, port) = match rest.rsplit_once(':') {
        Some((hosts, port)) if !rest.ends_with(']') && !hosts.contains("::") || hosts.ends_with(']') => {
            // Read as one, so that a port is held to the same rules everywhere.
            let port = Authority::parse(&format!("port.example:{port}"), None).map_err(|_| wrong(text))?.port;
            (hosts, Some(port))
        }
        _ => (rest, None),
    };
    let methods = match host.methods() {
        AllowedMethods::Any => Methods::Any,
        AllowedMethods::Read => Methods::Read,
    };
    Ok(Rule { hosts: pattern(hosts)?, port, plain, methods })
}

fn pattern(text: &str) -> Result<Pattern, String> {
    text.parse().map_err(|_| wrong(text))
}

fn wrong(text: &str) -> String {
    format!(
        "The network policy names {text:?}, which is no host. Write example.com, *.example.com or **.example.com, with :PORT where it is not 443, and http:// before it where HTTP without TLS is to be allowed."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_with_its_port_and_scheme() {
        let read = |text: &str| rule(&AllowedHost::Any(text.into())).map(|rule| rule.to_string());
        for (text, rule) in [
            ("a.example", "a.example"),
            ("https://a.example/", "a.example"),
            ("http://*.a.example:8080", "http://*.a.example:8080"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("10.0.0.1:5000", "10.0.0.1:5000"),
        ] {
            assert_eq!(read(text).unwrap(), rule, "{text}");
        }
        for text in
            ["", "*", "a.example:", "a.example:0", "a.example/path", "ftp://a.example", "a:b:80", "127.1"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
