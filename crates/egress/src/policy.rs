//! Which hosts may be reached, and how. A pure decision on names; addresses are looked at where a connection is made.

use std::fmt;
use std::str::FromStr;

use crate::host::{Authority, BadHost, Host};

/// Hosts: one, or all below a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This one.
    Exact(Host),
    /// `*.example`: every name below it, not itself.
    Below(String),
    /// `**.example`: it and every name below it.
    AtOrBelow(String),
}

impl Pattern {
    /// Whether it stands for a host. A name stands for no address.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        let below = |parent: &str, name: &str| {
            name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        match (self, host) {
            (Self::Exact(exact), host) => exact == host,
            (Self::Below(parent), Host::Name(name)) => below(parent, name),
            (Self::AtOrBelow(parent), Host::Name(name)) => parent == name || below(parent, name),
            (Self::Below(_) | Self::AtOrBelow(_), Host::Ip(_)) => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let name = |rest: &str| match Host::parse(rest)? {
            Host::Name(name) => Ok(name),
            // An address has nothing below it; the whole text is no host either, which says so.
            Host::Ip(_) => Host::parse(text).map(|host| host.to_string()),
        };
        if let Some(rest) = text.strip_prefix("**.") {
            return name(rest).map(Self::AtOrBelow);
        }
        if let Some(rest) = text.strip_prefix("*.") {
            return name(rest).map(Self::Below);
        }
        Host::parse(text).map(Self::Exact)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::AtOrBelow(name) => write!(f, "**.{name}"),
        }
    }
}

/// Which methods a rule allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Methods {
    /// All.
    #[default]
    Any,
    /// GET, HEAD and OPTIONS: what changes nothing at a server that keeps to HTTP (RFC 9110, section 9.2.1).
    Read,
}

impl Methods {
    /// Whether it allows one.
    #[must_use]
    pub fn allow(self, method: &str) -> bool {
        self == Self::Any || matches!(method, "GET" | "HEAD" | "OPTIONS")
    }
}

/// Whether HTTP without TLS is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plain {
    /// TLS only.
    #[default]
    Refused,
    /// On port 80, or the rule's own.
    Allowed,
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which hosts.
    pub hosts: Pattern,
    /// Another port than 443 (80 without TLS).
    pub port: Option<u16>,
    /// HTTP without TLS.
    pub plain: Plain,
    /// Which methods.
    pub methods: Methods,
}

impl Rule {
    /// All methods over TLS.
    #[must_use]
    pub const fn to(hosts: Pattern) -> Self {
        Self { hosts, port: None, plain: Plain::Refused, methods: Methods::Any }
    }

    fn allows(&self, authority: &Authority, scheme: Scheme) -> bool {
        let port = self.port.unwrap_or(scheme.port());
        (scheme == Scheme::Https || self.plain == Plain::Allowed)
            && authority.port == port
            && self.hosts.matches(&authority.host)
    }
}

/// As people write rules: `http://` before it where HTTP without TLS is allowed, the port after it, ` (read)` at its end.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain == Plain::Allowed {
            f.write_str("http://")?;
        }
        self.hosts.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.methods {
            Methods::Any => Ok(()),
            Methods::Read => f.write_str(" (read)"),
        }
    }
}

/// With or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without.
    Http,
    /// With.
    Https,
}

impl Scheme {
    /// Its usual port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What may be reached by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// What a rule allows.
    #[default]
    Listed,
    /// Everything public, on the usual ports.
    All,
}

/// What may leave one sandbox. What is denied is so whatever else allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its name, for sentences: `none`, `package managers`, `custom`, `all`.
    pub name: String,
    /// What needs no rule.
    pub reach: Reach,
    /// What is allowed. Of several rules that allow a request, the first one decides on its methods.
    pub allow: Vec<Rule>,
    /// What is denied.
    pub deny: Vec<Pattern>,
}

/// Why something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule, as people write it.
    pub rule: String,
    /// What it allows.
    pub methods: Methods,
}

impl Policy {
    /// Whether a host may be spoken to.
    ///
    /// # Errors
    /// The reason, as the end of a sentence.
    pub fn decide(&self, authority: &Authority, scheme: Scheme) -> Result<Grant, String> {
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.matches(&authority.host)) {
            return Err(format!("{pattern} is denied"));
        }
        if let Some(rule) = self.allow.iter().find(|rule| rule.allows(authority, scheme)) {
            return Ok(Grant { rule: rule.to_string(), methods: rule.methods });
        }
        if self.reach == Reach::All && authority.port == scheme.port() {
            return Ok(Grant { rule: "all".to_owned(), methods: Methods::Any });
        }
        Err(self.reason(authority, scheme))
    }

    /// Whether any port of a host may be spoken to, by any scheme: whether its name means anything inside.
    ///
    /// # Errors
    /// As [`Policy::decide`].
    pub fn decide_name(&self, host: &Host) -> Result<Grant, String> {
        let decide =
            |scheme: Scheme| self.decide(&Authority { host: host.clone(), port: scheme.port() }, scheme);
        decide(Scheme::Https).or_else(|reason| decide(Scheme::Http).map_err(|_| reason))
    }

    fn reason(&self, authority: &Authority, scheme: Scheme) -> String {
        let elsewhere = self.allow.iter().find(|rule| rule.hosts.matches(&authority.host));
        match (elsewhere, scheme) {
            (Some(rule), Scheme::Http) if rule.plain == Plain::Refused => {
                format!("{rule} is allowed over https only")
            }
            (Some(rule), _) => format!("{rule} is allowed on another port only"),
            (None, _) if self.reach == Reach::All => "only the usual ports are open, 443 and 80".to_owned(),
            (None, _) => format!("the network policy is \"{}\" and does not list it", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn decide(policy: &Policy, to: &str, scheme: Scheme) -> Result<String, String> {
        policy.decide(&Authority::parse(to, Some(scheme.port())).unwrap(), scheme).map(|grant| grant.rule)
    }

    #[test]
    fn patterns_stand_for_whole_names() {
        let matches = |text: &str, host: &str| pattern(text).matches(&Host::parse(host).unwrap());
        assert!(matches("Example.com", "example.COM."));
        assert!(!matches("example.com", "www.example.com"));
        assert!(matches("*.example.com", "a.b.example.com") && !matches("*.example.com", "example.com"));
        assert!(matches("**.example.com", "example.com") && matches("**.example.com", "a.example.com"));
        assert!(
            !matches("*.example.com", "evilexample.com") && !matches("**.example.com", "evilexample.com")
        );
        assert!(!matches("*.example.com", "example.com.evil.org"));
        assert!(matches("10.0.0.1", "10.0.0.1") && !matches("**.example", "10.0.0.1"));
        for text in ["*", "**", "*.", "*.*.a", "a.*", "*.10.0.0.1", "a/b", "https://a", ""] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_denied_is_so_whatever_allows_it() {
        let policy = Policy {
            name: "custom".into(),
            reach: Reach::All,
            allow: vec![Rule::to(pattern("**.example.com"))],
            deny: vec![pattern("evil.example.com")],
        };
        assert_eq!(decide(&policy, "a.example.com", Scheme::Https).unwrap(), "**.example.com");
        assert_eq!(
            decide(&policy, "evil.example.com", Scheme::Https).unwrap_err(),
            "evil.example.com is denied"
        );
        assert_eq!(decide(&policy, "other.org", Scheme::Https).unwrap(), "all");
        assert!(decide(&policy, "other.org:22", Scheme::Https).is_err());
    }

    #[test]
    fn ports_and_plain_http_are_listed() {
        let plain = Rule { plain: Plain::Allowed, ..Rule::to(pattern("deb.example")) };
        let other = Rule { port: Some(8443), ..Rule::to(pattern("own.example")) };
        let policy = Policy { name: "custom".into(), allow: vec![plain, other], ..Policy::default() };
        assert!(decide(&policy, "deb.example", Scheme::Http).is_ok());
        assert!(decide(&policy, "deb.example", Scheme::Https).is_ok());
        assert!(decide(&policy, "own.example:8443", Scheme::Https).is_ok());
        let refused = |to: &str, scheme| decide(&policy, to, scheme).unwrap_err();
        assert_eq!(refused("own.example", Scheme::Https), "own.example:8443 is allowed on another port only");
        assert_eq!(refused("own.example:8443", Scheme::Http), "own.example:8443 is allowed over https only");
        assert_eq!(
            refused("evil.example", Scheme::Https),
            "the network policy is \"custom\" and does not list it"
        );
    }
}
