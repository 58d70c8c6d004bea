//! What may leave a sandbox, and what did.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Phase;

/// Most hosts of a policy, on either list.
pub const HOSTS_MAX: usize = 500;

/// Longest of them, in bytes: a host name of 253, with scheme, wildcard and port.
pub const HOST_BYTES_MAX: usize = 272;

/// What may leave a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Nothing; loopback only.
    #[default]
    None,
    /// The hosts that the environment's package managers are configured for, as the worker finds them.
    PackageManagers,
    /// What is listed.
    Custom(CustomPolicy),
    /// Every public host.
    All,
}

/// A policy of one's own. What is denied is so whatever allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CustomPolicy {
    /// What it begins with.
    pub base: Preset,
    /// Hosts that are allowed: `example.com`, `*.example.com` (all below it), `**.example.com` (it and all below it), with
    /// `:PORT` for another port than 443 and `http://` before it where HTTP without TLS is allowed too. At most
    /// [`HOSTS_MAX`].
    #[schema(max_items = 500)]
    pub allow: Vec<AllowedHost>,
    /// Hosts that are denied, as `example.com`, `*.example.com` or `**.example.com`. At most [`HOSTS_MAX`].
    #[schema(max_items = 500)]
    pub deny: Vec<String>,
}

/// What a policy of one's own begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Nothing.
    #[default]
    None,
    /// The hosts of the package managers.
    PackageManagers,
    /// Every public host.
    All,
}

/// A host that is allowed: its pattern, or the pattern and the methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AllowedHost {
    /// All methods.
    #[schema(title = "Host")]
    Any(String),
    /// These methods.
    #[schema(title = "HostWithMethods")]
    With {
        /// The host's pattern.
        host: String,
        /// Which methods. To hold to it, the proxy looks into the requests.
        methods: AllowedMethods,
    },
}

/// Which methods are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllowedMethods {
    /// All.
    #[default]
    Any,
    /// GET, HEAD and OPTIONS.
    Read,
}

impl AllowedHost {
    /// Its pattern.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Any(host) | Self::With { host, .. } => host,
        }
    }

    /// Its methods.
    #[must_use]
    pub const fn methods(&self) -> AllowedMethods {
        match self {
            Self::Any(_) => AllowedMethods::Any,
            Self::With { methods, .. } => *methods,
        }
    }
}

impl NetworkPolicy {
    /// Its name, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PackageManagers => "package_managers",
            Self::Custom(_) => "custom",
            Self::All => "all",
        }
    }

    /// As a policy with lists.
    #[must_use]
    pub fn into_custom(self) -> CustomPolicy {
        let base = match self {
            Self::None => Preset::None,
            Self::PackageManagers => Preset::PackageManagers,
            Self::All => Preset::All,
            Self::Custom(custom) => return custom,
        };
        CustomPolicy { base, ..CustomPolicy::default() }
    }

    /// The same policy with one host more. A host that was denied by just this pattern is so no longer.
    #[must_use]
    pub fn allowing(self, host: AllowedHost) -> Self {
        let mut custom = self.into_custom();
        custom.deny.retain(|denied| denied != host.host());
        custom.allow.retain(|allowed| allowed.host() != host.host());
        custom.allow.push(host);
        Self::Custom(custom)
    }

    /// Whether its lists are within their bounds.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub fn check(&self) -> Result<(), String> {
        let Self::Custom(custom) = self else { return Ok(()) };
        if custom.allow.len() > HOSTS_MAX || custom.deny.len() > HOSTS_MAX {
            return Err(format!(
                "A network policy lists at most {HOSTS_MAX} hosts to allow and as many to deny."
            ));
        }
        let hosts = custom.allow.iter().map(AllowedHost::host).chain(custom.deny.iter().map(String::as_str));
        hosts.into_iter().try_for_each(check_host)
    }
}

/// Whether a text could be a host's pattern; the worker reads it strictly.
fn check_host(host: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._*:/[]".contains(c);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(plain) {
        return Err(format!(
            "{host:?} is no host of a network policy. Write example.com, *.example.com or **.example.com; names in other letters in their xn-- form."
        ));
    }
    Ok(())
}

/// A connection or request that left a sandbox, or was kept from it; or several that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// The host, as the program named it, cut to a bounded length.
    pub host: String,
    /// The port; 0 for a question for a name.
    pub port: u16,
    /// How.
    pub way: Way,
    /// The method of a request that was looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What became of it.
    pub outcome: Passage,
    /// The rule that let it through, or why it was not or came to nothing.
    pub reason: String,
    /// How many are alike.
    pub count: u64,
    /// Bytes that went to the host.
    pub sent_bytes: u64,
    /// Bytes that came from it.
    pub received_bytes: u64,
    /// The program that wanted it, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its command line, cut to a bounded length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// In which part of the turn.
    pub phase: Phase,
}

impl Connection {
    /// `HOST:PORT`, or the name that was asked for.
    #[must_use]
    pub fn place(&self) -> String {
        if self.port == 0 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// What wanted it: its command line, else its name.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        let line = self.command_line.as_deref().filter(|line| !line.is_empty());
        line.or(self.process.as_deref()).filter(|text| !text.is_empty())
    }
}

/// How something left, or was to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A TLS connection that nobody looked into.
    Tunnel,
    /// A request over TLS that was looked into.
    Https,
    /// A request without TLS.
    Http,
    /// A question for a host's name.
    Name,
    /// Past the proxy, to an address without a name. No route leads there; which address it was is not known.
    Direct,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Passage {
    /// It was let through.
    Allowed,
    /// It was not.
    Denied,
    /// It was let through and came to nothing.
    Failed,
}

/// The least that lets through again what was let through: a host once, and with all methods only where more than reading
/// was seen. What was denied is left out.
#[must_use]
pub fn least_policy<'a>(seen: impl IntoIterator<Item = &'a Connection>) -> CustomPolicy {
    let mut allow: Vec<AllowedHost> = Vec::new();
    for connection in
        seen.into_iter().filter(|seen| seen.outcome == Passage::Allowed && seen.way != Way::Name)
    {
        let reads = connection.way != Way::Tunnel
            && connection
                .method
                .as_deref()
                .is_some_and(|method| ["GET", "HEAD", "OPTIONS"].contains(&method));
        let (scheme, usual) = if connection.way == Way::Http { ("http://", 80) } else { ("", 443) };
        let port = if connection.port == usual { String::new() } else { format!(":{}", connection.port) };
        let host = format!("{scheme}{}{port}", connection.host);
        match allow.iter_mut().find(|allowed| allowed.host() == host) {
            Some(known) if !reads => *known = AllowedHost::Any(host),
            Some(_) => {}
            None if reads => allow.push(AllowedHost::With { host, methods: AllowedMethods::Read }),
            None => allow.push(AllowedHost::Any(host)),
        }
    }
    allow.sort_by(|one, other| one.host().cmp(other.host()));
    CustomPolicy { allow, ..CustomPolicy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_old_is_read_and_one_of_now_has_a_form() {
        let read = |text: &str| serde_json::from_str::<NetworkPolicy>(text).unwrap();
        assert_eq!(read("\"none\""), NetworkPolicy::None);
        assert_eq!(read("\"package_managers\""), NetworkPolicy::PackageManagers);
        let text = r#"{"custom":{"base":"package_managers","allow":["a.example",{"host":"*.b.example","methods":"read"}],"deny":["x.b.example"]}}"#;
        let policy = read(text);
        assert_eq!(serde_json::to_string(&policy).unwrap(), text);
        assert!(serde_json::from_str::<NetworkPolicy>(r#"{"custom":{"alow":[]}}"#).is_err());
    }

    #[test]
    fn a_host_is_added_once() {
        let host = |text: &str| AllowedHost::Any(text.into());
        let policy = NetworkPolicy::PackageManagers.allowing(host("a.example")).allowing(host("a.example"));
        let NetworkPolicy::Custom(custom) = policy else { panic!("{policy:?}") };
        assert_eq!((custom.base, custom.allow), (Preset::PackageManagers, vec![host("a.example")]));
        let denying = CustomPolicy { deny: vec!["b.example".into()], ..CustomPolicy::default() };
        assert!(NetworkPolicy::Custom(denying).allowing(host("b.example")).into_custom().deny.is_empty());
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for wrong in ["", "a b", "a\u{1b}[2J", "b\u{fc}cher.example", &"a".repeat(300)] {
            let policy = NetworkPolicy::None.allowing(AllowedHost::Any(wrong.into()));
            assert!(policy.check().is_err(), "{wrong:?}");
        }
        let many = CustomPolicy { deny: vec!["a.example".into(); HOSTS_MAX + 1], ..CustomPolicy::default() };
        assert!(NetworkPolicy::Custom(many).check().is_err());
    }

    #[test]
    fn the_least_policy_lets_through_what_was_let_through() {
        let seen = |host: &str, port, way, method: Option<&str>, outcome| Connection {
            host: host.into(),
            port,
            way,
            method: method.map(str::to_owned),
            outcome,
            reason: "all".into(),
            count: 1,
            sent_bytes: 0,
            received_bytes: 0,
            process: None,
            command_line: None,
            phase: Phase::Setup,
        };
        let policy = least_policy(&[
            seen("b.example", 443, Way::Https, Some("GET"), Passage::Allowed),
            seen("a.example", 443, Way::Tunnel, None, Passage::Allowed),
            seen("c.example", 443, Way::Https, Some("GET"), Passage::Allowed),
            seen("c.example", 443, Way::Https, Some("POST"), Passage::Allowed),
            seen("d.example", 80, Way::Http, Some("GET"), Passage::Allowed),
            seen("e.example", 8443, Way::Tunnel, None, Passage::Allowed),
            seen("evil.example", 443, Way::Tunnel, None, Passage::Denied),
        ]);
        assert_eq!(
            serde_json::to_string(&policy.allow).unwrap(),
            r#"["a.example",{"host":"b.example","methods":"read"},"c.example","e.example:8443",{"host":"http://d.example","methods":"read"}]"#
        );
    }
}
