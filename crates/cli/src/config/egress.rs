//! `[worker.egress]` and `[worker.git]`: what a worker's operator says about the network of sandboxes, and of git outside.

use ipnet::IpNet;
use legwork_egress::{Authority, Opened, Pattern, Roots, System, Upstream};
use legwork_worker::Network;
use serde::Deserialize;

use super::Vars;
use crate::exit::Trouble;
use crate::packages;

/// `[worker.egress]`. Every key is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressFile {
    /// Hosts of package managers beside those that are found, as in a policy: `example.com`, `http://example.com:8080`.
    pub package_managers: Vec<String>,
    /// Hosts that no sandbox reaches, whatever a policy says.
    pub deny: Vec<String>,
    /// Networks that are not public and may be reached all the same, where a policy allows the name.
    pub private_networks: Vec<String>,
    /// Hosts that may have addresses that are not public.
    pub private_hosts: Vec<String>,
    /// The proxy through which everything goes, as a URL. Default: `https_proxy` of the worker. Empty: none.
    pub proxy: Option<String>,
}

impl EgressFile {
    /// The network of a worker on this machine.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn network(&self, home: &std::path::Path, vars: Vars<'_>) -> Result<Network, Trouble> {
        let pattern = |key: &'static str| {
            move |text: &String| text.parse::<Pattern>().map_err(|error| unusable(key, &error.to_string()))
        };
        let opened =
            opened(&self.private_networks, &self.private_hosts).map_err(|(key, why)| unusable(key, &why))?;
        self.deny.iter().map(pattern("deny")).collect::<Result<Vec<_>, _>>()?;
        let mut package_managers = packages::hosts(home, vars);
        package_managers.extend(self.package_managers.iter().cloned());
        Ok(Network {
            resolver: std::sync::Arc::new(System),
            opened,
            upstream: self.upstream(vars)?,
            roots: Roots::system(),
            package_managers,
            tools: packages::tools(home, vars),
            deny: self.deny.clone(),
        })
    }

    fn upstream(&self, vars: Vars<'_>) -> Result<Option<Upstream>, Trouble> {
        let url = self.proxy.clone().or_else(|| vars("https_proxy")).or_else(|| vars("HTTPS_PROXY"));
        let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
        let rest = url.strip_prefix("http://").or_else(|| (!url.contains("://")).then_some(url.as_str()));
        // The URL may hold a password, so it is not shown.
        let wrong = || unusable("proxy", "it is no URL such as http://proxy.example:3128");
        let rest = rest.ok_or_else(wrong)?.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login.to_owned()), place),
            None => (None, rest),
        };
        let authority = Authority::parse(place, Some(80)).map_err(|_| wrong())?;
        Ok(Some(Upstream { authority, login }))
    }
}

/// `[worker.git]`: what the URLs of tasks may lead to beside public addresses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GitFile {
    /// Networks that are not public and may be fetched from all the same.
    pub private_networks: Vec<String>,
    /// Hosts that may have addresses that are not public.
    pub private_hosts: Vec<String>,
}

impl GitFile {
    /// What is opened.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn opened(&self) -> Result<Opened, Trouble> {
        opened(&self.private_networks, &self.private_hosts).map_err(|(key, why)| {
            Trouble::usage(
                format!("The key `{key}` of [worker.git] cannot be used: {why}."),
                "Correct it in the configuration file; docs/cli.md has the forms.",
            )
        })
    }
}

/// The key that cannot be used, and why.
type Wrong = (&'static str, String);

fn opened(networks: &[String], hosts: &[String]) -> Result<Opened, Wrong> {
    let network = |text: &String| {
        let wrong = |_| ("private_networks", format!("{text:?} is no network such as 10.0.0.0/8"));
        text.parse::<IpNet>().map_err(wrong)
    };
    let host = |text: &String| text.parse::<Pattern>().map_err(|error| ("private_hosts", error.to_string()));
    Ok(Opened {
        networks: networks.iter().map(network).collect::<Result<_, _>>()?,
        hosts: hosts.iter().map(host).collect::<Result<_, _>>()?,
    })
}

fn unusable(key: &str, why: &str) -> Trouble {
    Trouble::usage(
        format!("The key `{key}` of [worker.egress] cannot be used: {why}."),
        "Correct it in the configuration file; docs/egress.md has the forms.",
    )
}
