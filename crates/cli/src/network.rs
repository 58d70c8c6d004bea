//! Network policies as people write and read them.

use legwork_domain::{
    AllowedHost, AllowedMethods, Connection, CustomPolicy, NetworkPolicy, Passage, Preset, Way,
};

use crate::clean;
use crate::text::{BAD, DIM, GOOD, Line, PLAIN, WARN};

/// `none`, `package-managers`, `all`, or hosts with commas between; `package-managers` and `all` may stand among hosts.
///
/// # Errors
/// A sentence, if it is no policy.
pub(crate) fn policy(text: &str) -> Result<NetworkPolicy, String> {
    let mut custom = CustomPolicy::default();
    for word in text.split(',').map(str::trim) {
        match word {
            "none" => {}
            "package-managers" | "package_managers" => custom.base = Preset::PackageManagers,
            "all" => custom.base = Preset::All,
            word => match word.strip_prefix('!') {
                Some(denied) => custom.deny.push(denied.to_owned()),
                None => custom.allow.push(host(word)),
            },
        }
    }
    let is_plain = custom.allow.is_empty() && custom.deny.is_empty();
    let policy = match (custom.base, is_plain) {
        (Preset::None, true) => NetworkPolicy::None,
        (Preset::PackageManagers, true) => NetworkPolicy::PackageManagers,
        (Preset::All, true) => NetworkPolicy::All,
        (_, false) => NetworkPolicy::Custom(custom),
    };
    policy.check().map(|()| policy)
}

/// A host, with `=read` after it where only GET, HEAD and OPTIONS are allowed.
pub(crate) fn host(word: &str) -> AllowedHost {
    match word.strip_suffix("=read") {
        Some(host) => AllowedHost::With { host: host.to_owned(), methods: AllowedMethods::Read },
        None => AllowedHost::Any(word.to_owned()),
    }
}

/// A line of a list: what became of it, how often, how much, what, who, why.
#[must_use]
pub(crate) fn row(connection: &Connection) -> Vec<Line> {
    let (style, word) = match connection.outcome {
        Passage::Allowed => (GOOD, "allowed"),
        Passage::Denied => (WARN, "blocked"),
        Passage::Failed => (BAD, "failed"),
    };
    let method = connection.method.as_deref().unwrap_or(match connection.way {
        Way::Tunnel => "tls",
        Way::Https | Way::Http => "http",
        Way::Name => "name",
        Way::Direct => "direct",
    });
    vec![
        Line::default().with(style, word),
        Line::default().with(DIM, &connection.count.to_string()),
        Line::default().with(DIM, &format!("{}/{}", connection.sent_bytes, connection.received_bytes)),
        Line::default().with(DIM, method),
        Line::default().with(PLAIN, &clean::text(&connection.place())),
        Line::default().with(DIM, &clean::text(connection.program().unwrap_or("-"))),
        Line::default().with(DIM, &clean::text(&connection.reason)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_in_one_word_or_some() {
        assert_eq!(policy("none").unwrap(), NetworkPolicy::None);
        assert_eq!(policy("package-managers").unwrap(), NetworkPolicy::PackageManagers);
        let written = policy("package-managers, a.example, *.b.example=read, !c.b.example").unwrap();
        let NetworkPolicy::Custom(custom) = written else { panic!("{written:?}") };
        assert_eq!(custom.base, Preset::PackageManagers);
        assert_eq!(custom.allow, [host("a.example"), host("*.b.example=read")]);
        assert_eq!(custom.deny, ["c.b.example"]);
        assert!(policy("a b").is_err() && policy("").is_err());
    }
}
