//! `[server]` and `[worker]` of the configuration file: what `legwork up`, `server` and `worker` are told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use legwork_image::{Credentials, Named, Registry, Settings};
use legwork_server::{Rate, Rates};
use legwork_worker::Keep;
use serde::Deserialize;

use super::backend::{BackendFile, DockerFile};
use super::egress::{EgressFile, GitFile};
use super::oidc::OidcFile;
use super::{Config, Vars, lifetime, time};
use crate::exit::Trouble;
use crate::serve::Address;

/// `[server]`. A flag of the command goes before each of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerFile {
    /// The address to listen at.
    pub listen: Option<SocketAddr>,
    /// Where tasks and logs are kept.
    #[serde(deserialize_with = "database")]
    pub database: Option<Database>,
    /// Something in front speaks TLS with the world and plain HTTP with us.
    pub behind_proxy: bool,
    /// Addresses and networks of proxies whose word on who is behind them is taken.
    pub trusted_proxies: Vec<String>,
    /// Private hosts that webhooks may go to, as URLs name them.
    pub private_hosts: Vec<String>,
    /// How long a worker may be silent before its turns go to another.
    #[serde(deserialize_with = "lease")]
    pub lease: Option<Duration>,
    /// The URL by which browsers reach the server, where something stands in front.
    pub public_url: Option<String>,
    /// Further names by which the server may be called.
    pub hosts: Vec<String>,
    /// Who, beside one-time links, says who people are.
    pub oidc: BTreeMap<String, OidcFile>,
    /// Turns that one user may have running at a time; `None`: any number.
    pub user_turns_max: Option<NonZeroU32>,
    /// What one user may take up.
    pub users: UsersFile,
    /// How long a turn waits for a machine that has its files and is not heard of.
    #[serde(deserialize_with = "files_wait")]
    pub files_wait: Option<Duration>,
    /// How long what deleted tasks held is kept before it is removed for good.
    #[serde(deserialize_with = "kept")]
    pub deleted_kept: Option<Duration>,
    /// How often one may call.
    pub rates: RatesFile,
    /// The file with the key of the secrets; without it and a command, one of the data directory.
    pub key_file: Option<PathBuf>,
    /// The program, with its arguments, that writes the key of the secrets.
    pub key_command: Vec<String>,
}

impl ServerFile {
    /// The proxies in front.
    ///
    /// # Errors
    /// If one is no address.
    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, Trouble> {
        let network = |text: &String| {
            let one = text.parse::<IpAddr>().map(IpNet::from);
            one.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
                let what = format!(
                    "`trusted_proxies` of [server] holds {text:?}, which is no address and no network."
                );
                Trouble::usage(what, "Write them as 10.0.0.5 or 10.0.0.0/24.")
            })
        };
        self.trusted_proxies.iter().map(network).collect()
    }
}

/// `[server.users]`: what each user may take up, where the defaults do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsersFile {
    /// Turns in the queue.
    pub queue_max: Option<NonZeroU32>,
    /// Mebibytes that were uploaded and that no task names.
    pub uploads_mib: Option<NonZeroU32>,
}

/// `[server.rates]`: how often each may call, where the defaults do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesFile {
    strangers: Option<RateFile>,
    people: Option<RateFile>,
    workers: Option<RateFile>,
}

/// `{ burst = 60, per_second = 1 }`: so many calls at once, and so many a second after that.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    burst: NonZeroU32,
    per_second: NonZeroU32,
}

impl RatesFile {
    /// These, and the defaults for those that are not named.
    #[must_use]
    pub fn rates(self) -> Rates {
        let default = Rates::default();
        let rate = |file: Option<RateFile>, default| {
            file.map_or(default, |RateFile { burst, per_second }| Rate { burst, per_second })
        };
        Rates {
            strangers: rate(self.strangers, default.strangers),
            people: rate(self.people, default.people),
            workers: rate(self.workers, default.workers),
        }
    }
}

/// `[worker]`. A flag of the command goes before each of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerFile {
    /// The URL of the server to work for.
    pub server: Option<String>,
    /// Turns at the same time.
    pub slots: Option<u16>,
    /// What this worker has.
    pub labels: Vec<String>,
    /// Directories whose repositories a worker takes by their path if its server is not in its own process.
    pub local_repositories: Vec<PathBuf>,
    /// Directories whose files such a worker plays as scripted models.
    pub scripts: Vec<PathBuf>,
    /// Days that the files of attempts are kept when nothing uses them.
    pub keep_days: Option<u16>,
    /// Gibibytes of them on the disk, above which the longest unused go first.
    pub keep_gib: Option<u32>,
    /// Names of base images: a root file system's directory or tarball on this machine, or an image of a registry.
    pub images: BTreeMap<String, String>,
    /// Registries whose images tasks may name; `*`: any with a public address.
    pub registries: Option<Vec<String>>,
    /// How registries are reached where that has to be said, by their names.
    pub registry: BTreeMap<String, RegistryFile>,
    /// What makes its sandboxes.
    pub backend: BackendFile,
    /// Which engine does, with `backend = "docker"`.
    pub docker: DockerFile,
    /// What its sandboxes may reach.
    pub egress: EgressFile,
    /// What tasks' repositories may be fetched from.
    pub git: GitFile,
}

/// `[worker.registry."NAME"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryFile {
    /// Where its API is, if not at `https://` and its name: a mirror.
    url: Option<String>,
    /// Whether it may have a private address, and be without TLS.
    private: bool,
    /// Who is let in.
    user: Option<String>,
    /// The file with that one's password or token.
    password_file: Option<PathBuf>,
}

impl RegistryFile {
    fn access(&self, name: &str) -> Result<Registry, Trouble> {
        let credentials = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                Some(Credentials { user: user.clone(), password: crate::serve::secret_of(file)? })
            }
            (None, None) => None,
            _ => {
                let what =
                    format!("The registry {name} has a user without a password_file, or one without a user.");
                return Err(Trouble::usage(what, "Give it both, or neither."));
            }
        };
        Ok(Registry { url: self.url.clone(), is_private: self.private, credentials })
    }
}

impl WorkerFile {
    /// Which base images there are; what is unpacked belongs to `owner`.
    ///
    /// # Errors
    /// If a password cannot be read.
    pub fn images(&self, directory: PathBuf, owner: (u32, u32)) -> Result<Settings, Trouble> {
        let mut settings = Settings::new(directory, owner);
        let named = |text: &String| {
            if text.starts_with('/') { Named::Path(text.into()) } else { Named::Reference(text.clone()) }
        };
        settings.named = self.images.iter().map(|(name, text)| (name.clone(), named(text))).collect();
        if let Some(registries) = &self.registries {
            settings.registries.clone_from(registries);
        }
        for (name, file) in &self.registry {
            settings.access.insert(name.to_ascii_lowercase(), file.access(name)?);
        }
        Ok(settings)
    }

    /// How long files are kept that nothing uses.
    #[must_use]
    pub fn keep(&self) -> Keep {
        const DAY: u64 = 24 * 60 * 60;
        let default = Keep::default();
        let days = |days: u16| Duration::from_secs(u64::from(days) * DAY);
        Keep {
            unused: self.keep_days.map_or(default.unused, days),
            disk_bytes: self.keep_gib.map(|gib| u64::from(gib) << 30),
        }
    }
}

/// Where tasks and logs are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// The URL of a database of Postgres, which may hold a password.
    Postgres(String),
}

impl Database {
    /// The one that is meant: the command's own, that of `LEGWORK_DATABASE`, or the file's. `None`: the data directory's.
    ///
    /// # Errors
    /// If the variable names none.
    pub fn chosen(asked: Option<Self>, config: &Config, vars: Vars<'_>) -> Result<Option<Self>, Trouble> {
        match (asked, vars("LEGWORK_DATABASE")) {
            (Some(database), _) => Ok(Some(database)),
            (None, Some(url)) => url.parse().map(Some).map_err(|why| {
                let what = format!("LEGWORK_DATABASE cannot be used: {why}.");
                Trouble::usage(what, "Correct it, or unset it.")
            }),
            (None, None) => Ok(config.server.database.clone()),
        }
    }

    /// The one that a command opens by itself, in place of a server that is not there: never another than the last server
    /// of this data directory used, unless the command or `LEGWORK_DATABASE` says so.
    ///
    /// # Errors
    /// If that server used another than the configuration names, with what to say; as [`Database::chosen`].
    pub fn here(asked: Option<Self>, config: &Config, vars: Vars<'_>) -> Result<Option<Self>, Trouble> {
        let is_named = asked.is_some() || vars("LEGWORK_DATABASE").is_some();
        let chosen = Self::chosen(asked, config, vars)?;
        let used = Address::left_in(&config.home).and_then(|address| address.database);
        let same = used == chosen.as_ref().and_then(|chosen| chosen.told(&config.home));
        match used {
            Some(used) if !is_named && !same => Err(elsewhere(&used, chosen.as_ref(), config)),
            Some(_) | None => Ok(chosen),
        }
    }

    /// How it is called where others may read it, without password; `None`: it is the data directory's own.
    #[must_use]
    pub fn told(&self, home: &Path) -> Option<String> {
        match self {
            Self::Sqlite(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                (path != home.join(OWN)).then(|| format!("sqlite:{}", path.display()))
            }
            Self::Postgres(url) => Some(without_password(url)),
        }
    }

    /// As the server takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty());
        match path {
            Some(path) => Ok(Self::Sqlite(path.into())),
            None if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            // Not the text itself: it may hold a password.
            None => Err("a database is sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE".to_owned()),
        }
    }
}

impl fmt::Debug for Database {
    /// Without the URL, since it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(_)"),
        }
    }
}

/// The data directory's own file.
const OWN: &str = "legwork.db";

/// A URL of Postgres without the password, which may stand before the host or among the parameters.
fn without_password(url: &str) -> String {
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = place.split_once("://").unwrap_or(("postgres", place));
    let (login, host) = rest.rsplit_once('@').unwrap_or(("", rest));
    let user = login.split(':').next().filter(|user| !user.is_empty());
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let is_plain = |pair: &&str| !pair.to_ascii_lowercase().contains("password");
    let parameters: Vec<&str> =
        parameters.split('&').filter(is_plain).filter(|pair| !pair.is_empty()).collect();
    let parameters = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    format!("{scheme}://{user}{host}{parameters}")
}

fn elsewhere(used: &str, chosen: Option<&Database>, config: &Config) -> Trouble {
    let here = chosen.and_then(|chosen| chosen.told(&config.home));
    let here = here.unwrap_or_else(|| config.home.join(OWN).display().to_string());
    let what = format!(
        "The last server on {} kept its tasks in {used}, and this command would open {here} in its place. Nothing was opened.",
        config.home.display()
    );
    let password = if used.starts_with("sqlite:") { "" } else { ", with the password" };
    let next = format!(
        "Start that server again (legwork server), or name its database: LEGWORK_DATABASE={used}{password}.\n\
         To use the other one, name that in the same way: LEGWORK_DATABASE=sqlite:PATH"
    );
    Trouble::usage(what, next)
}

/// Some of a worker's heartbeats, which come twice a second.
const LEASE_MS_MIN: u64 = 3000;
/// Beyond this a dead worker's turn would look as if it were run.
const LEASE_MS_MAX: u64 = 600_000;

fn lease<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let ms = time(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) {
        Ok(Some(Duration::from_millis(ms)))
    } else {
        Err(serde::de::Error::custom("a lease is 3s to 10m long"))
    }
}

/// Twice as long as it takes until a server has noted that a worker waits in a call for work, and a margin.
const FILES_WAIT_MS_MIN: u64 = 30_000;
/// A worker that has not asked for so long is forgotten.
const FILES_WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

fn files_wait<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let ms = time(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    if (FILES_WAIT_MS_MIN..=FILES_WAIT_MS_MAX).contains(&ms) {
        Ok(Some(Duration::from_millis(ms)))
    } else {
        Err(serde::de::Error::custom("a machine is waited for 30s to 24h"))
    }
}

fn kept<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let ms = lifetime(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    Ok(Some(Duration::from_millis(ms)))
}

fn database<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Database>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        text.parse::<Database>().unwrap().told(Path::new("/data"))
    }

    #[test]
    fn a_database_is_told_without_its_password() {
        assert_eq!(told("sqlite:/data/legwork.db"), None);
        assert_eq!(told("sqlite:/srv/a.db").as_deref(), Some("sqlite:/srv/a.db"));
        for (url, shown) in [
            ("postgres://me:hunter2@db:5433/legwork", "postgres://me@db:5433/legwork"),
            ("postgresql://me:hunt@er2@db/legwork", "postgresql://me@db/legwork"),
            ("postgres://db/legwork?host=/run&password=hunter2", "postgres://db/legwork?host=/run"),
            ("postgres://db/l?PASSWORD=hunter2&sslpassword=x", "postgres://db/l"),
        ] {
            assert_eq!(told(url).as_deref(), Some(shown), "{url}");
        }
    }
}
