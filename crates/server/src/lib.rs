//! The server: one HTTP API over the store, with a token at the door and reconcilers behind it.
//!
//! It decides and remembers; it never runs anyone's code and never calls a model. Workers and views are clients of the
//! same API. What has to happen some time later (a lost lease) is found by looking at the state again and again, so a
//! notice that is missed delays and never loses; the in-process bells only make it quick.

mod auth;
mod backup;
mod bells;
mod blobs;
mod deep;
mod extract;
mod metrics;
mod outbound;
mod problem;
mod readiness;
mod reconcile;
mod redact;
mod relay;
mod routes;
mod schema;
mod streams;
mod trace;
mod uploads;
mod vault;
mod webhooks;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use legwork_domain::Timestamp;
use legwork_store::{QueueRules, Sent, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use auth::discovery::Discovery;
use auth::rate::Buckets;
use auth::{Caller, Digest};
use bells::Bells;
use blobs::Blobs;
use metrics::Metrics;
use outbound::Outbound;
use readiness::Readiness;
use redact::{Held, RefreshError};
use streams::Streams;

pub use auth::door::Door;
pub use auth::provider::{Admits, Provider, Speech};
pub use auth::rate::{Rate, Rates};
pub use backup::{backup, restore};
pub use deep::{Deep, Findings, deep_look};
pub use redact::Redactor;
pub use schema::{events_schema, openapi};
pub use vault::{Key, KeyError};

/// How long open calls get to end after a shutdown began. Streams and waiting calls end at once; this is for a commit on
/// a slow disk, and below what process supervisors wait before they kill (10 s and more).
const GRACE: Duration = Duration::from_secs(5);

/// How long the database is waited for at the start: what a Postgres needs to recover after a crash, as a rule.
const DATABASE_WAIT: Duration = Duration::from_secs(60);

/// How often a waiting call looks by itself. Bells ring within this process only, and another process may write to the
/// same database.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a lease holds without a word from its worker, where nobody says: some lost heartbeats and a restart of the
/// server.
pub const LEASE: Duration = Duration::from_secs(30);

/// How long a turn waits for the machine that has its files when no worker of it is heard of, where nobody says: a restart
/// of the machine. Longer than a call for work waits, or a worker that waits would be gone.
pub const FILES_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long a client may take none of what was sent to it, where nobody says: a laptop that changes its network, and half of
/// what proxies allow. A stream of events that was cut is resumed by its last id.
pub const STALL: Duration = Duration::from_secs(30);

/// How long what a deleted task held is kept, where nobody says: until a backup of last week has shown to be unneeded.
pub const DELETED_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Turns that one person may have in the queue, where nobody says: some days of a large team's work.
pub const USER_QUEUE: u32 = 10_000;

/// Bytes that one person may have uploaded that no task names, where nobody says: hundreds of screenshots.
pub const USER_UPLOADS_BYTES: u64 = 1 << 30;

/// What the server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where the blobs are, and the database unless another is named; made if it is not there. Several servers on one
    /// database share it.
    pub data: PathBuf,
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`; `None`: a file of SQLite in `data`.
    pub database: Option<String>,
    /// The bearer token of the process that the server runs in, kept in memory alone. It opens everything: it acts for
    /// the local owner, and as a worker.
    pub token: String,
    /// How it is reached from outside.
    pub door: Door,
    /// Hosts that the server may call although they are private, as URLs name them. Where callers name URLs (webhooks),
    /// loopback, private and link-local addresses are refused otherwise.
    pub private_hosts: Vec<String>,
    /// How long a lease holds without a word from its worker; [`LEASE`] where nobody says. Workers speak twice a second.
    pub lease: Duration,
    /// What seals the secrets; `None`: the key in the file `secret.key` of `data`, made at the first start.
    pub key: Option<Key>,
    /// Knows the values of the secrets while the server runs.
    pub redactor: Redactor,
    /// Turns that one person may have running at a time; `None`: any number.
    pub user_turns_max: Option<u32>,
    /// Turns that one person may have in the queue; [`USER_QUEUE`] where nobody says.
    pub user_queue_max: u32,
    /// Bytes that one person may have uploaded that no task names; [`USER_UPLOADS_BYTES`] where nobody says. Each upload
    /// counts 64 KiB at least.
    pub user_uploads_bytes_max: u64,
    /// How long a turn waits for the machine that has its files when no worker of it is heard of; then any other goes on from
    /// its last patch. [`FILES_WAIT`] where nobody says. Workers are noted every ten seconds.
    pub files_wait: Duration,
    /// How long a client may take none of what was sent to it before its connection is closed; [`STALL`] where nobody says.
    pub stall: Duration,
    /// How long what a deleted task held is kept before it is removed for good; [`DELETED_KEPT`] where nobody says.
    pub deleted_kept: Duration,
    /// `provider/model` of tasks that name none; `None`: each must name one.
    pub model: Option<String>,
}

impl Config {
    /// A server over a file of SQLite, reached by its own address.
    #[must_use]
    pub fn new(data: PathBuf, token: String) -> Self {
        Self {
            data,
            database: None,
            token,
            door: Door::default(),
            private_hosts: Vec::new(),
            lease: LEASE,
            key: None,
            redactor: Redactor::default(),
            user_turns_max: None,
            user_queue_max: USER_QUEUE,
            user_uploads_bytes_max: USER_UPLOADS_BYTES,
            files_wait: FILES_WAIT,
            stall: STALL,
            deleted_kept: DELETED_KEPT,
            model: None,
        }
    }
}

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used: mend its place or its rights.
    #[error("cannot use the data directory {}", path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database")]
    Store(#[from] legwork_store::Error),
    /// Nothing was ever kept there: name the database that a server used.
    #[error("{0} holds no database of Legwork's, so there is nothing to read. Nothing was made.")]
    Absent(String),
    /// There is no key for the secrets, or it is not the one that they were sealed with.
    #[error("cannot open the secrets")]
    Key(#[from] KeyError),
    /// The secrets cannot be looked for.
    #[error("cannot look for the secrets: {0}")]
    Secrets(String),
    /// The listener failed.
    #[error("cannot take connections")]
    Listen(#[source] io::Error),
}

/// What an operator decides, as [`Config`] has it.
struct Rules {
    lease: Duration,
    user_queue_max: u32,
    user_uploads_bytes_max: u64,
    queue: QueueRules,
    deleted_kept: Duration,
    model: Option<String>,
}

/// The way to others, and what was learned of them.
struct Outside {
    out: Outbound,
    discovery: Discovery,
}

/// What the routes share.
struct Server {
    store: Store,
    blobs: Blobs,
    bells: Bells,
    streams: Streams,
    rules: Rules,
    /// Of the token that stays in this process.
    key: Digest,
    door: Door,
    buckets: Buckets,
    metrics: Metrics,
    readiness: Readiness,
    outside: Outside,
    vault: Key,
    redactor: Redactor,
    held: Held,
    shutdown: CancellationToken,
}

/// Serves the API on `listener` until `shutdown`, then lets open calls end.
///
/// Callers that connect while the database is being opened wait in the listener's queue.
///
/// # Errors
/// [`Error`] if it could not start; once it serves, it ends by `shutdown` only.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let server = tokio::select! {
        server = Server::open(&config, shutdown.clone()) => Arc::new(server?),
        () = shutdown.cancelled() => return Ok(()),
    };
    let reconciler = tokio::spawn(reconcile::run(Arc::clone(&server)));
    let relay = tokio::spawn(relay::run(Arc::clone(&server)));
    let sender = tokio::spawn(webhooks::run(Arc::clone(&server)));
    let stall_ms = u32::try_from(config.stall.as_millis()).unwrap_or(u32::MAX);
    let listener = listener.tap_io(move |stream: &mut TcpStream| prepare(stream, stall_ms));
    let router = routes::router(Arc::clone(&server));
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .into_future();
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let served = tokio::select! {
        served = serving => served.map_err(Error::Listen),
        () = overdue => Ok(()),
    };
    shutdown.cancel();
    // They have no result, and a panic in one was told by its own thread.
    let _ = tokio::join!(reconciler, relay, sender);
    server.store.close().await;
    served
}

/// What each connection is told. A socket that is gone already says so later.
fn prepare(stream: &TcpStream, stall_ms: u32) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    // Whoever does not read holds a connection, its buffers and a page of events: the kernel closes it (RFC 5482), and a
    // peer that lost its power too, for which it would else try again for a quarter of an hour.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, stall_ms);
}

impl Server {
    async fn open(config: &Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let data = |source| Error::Data { path: config.data.clone(), source };
        let blobs = Blobs::open(&config.data).map_err(data)?;
        let store = open_store(&config.data, config.database.as_deref()).await?;
        let vault = match &config.key {
            Some(key) => key.clone(),
            None => Key::of(&config.data)?,
        };
        config.redactor.refresh(&store, &vault).await.map_err(|error| match error {
            RefreshError::Store(error) => Error::Store(error),
            RefreshError::Key(error) => Error::Key(error),
            RefreshError::TooMany(error) => Error::Secrets(error.to_string()),
        })?;
        webhooks::seal_plain(&store, &vault).await?;
        Ok(Self {
            store,
            blobs,
            bells: Bells::default(),
            key: Digest::of(config.token.as_bytes()),
            door: config.door.clone(),
            buckets: Buckets::new(&config.door.rates),
            streams: Streams::default(),
            metrics: Metrics::default(),
            readiness: Readiness::default(),
            outside: Outside {
                out: Outbound::new(config.private_hosts.clone()),
                discovery: Discovery::default(),
            },
            vault,
            redactor: config.redactor.clone(),
            held: Held::default(),
            rules: Rules {
                lease: config.lease,
                user_queue_max: config.user_queue_max,
                user_uploads_bytes_max: config.user_uploads_bytes_max,
                queue: QueueRules {
                    user_turns_max: config.user_turns_max,
                    files_wait_ms: u64::try_from(config.files_wait.as_millis()).unwrap_or(u64::MAX),
                },
                deleted_kept: config.deleted_kept,
                model: config.model.clone(),
            },
            shutdown,
        })
    }

    /// The present and until when a lease that is given or renewed now holds.
    fn term(&self) -> legwork_store::Renewal {
        let now = now();
        let lease_ms = i64::try_from(self.rules.lease.as_millis()).unwrap_or(i64::MAX);
        legwork_store::Renewal { now, until: now.plus_ms(lease_ms) }
    }

    /// A call as the store takes it.
    fn sent<'a>(&self, caller: &'a Caller, key: Option<&'a str>) -> Sent<'a> {
        Sent {
            act: caller.act(),
            key,
            queued_max: Some(self.rules.user_queue_max),
            access: Some(caller.access()),
        }
    }

    /// Knows the secrets as they are on record now.
    async fn reread_secrets(&self) -> Result<(), problem::Failure> {
        self.redactor.refresh(&self.store, &self.vault).await.map_err(|error| {
            tracing::error!(%error, "the secrets cannot be read: their values are not taken out of what comes in");
            problem::Failure::internal()
        })
    }

    /// Waits for a bell, but no longer than `limit` and [`LOOK_AGAIN`], and not beyond a shutdown.
    async fn wait(&self, bell: &mut tokio::sync::watch::Receiver<()>, limit: Duration) {
        tokio::select! {
            // An error means that the bell was taken down, which is a change too.
            _ = bell.changed() => {}
            () = tokio::time::sleep(limit.min(LOOK_AGAIN)) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

/// The file of SQLite in a data directory.
fn database_in(data: &Path) -> PathBuf {
    data.join("legwork.db")
}

/// Opens the database. A Postgres that is out of reach may be about to start, as after a power cut: it is waited for.
async fn open_store(data: &Path, database: Option<&str>) -> Result<Store, legwork_store::Error> {
    let Some(url) = database else {
        let own = database_in(data);
        // The files beside it get its mode. If it cannot be made, opening it says why.
        let _ = File::options().append(true).create(true).mode(0o600).open(&own);
        return Store::open(&own).await;
    };
    let until = tokio::time::Instant::now() + DATABASE_WAIT;
    loop {
        match Store::connect(url).await {
            Err(legwork_store::Error::Busy(error)) if tokio::time::Instant::now() < until => {
                tracing::warn!(%error, "the database is out of reach; the next try comes in a second");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Opens a database that a server has used, and makes none where there is none.
async fn open_kept(data: &Path, database: Option<&str>) -> Result<Store, Error> {
    let own = || format!("sqlite:{}", database_in(data).display());
    let url = database.map_or_else(own, str::to_owned);
    if !Store::is_there(&url).await? {
        // The URL of a Postgres may hold a password.
        let place = url.strip_prefix("sqlite:").unwrap_or("The Postgres that was named");
        return Err(Error::Absent(place.to_owned()));
    }
    Ok(open_store(data, database).await?)
}

/// The present, cut to what the database keeps.
fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}
