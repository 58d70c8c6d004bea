//! Remote repositories: what a worker has to reach them, and where a task's URL may lead it.
//!
//! Whoever hands a task over names the URL, and sees what came of it. Git runs on the host, in the operator's network and with
//! the operator's credentials, so a URL could show what nobody outside should see: a service on this machine, the network
//! behind it, a cloud's metadata. So the name is resolved here, each of its addresses must be public or opened by the
//! operator, and git is told to go to these and to follow no redirect.

use std::ffi::OsString;

use legwork_egress::{Authority, NoWay, Opened, Resolver, addresses};
use legwork_git::{Protocol, Route, Url};

/// What git on the host is given.
pub struct Remotes {
    /// What it may see of the operator's environment ([`legwork_git::mirror::OPERATOR_ENV`] names it).
    pub env: Vec<(OsString, OsString)>,
    /// Where URLs may lead.
    pub reach: Reach,
}

/// Where the URLs of tasks may lead.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Anywhere: whoever hands tasks over owns the machine.
    Any,
    /// To public addresses, and to what the operator has opened beside them.
    Public(Opened),
}

/// The variables by which git's HTTP goes through a proxy (curl's manual, "Environment"): what names the other scheme leaves
/// this one to go straight.
const fn proxies(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Https => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        // In small letters only.
        Protocol::Http => &["http_proxy", "all_proxy", "ALL_PROXY"],
        Protocol::Ssh | Protocol::Git => &[],
    }
}

impl Remotes {
    /// How git may get to a URL.
    ///
    /// # Errors
    /// Why it may not, as the end of a sentence. It does not tell the address, which whoever asks may not know.
    pub(crate) async fn route(&self, url: &Url, resolver: &dyn Resolver) -> Result<Route, String> {
        let Reach::Public(opened) = &self.reach else { return Ok(Route::Open) };
        let place = Authority::parse(url.authority(), Some(url.protocol().port()));
        let host = place.map_err(|error| error.to_string())?.host;
        // It may be a name of the operator's ssh configuration, which no resolver knows.
        if opened.hosts.iter().any(|pattern| pattern.matches(&host)) {
            return Ok(Route::Fixed(Vec::new()));
        }
        match addresses(&host, resolver, opened).await {
            Ok(found) if found.is_empty() => Err(format!("{host} has no address")),
            Ok(found) => Ok(Route::Fixed(found)),
            Err(NoWay::Special { what, .. }) => Err(format!(
                "{host} is not at a public address but at one that is {what}, and this worker's operator has not opened it \
                 (`private_hosts` or `private_networks` of [worker.git])"
            )),
            // Who has a proxy may be unable to resolve anything else; where it can, what it finds was looked at.
            Err(NoWay::Unreachable { .. }) if self.has_proxy(url.protocol()) => Ok(Route::Fixed(Vec::new())),
            Err(error @ NoWay::Unreachable { .. }) => Err(error.to_string()),
        }
    }

    fn has_proxy(&self, protocol: Protocol) -> bool {
        let is_set = |name: &str| self.env.iter().any(|(known, value)| known == name && !value.is_empty());
        proxies(protocol).iter().copied().any(is_set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::net::IpAddr;

    use async_trait::async_trait;
    use legwork_git::Repository;

    use super::*;

    /// A world of names.
    struct Names(BTreeMap<&'static str, &'static [&'static str]>);

    #[async_trait]
    impl Resolver for Names {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            let found = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(found.iter().map(|address| address.parse().unwrap()).collect())
        }
    }

    async fn led(text: &str, remotes: &Remotes) -> Result<Route, String> {
        let names = Names(BTreeMap::from([
            ("public.example", &["192.0.2.1", "1.1.1.1"][1..]),
            ("mixed.example", &["1.1.1.1", "10.0.0.1"][..]),
            ("metadata.example", &["169.254.169.254"][..]),
            ("git.corp.example", &["10.1.2.3"][..]),
        ]));
        match Repository::parse(text).unwrap() {
            Repository::Url(url) => remotes.route(&url, &names).await,
            Repository::Path(path) => unreachable!("{path:?}"),
        }
    }

    fn public(opened: Opened) -> Remotes {
        Remotes { env: Vec::new(), reach: Reach::Public(opened) }
    }

    #[tokio::test]
    async fn however_a_private_host_is_written_it_is_refused() {
        let remotes = public(Opened::default());
        for text in [
            "http://127.0.0.1:3000/x",
            "https://metadata.example/latest",
            "https://user@mixed.example/x",
            "git://[::1]/x",
            "git://[::ffff:10.0.0.1]/x",
            "ssh://git@10.0.0.1:22/x",
            "git@git.corp.example:x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://127.1/x",
            "ssh://%31%32%37.0.0.1/x",
            "https://nowhere.example/x",
        ] {
            assert!(led(text, &remotes).await.is_err(), "{text}");
        }
        let refused = led("https://git.corp.example/x", &remotes).await.unwrap_err();
        assert!(refused.contains("private_hosts") && !refused.contains("10.1.2.3"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_public_or_opened_is_reached_there() {
        let fixed = |addresses: &[&str]| {
            Ok(Route::Fixed(addresses.iter().map(|address| address.parse().unwrap()).collect()))
        };
        let opened =
            Opened { networks: vec!["10.1.0.0/16".parse().unwrap()], hosts: vec!["alias".parse().unwrap()] };
        let remotes = public(opened);
        assert_eq!(led("https://public.example/x", &remotes).await, fixed(&["1.1.1.1"]));
        assert_eq!(led("git@git.corp.example:x", &remotes).await, fixed(&["10.1.2.3"]));
        assert_eq!(led("git@alias:x", &remotes).await, fixed(&[]));
        assert!(led("https://mixed.example/x", &remotes).await.is_err());
        let any = Remotes { env: Vec::new(), reach: Reach::Any };
        assert_eq!(led("http://127.0.0.1:3000/x", &any).await, Ok(Route::Open));
    }

    #[tokio::test]
    async fn a_proxy_may_know_names_that_this_machine_does_not() {
        let proxied = Remotes {
            env: vec![("https_proxy".into(), "http://proxy.example:3128".into())],
            reach: Reach::Public(Opened::default()),
        };
        assert_eq!(led("https://nowhere.example/x", &proxied).await, Ok(Route::Fixed(Vec::new())));
        assert!(led("ssh://git@nowhere.example/x", &proxied).await.is_err());
        assert!(led("https://metadata.example/x", &proxied).await.is_err());
        // Git would go there by itself, wherever the name leads by then.
        assert!(led("http://nowhere.example/x", &proxied).await.is_err());
    }
}
