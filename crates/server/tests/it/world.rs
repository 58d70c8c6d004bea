//! A server on a port of its own, and a client for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use legwork_client::Client;
use legwork_domain::{
    Assignment, Ended, Event, EventBatch, EventKind, Finish, ItemId, LeaseRequest, LocalChanges, NewEvent,
    NewTask, Outcome, Source, TaskId, TaskView, Timestamp, WorkerId,
};
use legwork_server::{Config, Error};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "a-token-for-tests";

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    folder: Arc<TempDir>,
    config: Config,
    serving: JoinHandle<Result<(), Error>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_over(database: Option<String>) -> Self {
        Self::start_with(|config| config.database = database).await
    }

    /// A server that is set up in another way than most.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = Config::new(folder.path().join("data"), TOKEN.into());
        config.private_hosts = vec!["127.0.0.1".into()];
        // Tests knock more often than any stranger.
        config.door.rates.strangers = config.door.rates.workers;
        change(&mut config);
        Self::start_in(folder, "127.0.0.1:0".parse().unwrap(), config).await
    }

    /// Another server over the same database and data directory.
    pub(crate) async fn beside(&self) -> Self {
        Self::start_in(Arc::clone(&self.folder), "127.0.0.1:0".parse().unwrap(), self.config.clone()).await
    }

    async fn start_in(folder: Arc<TempDir>, address: SocketAddr, config: Config) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(legwork_server::serve(listener, config.clone(), shutdown.clone()));
        let client = Client::new(&format!("http://{address}"), TOKEN).unwrap();
        Self { client, address, shutdown, folder, config, serving }
    }

    /// Stops the server in good order and starts it on the same data and port.
    pub(crate) async fn restart(self) -> Self {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
        Self::start_in(self.folder, self.address, self.config).await
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ended(self) {
        self.serving.await.unwrap().unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// HTTP without our client, with the process's token.
    pub(crate) fn http(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.as_one(method, path, TOKEN)
    }

    /// A client with another token.
    pub(crate) fn client_of(&self, token: &str) -> Client {
        Client::new(&format!("http://{}", self.address), token).unwrap()
    }

    /// HTTP without our client, with any token; with none if it is empty.
    pub(crate) fn as_one(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = http_client().request(method.parse().unwrap(), self.url(path));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub(crate) async fn create(&self, prompt: &str, key: &str) -> TaskView {
        self.client.create_task(&request(prompt), key).await.unwrap()
    }

    pub(crate) async fn lease(&self) -> Option<Assignment> {
        self.client.lease(&asks(0, None)).await.unwrap()
    }

    /// A task of its own, leased.
    pub(crate) async fn job(&self, key: &str) -> Assignment {
        let task = self.create("x", key).await.task.id;
        self.client.lease(&asks(0, Some(task))).await.unwrap().unwrap()
    }

    pub(crate) async fn append(&self, job: &Assignment, first: u64, events: Vec<NewEvent>) {
        self.client.append(job.turn.id, &batch(job, first, events)).await.unwrap();
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap()
}

pub(crate) fn asks(wait_ms: u64, task: Option<TaskId>) -> LeaseRequest {
    LeaseRequest { wait_ms, task, ..LeaseRequest::of(WorkerId::from_u128(1)) }
}

pub(crate) fn request(prompt: &str) -> NewTask {
    let source = Source { repository: "/r".into(), base: None, local_changes: LocalChanges::Leave };
    NewTask::new(prompt.into(), source, "ollama/x".into())
}

pub(crate) fn batch(job: &Assignment, first: u64, events: Vec<NewEvent>) -> EventBatch {
    EventBatch { epoch: job.lease.epoch, lease: Some(job.lease.id), first, events, transition: None }
}

pub(crate) fn delta(text: &str) -> NewEvent {
    tell(EventKind::ItemUpdated { item: ItemId::new(1), delta: text.into() })
}

pub(crate) fn tell(kind: EventKind) -> NewEvent {
    NewEvent { at: Timestamp::from_micros(5), kind }
}

pub(crate) fn end(job: &Assignment, first: u64, outcome: Outcome) -> Finish {
    let ended = Ended::nothing(outcome, "Done.", Timestamp::from_micros(9));
    Finish {
        epoch: job.lease.epoch,
        lease: Some(job.lease.id),
        first,
        events: Vec::new(),
        ended,
        blobs: Vec::new(),
    }
}

pub(crate) fn seqs(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}
