//! Server and worker inside this process, over loopback HTTP: the path that every task takes, also here.
//!
//! Several commands may use one data directory at a time: SQLite takes turns, and each command's worker leases only turns
//! of its own task, so that Ctrl-C and the end of one command never touch the task of another. The server listens on a
//! port of the system's choice and takes a token that never leaves this process.

use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use legwork_client::Client;
use legwork_domain::{TaskId, TaskQuery, WorkerId};
use legwork_model::{Catalog, Settings};
use legwork_sandbox::host::Machines;
use legwork_sandbox::{Bind, Probe, Toolchains};
use legwork_worker::{LocalRepositories, Reach, Remotes};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{BackendFile, Config, Database, MountFile};
use crate::keys;

/// Bytes of the token: 256 bits, as for any bearer token that nobody may guess.
const TOKEN_BYTES: usize = 32;

/// How long a server that hangs up gets to say why it ends. It knows already.
const LAST_WORD_WAIT: Duration = Duration::from_secs(1);

/// How long a process that is to end at once may still speak with its own server; it takes milliseconds.
const LEAVE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// A server inside this process, and a client for it.
pub struct Host {
    /// Speaks to the server.
    pub client: Client,
    /// Where it listens.
    pub url: String,
    /// What opens it.
    pub token: String,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), legwork_server::Error>>,
}

/// A worker inside this process. Ends when it is told to, or on an error of its own.
pub struct Worker {
    id: WorkerId,
    shutdown: CancellationToken,
    run: JoinHandle<Result<(), legwork_worker::Error>>,
}

/// What a worker takes on.
pub struct Share {
    /// Turns at the same time.
    pub slots: u16,
    /// Only turns of this task.
    pub task: Option<TaskId>,
    /// What it has.
    pub labels: Vec<String>,
    /// Which repositories of this machine it may take.
    pub local: LocalRepositories,
    /// Where the URLs of others may lead.
    pub reach: Reach,
}

impl Host {
    /// Starts a server on the data directory, at a loopback port of the system's choice.
    ///
    /// # Errors
    /// If the directory or the port cannot be had, or the last server of the directory kept its tasks elsewhere.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let database = Database::here(None, config, &crate::config::process)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("No loopback port could be had.")?;
        let served = legwork_server::Config {
            database: database.as_ref().map(Database::url),
            ..served(config, token()?).await?
        };
        Self::on(listener, served, config)
    }

    /// Starts a server at `listener`.
    ///
    /// # Errors
    /// If the data directory cannot be had.
    pub fn on(
        listener: TcpListener,
        served: legwork_server::Config,
        config: &Config,
    ) -> anyhow::Result<Self> {
        config.make_home()?;
        let url = format!("http://{}", listener.local_addr()?);
        let token = served.token.clone();
        let client = Client::new(&url, &token)?;
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(legwork_server::serve(listener, served, shutdown.clone()));
        Ok(Self { client, url, token, shutdown, server })
    }

    /// Starts a worker for one task with so many attempts at once.
    ///
    /// # Errors
    /// If no sandbox backend can be had here.
    pub fn work(
        &self,
        config: &Config,
        catalog: Arc<Catalog>,
        task: TaskId,
        slots: u8,
    ) -> anyhow::Result<Worker> {
        let share = Share {
            slots: slots.into(),
            task: Some(task),
            labels: Vec::new(),
            local: LocalRepositories::Any,
            // Who named the URL could run git on this machine just as well.
            reach: Reach::Any,
        };
        Worker::start(config, self.client.clone(), catalog, share)
    }

    /// Starts a worker for one task that asks no model.
    ///
    /// # Errors
    /// If no sandbox backend can be had here.
    pub fn work_alone(&self, config: &Config, task: TaskId) -> anyhow::Result<Worker> {
        self.work(config, Arc::new(Catalog::new(Settings::default())?), task, 1)
    }

    /// Waits until the server answers, which it does once its database is open.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let client = self.client.clone();
        let query = TaskQuery { limit: Some(1), ..TaskQuery::default() };
        let answer = tokio::select! {
            biased;
            error = self.failure() => return Err(error),
            answer = client.tasks(&query) => answer,
        };
        match answer {
            // A server that ends resets its connections first, and says why a moment later.
            Err(error) => {
                Err(tokio::time::timeout(LAST_WORD_WAIT, self.failure()).await.unwrap_or(error.into()))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits until the server ends by itself, which it does only on an error. Cancel-safe; not to be called again.
    pub async fn failure(&mut self) -> anyhow::Error {
        match (&mut self.server).await {
            Ok(Ok(())) => anyhow::anyhow!("The server ended without being told to."),
            Ok(Err(error)) => anyhow::Error::from(error).context("The server could not go on."),
            Err(broken) => anyhow::Error::from(broken).context("The server broke off."),
        }
    }

    /// Stops the server.
    ///
    /// # Errors
    /// What it ended with.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(self.server.await.context("The server broke off.")??)
    }

    /// Says why the server ended, if it did: the reason behind a call that could not reach it.
    pub async fn why_gone(self) -> Option<anyhow::Error> {
        if !self.server.is_finished() {
            return None;
        }
        match self.server.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.into()),
            Err(broken) => Some(broken.into()),
        }
    }
}

impl Worker {
    /// Starts a worker for the server that `client` speaks to.
    ///
    /// # Errors
    /// If no sandbox backend can be had here.
    pub fn start(
        config: &Config,
        client: Client,
        catalog: Arc<Catalog>,
        share: Share,
    ) -> anyhow::Result<Self> {
        let id = WorkerId::from_u128(uuid::Uuid::now_v7().as_u128());
        let toolchains = legwork_sandbox::toolchains(&config.user_home, &config.path);
        let backend = backend(config)?;
        let images = config.worker.images(config.home.join("images"), backend.owner())?;
        let worker = legwork_worker::Config {
            client,
            backend: Arc::new(backend),
            catalog,
            data: config.home.clone(),
            slots: share.slots.into(),
            toolchains,
            mounts: mounts(config),
            images: legwork_image::Store::open(images)?,
            keep: config.worker.keep(),
            local: share.local,
            network: config.worker.egress.network(&config.user_home, &crate::config::process)?,
            id,
            task: share.task,
            labels: share.labels,
            remotes: Remotes { env: config.git.clone(), reach: share.reach },
        };
        let shutdown = CancellationToken::new();
        let run = tokio::spawn(legwork_worker::run(worker, shutdown.clone()));
        Ok(Self { id, shutdown, run })
    }

    /// Waits until it ends by itself, which it does only on an error. Cancel-safe; not to be called again.
    pub async fn failure(&mut self) -> anyhow::Error {
        match (&mut self.run).await {
            Ok(Ok(())) => anyhow::anyhow!("The worker ended before its task."),
            Ok(Err(error)) => anyhow::Error::from(error).context("The worker could not go on."),
            Err(broken) => anyhow::Error::from(broken).context("The worker broke off."),
        }
    }

    /// Ends its leases, for a process that is to end at once: so nobody waits until they lapse. Its turns are not its own
    /// any more, whatever it still does.
    pub async fn leave(&self, client: &Client) {
        // Whoever comes next on this data directory says it again.
        let _ = tokio::time::timeout(LEAVE_MAX, client.end_leases(self.id)).await;
    }

    /// Stops it in good order and waits until its sandboxes are gone.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // Every turn is over or given back; how the worker ends changes nothing for it.
        let _ = self.run.await;
    }
}

/// What of this machine a sandbox on its own root shows.
#[must_use]
pub fn toolchains(config: &Config) -> Toolchains {
    let mut toolchains = legwork_sandbox::toolchains(&config.user_home, &config.path);
    toolchains.binds.extend(mounts(config));
    toolchains
}

/// What of this machine its operator wants shown in every sandbox.
fn mounts(config: &Config) -> Vec<Bind> {
    let mounts = config.mounts.iter().cloned();
    mounts.map(|MountFile { host, inside }| Bind { host, inside }).collect()
}

/// The sandbox backend of this machine.
///
/// # Errors
/// If its directory cannot be had.
pub fn backend(config: &Config) -> anyhow::Result<Machines> {
    let (state, guest) = (sandboxes(config), PathBuf::from("/proc/self/exe"));
    Ok(match config.worker.backend {
        BackendFile::Local => legwork_sandbox::local::open(legwork_sandbox::local::Options { state, guest }),
        BackendFile::Docker => {
            let engine = config.worker.docker.settings(&crate::config::process);
            legwork_sandbox_docker::open(legwork_sandbox_docker::Options { state, guest, engine })
        }
    }?)
}

/// What this machine offers for sandboxes of its backend.
pub async fn probes(config: &Config) -> Vec<Probe> {
    let state = sandboxes(config);
    let own = tokio::task::spawn_blocking(move || legwork_sandbox::probe(&state)).await.unwrap_or_default();
    match config.worker.backend {
        BackendFile::Local => own,
        BackendFile::Docker => {
            let engine =
                legwork_sandbox_docker::probe(config.worker.docker.settings(&crate::config::process)).await;
            // What an engine says goes before what this process could do by itself.
            let is_known = |probe: &Probe| engine.iter().any(|known| known.name == probe.name);
            let own: Vec<_> = own.into_iter().filter(|probe| !is_known(probe)).collect();
            own.into_iter().chain(engine).collect()
        }
    }
}

/// Where layers and writable files of sandboxes lie.
#[must_use]
pub fn sandboxes(config: &Config) -> PathBuf {
    config.home.join("sandboxes")
}

/// What a server on the data directory is told, which `token` opens.
///
/// # Errors
/// If the key of the secrets cannot be had.
pub async fn served(config: &Config, token: String) -> anyhow::Result<legwork_server::Config> {
    config.redactor.add("SERVER_TOKEN", &token)?;
    let users = config.server.users;
    Ok(legwork_server::Config {
        key: keys::key(&config.server).await?,
        redactor: config.redactor.clone(),
        private_hosts: config.server.private_hosts.clone(),
        lease: config.server.lease.unwrap_or(legwork_server::LEASE),
        deleted_kept: config.server.deleted_kept.unwrap_or(legwork_server::DELETED_KEPT),
        model: config.model.clone(),
        user_turns_max: config.server.user_turns_max.map(NonZeroU32::get),
        user_queue_max: users.queue_max.map_or(legwork_server::USER_QUEUE, NonZeroU32::get),
        user_uploads_bytes_max: users
            .uploads_mib
            .map_or(legwork_server::USER_UPLOADS_BYTES, |mib| u64::from(mib.get()) << 20),
        files_wait: config.server.files_wait.unwrap_or(legwork_server::FILES_WAIT),
        ..legwork_server::Config::new(config.home.clone(), token)
    })
}

/// A new token for a server.
///
/// # Errors
/// If the system has no random numbers.
pub fn token() -> anyhow::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("No random numbers could be had from /dev/urandom.")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
