//! A server, a worker and repositories in a directory of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use futures::StreamExt;
use legwork_client::Client;
use legwork_domain::{
    Audience, Check, Ended, Environment, EnvironmentDraft, EnvironmentId, Event, EventKind, Item, ItemBody,
    LocalChanges, NewTask, Phase, RepositoryDraft, SecretDraft, Source, State, TaskView, Timestamp, WorkerId,
};
use legwork_model::{Catalog, Settings};
use legwork_sandbox::Toolchains;
use legwork_sandbox::local::{self, Options};
use legwork_store::Store;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) client: Client,
    url: String,
    shutdown: CancellationToken,
    server_stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.server_stop.cancel();
    }
}

/// The guest executable, which the sandbox's crate builds.
fn guest() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let guest = test.ancestors().nth(2).unwrap().join("legwork-guest");
    assert!(
        guest.is_file(),
        "{} is missing: run `cargo build -p legwork-sandbox --bins` first",
        guest.display()
    );
    guest
}

pub(crate) const TOKEN: &str = "token";

/// Set in a worker's own process: the server's URL and the world's directory.
const PROCESS: &str = "LEGWORK_TEST_WORKER";

/// A worker in a process of its own.
pub(crate) struct Process {
    child: std::process::Child,
}

impl Process {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a worker's own process does, if this is one.
pub(crate) async fn be_a_worker() {
    let Ok(place) = std::env::var(PROCESS) else { return };
    let (url, directory) = place.split_once(' ').unwrap();
    let config = worker_of(Client::new(url, TOKEN).unwrap(), Path::new(directory));
    legwork_worker::run(config, CancellationToken::new()).await.unwrap();
}

fn serve(
    listener: tokio::net::TcpListener,
    directory: &Path,
) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    // Machines are lost at once here; how long they are waited for is the store's to test.
    let files_wait = std::time::Duration::ZERO;
    let config = legwork_server::Config {
        files_wait,
        ..legwork_server::Config::new(directory.join("server"), TOKEN.into())
    };
    let serving = legwork_server::serve(listener, config, stop.clone());
    (stop, tokio::spawn(async move { serving.await.unwrap() }))
}

fn worker_of(client: Client, directory: &Path) -> legwork_worker::Config {
    let options = Options { state: directory.join("sandboxes"), guest: guest() };
    let backend = local::open(options).unwrap();
    let owner = backend.owner();
    legwork_worker::Config {
        client,
        backend: Arc::new(backend),
        catalog: Arc::new(Catalog::new(Settings::default()).unwrap()),
        data: directory.join("worker"),
        slots: 2,
        keep: legwork_worker::Keep::default(),
        local: legwork_worker::LocalRepositories::Any,
        mounts: Vec::new(),
        images: images_of(directory, owner),
        toolchains: Toolchains { binds: Vec::new(), env: Vec::new() },
        network: legwork_worker::Network::default(),
        id: WorkerId::from_u128(u128::from(std::process::id())),
        task: None,
        labels: Vec::new(),
        remotes: remotes(legwork_worker::Reach::Any),
    }
}

/// What git on the host has.
fn remotes(reach: legwork_worker::Reach) -> legwork_worker::Remotes {
    legwork_worker::Remotes { env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())], reach }
}

/// The images of the world: what lies in `roots`, by its name.
fn images_of(directory: &Path, owner: (u32, u32)) -> legwork_image::Store {
    let mut settings = legwork_image::Settings::new(directory.join("images"), owner);
    for root in std::fs::read_dir(directory.join("roots")).into_iter().flatten().flatten() {
        let name = root.file_name().into_string().unwrap();
        settings.named.insert(name, legwork_image::Named::Path(root.path()));
    }
    legwork_image::Store::open(settings).unwrap()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self::without_worker().await;
        world.start_worker();
        world
    }

    pub(crate) async fn without_worker() -> Self {
        let directory =
            tempfile::Builder::new().prefix("world").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server_stop, server) = serve(listener, directory.path());
        let client = Client::new(&url, TOKEN).unwrap();
        Self { directory, client, url, shutdown: CancellationToken::new(), server_stop, server }
    }

    pub(crate) fn start_worker(&self) {
        self.start_worker_until(self.shutdown.clone());
    }

    /// A worker that is told to stop by `shutdown`.
    pub(crate) fn start_worker_until(
        &self,
        shutdown: CancellationToken,
    ) -> tokio::task::JoinHandle<Result<(), legwork_worker::Error>> {
        let config = worker_of(self.client.clone(), self.directory.path());
        tokio::spawn(legwork_worker::run(config, shutdown))
    }

    /// A worker on a machine of its own.
    pub(crate) fn start_worker_at(&self, name: &str) {
        let own = self.directory.path().join(name);
        let id = WorkerId::from_u128(u128::from(std::process::id()) << 32);
        let config = legwork_worker::Config { id, ..worker_of(self.client.clone(), &own) };
        tokio::spawn(legwork_worker::run(config, self.shutdown.clone()));
    }

    /// A worker that takes these repositories of its machine.
    pub(crate) fn start_worker_of(&self, local: legwork_worker::LocalRepositories) {
        let config =
            legwork_worker::Config { local, ..worker_of(self.client.clone(), self.directory.path()) };
        tokio::spawn(legwork_worker::run(config, self.shutdown.clone()));
    }

    /// A worker that fetches from where these names are, if they are public or opened.
    pub(crate) fn start_worker_reaching(
        &self,
        resolver: Arc<dyn legwork_egress::Resolver>,
        opened: legwork_egress::Opened,
    ) {
        let config = legwork_worker::Config {
            network: legwork_worker::Network { resolver, ..legwork_worker::Network::default() },
            remotes: remotes(legwork_worker::Reach::Public(opened)),
            ..worker_of(self.client.clone(), self.directory.path())
        };
        tokio::spawn(legwork_worker::run(config, self.shutdown.clone()));
    }

    /// A worker with this network.
    pub(crate) fn start_worker_on(&self, network: legwork_worker::Network) {
        let config =
            legwork_worker::Config { network, ..worker_of(self.client.clone(), self.directory.path()) };
        tokio::spawn(legwork_worker::run(config, self.shutdown.clone()));
    }

    /// The same, with the toolchains of whoever runs the tests.
    pub(crate) fn start_worker_with_toolchains(&self, network: legwork_worker::Network) {
        let (home, path) = (std::env::var_os("HOME").unwrap(), std::env::var("PATH").unwrap());
        let toolchains = legwork_sandbox::toolchains(Path::new(&home), &path);
        let config = legwork_worker::Config {
            network,
            toolchains,
            ..worker_of(self.client.clone(), self.directory.path())
        };
        tokio::spawn(legwork_worker::run(config, self.shutdown.clone()));
    }

    /// Stops the server for so long and starts it again at the same place.
    pub(crate) async fn server_is_away(&mut self, time: std::time::Duration) {
        self.server_stop.cancel();
        (&mut self.server).await.unwrap();
        tokio::time::sleep(time).await;
        let address = self.url.trim_start_matches("http://");
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        (self.server_stop, self.server) = serve(listener, self.directory.path());
    }

    /// The same in a process of its own, which can be killed.
    pub(crate) fn start_process(&self) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_worker_of_its_own", "--nocapture"])
            .env(PROCESS, format!("{} {}", self.url, self.directory.path().display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Process { child }
    }

    /// Makes every lease lapse, as it does some time after its worker died.
    pub(crate) async fn leases_lapse(&self) {
        let store = Store::open(&self.directory.path().join("server/legwork.db")).await.unwrap();
        let expired = store.expire(now().plus_ms(60_000)).await.unwrap();
        assert!(!expired.is_empty(), "a lease was there");
        store.close().await;
    }

    /// A repository with one commit of these files.
    pub(crate) fn repository(&self, files: &[(&str, &str)]) -> Repository {
        let path = self.directory.path().join("repository");
        std::fs::create_dir(&path).unwrap();
        let repository = Repository { path };
        repository.git(&["init", "-q", "-b", "main"]);
        for (name, contents) in files {
            repository.write(name, contents);
        }
        repository.commit("one");
        repository
    }

    /// Keeps a team's recipe for the repository, with values for its secrets.
    pub(crate) async fn keep(
        &self,
        repository: &Repository,
        recipe: Environment,
        secrets: &[(&str, &str)],
    ) -> EnvironmentId {
        let url = repository.path.to_str().unwrap().to_owned();
        let record = self.client.create_repository(&RepositoryDraft { url }).await.unwrap();
        let draft = EnvironmentDraft { name: "main".into(), recipe, audience: Audience::Team };
        let environment = self.client.create_environment(record.id, &draft).await.unwrap().id;
        for (name, value) in secrets {
            let value = SecretDraft { value: (*value).into() };
            self.client.put_secret(environment, name, &value).await.unwrap();
        }
        environment
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&self, task: &NewTask) -> Run {
        let view = self.client.create_task(task, &format!("{:?}", task.prompt)).await.unwrap();
        self.follow(&view).await
    }

    /// Reads a task's log to its end.
    pub(crate) async fn follow(&self, view: &TaskView) -> Run {
        let events = self.client.events(view.attempts[0].attempt.id, 0);
        let events: Vec<Event> = events.map(Result::unwrap).collect().await;
        let ended = events.iter().rev().find_map(|event| match &event.kind {
            EventKind::State { state: State::Finished(ended), .. } => Some(ended.as_ref().clone()),
            _ => None,
        });
        let ended = ended.expect("the turn has an end");
        let patch = match &ended.patch {
            Some(patch) => self.client.blob(&patch.blob).await.unwrap().to_vec(),
            None => Vec::new(),
        };
        Run { events, ended, patch }
    }

    /// Writes a script that runs commands one after the other and says `Done.`; gives the model's name.
    pub(crate) fn model(&self, commands: &[&str]) -> String {
        let mut script = String::new();
        for command in commands {
            let command = serde_json::to_string(command).unwrap();
            script.push_str(&format!(
                "[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = {command}, yield_time_ms = 20000 }} }}]\n"
            ));
        }
        script.push_str("[[turn]]\ntext = \"Done.\"\n");
        self.script(&script)
    }

    pub(crate) fn script(&self, script: &str) -> String {
        let path = self.directory.path().join("script.toml");
        std::fs::write(&path, script).unwrap();
        format!("scripted/{}", path.display())
    }

    pub(crate) fn task(&self, repository: &Repository, model: String) -> NewTask {
        let source = Source {
            repository: repository.path.to_str().unwrap().into(),
            base: None,
            local_changes: LocalChanges::Leave,
        };
        NewTask::new("Do it.".into(), source, model)
    }
}

pub(crate) fn check(command: &str) -> Check {
    Check::new("test", command)
}

/// What a task did.
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    pub(crate) ended: Ended,
    pub(crate) patch: Vec<u8>,
}

impl Run {
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::ItemCompleted { item } => Some(item),
            _ => None,
        })
    }

    pub(crate) fn outputs(&self, phase: Phase) -> Vec<(Option<i32>, String)> {
        let command = |item: &Item| match &item.body {
            ItemBody::Command(run) if run.phase == phase => Some((run.exit_code, run.output.clone())),
            _ => None,
        };
        self.items().filter_map(command).collect()
    }

    /// The agent's commands: line, exit code, output.
    pub(crate) fn commands(&self) -> Vec<(String, Option<i32>, String)> {
        let command = |item: &Item| match &item.body {
            ItemBody::Command(run) if run.phase == Phase::Agent => {
                Some((run.command.clone(), run.exit_code, run.output.clone()))
            }
            _ => None,
        };
        self.items().filter_map(command).collect()
    }

    pub(crate) fn output(&self) -> String {
        self.outputs(Phase::Agent).into_iter().map(|(_, output)| output).collect()
    }

    pub(crate) fn notices(&self) -> String {
        let notice = |item: &Item| match &item.body {
            ItemBody::Notice { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.items().filter_map(notice).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn base(&self) -> String {
        let base = |event: &Event| match &event.kind {
            EventKind::Base { commit, .. } => Some(commit.clone()),
            _ => None,
        };
        self.events.iter().find_map(base).unwrap()
    }
}

pub(crate) struct Repository {
    pub(crate) path: PathBuf,
}

impl Repository {
    /// Runs git as a user would, with an identity and no configuration of the machine.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.path, args)
    }

    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// A second clone at `commit` with the patch applied by plain `git apply`, work tree and index.
    pub(crate) fn applied(&self, commit: &str, patch: &[u8]) -> Repository {
        let path = self.path.with_extension("applied");
        let _ = std::fs::remove_dir_all(&path);
        git_in(&self.path, &["clone", "-q", "--no-checkout", ".", path.to_str().unwrap()]);
        let clone = Repository { path };
        clone.git(&["checkout", "-q", "--detach", commit]);
        std::fs::write(self.path.with_extension("patch"), patch).unwrap();
        clone.git(&["apply", "--index", "--binary", self.path.with_extension("patch").to_str().unwrap()]);
        clone
    }
}

pub(crate) fn git_in(path: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(path)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
