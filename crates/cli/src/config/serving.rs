//! `[server]` and `[worker]` of the configuration file: what `legwork up`, `server` and `worker` are told.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

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
    /// Private hosts that webhooks may go to, as URLs name them.
    pub private_hosts: Vec<String>,
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

fn database<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Database>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}
