//! A Postgres for tests, from the binaries that the machine has.
//!
//! nextest runs each test in a process of its own, and a cluster takes seconds to make: so all tests of a checkout share
//! one. The first that needs it starts a keeper (this test binary once more), which owns the cluster. Every test holds a
//! shared lock while it lives, also if it is killed; once nobody held it for a while, the keeper takes the cluster down.
//! If the keeper is killed, the kernel ends Postgres.
//!
//! Each [`Database`] is new and empty. With `TEST_DATABASE_URL` they are made on that server instead.
//!
//! Needs nothing but std, so that other crates' tests can include this file by `#[path]`.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Set for the keeper, to the folder of what the tests share.
const KEEPER: &str = "LEGWORK_TEST_POSTGRES_KEEPER";
/// What the keeper says when the cluster takes connections.
const READY: &str = "postgres is ready";
/// How long a cluster that nobody uses stays: longer than nextest takes from one test to the next.
const GRACE: Duration = Duration::from_secs(5);
/// `nobody`, on every Linux: Postgres refuses to run as root.
const NOBODY: u32 = 65_534;

/// A new, empty database; dropped with this.
pub(crate) struct Database {
    name: String,
    server: Server,
    schemas: AtomicU32,
}

/// Where databases are made.
enum Server {
    /// The one that `TEST_DATABASE_URL` names.
    Given(String),
    /// The shared cluster, in use as long as the lock is held.
    Shared { folder: PathBuf, _lock: File },
}

impl Database {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let server = env::var("TEST_DATABASE_URL").map_or_else(|_| shared(), Server::Given);
        let database = Self { name, server, schemas: AtomicU32::new(0) };
        database.admin(&format!("DROP DATABASE IF EXISTS {}", database.name));
        database.admin(&format!("CREATE DATABASE {}", database.name));
        database
    }

    pub(crate) fn url(&self) -> String {
        match &self.server {
            Server::Given(url) => {
                let (server, rest) = url.split_at(url.rfind('/').unwrap());
                let parameters = rest.find('?').map_or("", |start| &rest[start..]);
                format!("{server}/{}{parameters}", self.name)
            }
            Server::Shared { folder, .. } => socket_url(folder, &self.name),
        }
    }

    /// A further empty place in this database, made in a fraction of the time that a database takes.
    pub(crate) fn schema_url(&self) -> String {
        let name = format!("schema_{}", self.schemas.fetch_add(1, Ordering::Relaxed));
        let url = self.url();
        sql(&url, &format!("CREATE SCHEMA {name}"));
        let sign = if url.contains('?') { '&' } else { '?' };
        format!("{url}{sign}options=-c%20search_path%3D{name}")
    }

    fn admin(&self, statement: &str) {
        let url = match &self.server {
            Server::Given(url) => url.clone(),
            Server::Shared { folder, .. } => socket_url(folder, "postgres"),
        };
        sql(&url, statement);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// Runs a statement outside of what is tested.
pub(crate) fn sql(url: &str, statement: &str) -> String {
    let done = psql(url).args(["--command", statement]).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// One of Postgres's own client programs.
pub(crate) fn client(name: &str) -> Command {
    Command::new(binaries().join(name))
}

pub(crate) fn psql(url: &str) -> Command {
    let mut psql = client("psql");
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url]);
    psql.env("PGOPTIONS", "-c client_min_messages=warning");
    psql
}

fn socket_url(folder: &Path, database: &str) -> String {
    let folder = folder.to_str().unwrap().replace('/', "%2F");
    format!("postgres://postgres@localhost/{database}?host={folder}")
}

/// A cluster of its own for a test that stops it, and what the keeper keeps.
pub(crate) struct Cluster {
    folder: PathBuf,
    server: Option<Child>,
}

impl Cluster {
    /// A running one below the folder for temporary files.
    pub(crate) fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("legwork-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut cluster = Self { folder, server: None };
        // Words that no program of ours may depend on, so not in byte order.
        let made = cluster
            .command("initdb")
            .args(["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--lc-messages=C"])
            .args(["--locale-provider=icu", "--icu-locale=en", "--pgdata=data"])
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        cluster.start();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        socket_url(&self.folder, "postgres")
    }

    /// Starts it and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let mut server = self
            .command("setpriv")
            .args(["--pdeathsig=INT", "--"])
            .arg(binaries().join("postgres"))
            .args(["-D", "data", "-k", "..", "-c", "listen_addresses=", "-c", "max_connections=200"])
            // Killed processes lose nothing by it; the machine's power is not what is tested.
            .args(["-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let ready = lines.by_ref().any(|line| {
            writeln!(log, "{line}").unwrap();
            line.ends_with("database system is ready to accept connections")
        });
        assert!(ready, "Postgres does not start; see {}", self.folder.join("log").display());
        thread::spawn(move || lines.for_each(|line| drop(writeln!(log, "{line}"))));
        self.server = Some(server);
    }

    /// As a crash: connections break, nothing is written down, the next start recovers.
    pub(crate) fn stop_at_once(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let stopped =
            self.command("pg_ctl").args(["stop", "--pgdata=data", "--mode=immediate", "--silent"]).status();
        assert!(stopped.unwrap().success());
        server.wait().unwrap();
    }

    /// As a machine that hangs: nothing answers, and no connection breaks.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let server = self.server.as_ref().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let processes = children.split_whitespace().map(str::to_owned).chain([server.to_string()]);
        assert!(Command::new("kill").arg(signal).args(processes).status().unwrap().success());
    }

    /// A program of Postgres in the cluster's folder, by the user who may run it.
    fn command(&self, program: &str) -> Command {
        let own = binaries().join(program);
        let mut command =
            Command::new(if own.exists() { own.into_os_string() } else { OsString::from(program) });
        command.current_dir(&self.folder).stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Where `initdb`, `postgres` and `psql` are: on PATH, else Debian's newest.
fn binaries() -> PathBuf {
    let on_path = env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = env::split_paths(&on_path).find(|folder| folder.join("initdb").exists()) {
        return fs::canonicalize(folder.join("initdb")).unwrap().parent().unwrap().to_owned();
    }
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.max_by_key(number).map(|version| version.join("bin"));
    let newest = newest.filter(|folder| folder.join("initdb").exists());
    assert!(
        newest.is_some(),
        "No Postgres server is installed. Install it (Debian: apt-get install postgresql), or name one with \
         TEST_DATABASE_URL."
    );
    newest.unwrap()
}

/// The shared cluster, started if nobody has.
fn shared() -> Server {
    let folder = shared_folder();
    fs::create_dir_all(&folder).unwrap();
    let open = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
    let users = open("users");
    users.lock_shared().unwrap();
    let starting = open("starting");
    starting.lock().unwrap();
    let keeper = open("keeper");
    if keeper.try_lock().is_ok() {
        keeper.unlock().unwrap();
        start_keeper(&folder);
    }
    let cluster = fs::read_to_string(folder.join("cluster")).unwrap().into();
    Server::Shared { folder: cluster, _lock: users }
}

/// One for each checkout and user. Below the folder for temporary files, where also `nobody` can go.
fn shared_folder() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_TARGET_TMPDIR"), is_root()).hash(&mut hasher);
    env::temp_dir().join(format!("legwork-postgres-{:016x}", hasher.finish()))
}

fn start_keeper(folder: &Path) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut keeper = Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::keeper"), "--exact", "--nocapture"])
        .env(KEEPER, folder)
        // Outlives the test and its process group.
        .process_group(0)
        .stdin(Stdio::null())
        // The harness writes now and then, and a pipe that nobody reads any more would end it.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(keeper.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said.push(line);
        if said.last().is_some_and(|line| line == READY) {
            break;
        }
    }
    assert!(said.last().is_some_and(|line| line == READY), "Postgres did not start: {}", said.join("\n"));
    thread::spawn(move || keeper.wait());
}

/// Not a test by itself: does nothing unless a test started it.
#[test]
fn keeper() {
    let Some(folder) = env::var_os(KEEPER).map(PathBuf::from) else { return };
    let open = |name: &str| File::options().append(true).open(folder.join(name)).unwrap();
    let keeper = open("keeper");
    keeper.lock().unwrap();
    if let Ok(left) = fs::read_to_string(folder.join("cluster")) {
        // Of a keeper that was killed.
        let _ = fs::remove_dir_all(left);
    }
    let cluster = Cluster::new("postgres");
    fs::write(folder.join("cluster"), cluster.folder.to_str().unwrap()).unwrap();
    writeln!(std::io::stderr(), "{READY}").unwrap();
    let users = open("users");
    loop {
        users.lock().unwrap();
        users.unlock().unwrap();
        thread::sleep(GRACE);
        // Who comes from now on waits, and then finds no keeper.
        if users.try_lock().is_ok() {
            drop(cluster);
            // First, and by hand: the end of a process frees its locks in any order.
            keeper.unlock().unwrap();
            process::exit(0);
        }
    }
}
