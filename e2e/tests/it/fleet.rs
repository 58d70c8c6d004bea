//! Servers and workers that die and come back, each at its own address.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::postgres::Cluster;
use crate::service::free_port;
use crate::world::World;

/// A program that dies and is started again.
pub(crate) struct Part {
    start: Box<dyn Fn() -> Child>,
    child: Child,
}

impl Part {
    fn new(start: impl Fn() -> Child + 'static) -> Self {
        Self { child: start(), start: Box::new(start) }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn killed_and_started(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = (self.start)();
    }

    /// Frozen for so long: to all others as good as dead, and then back.
    pub(crate) fn frozen(&self, time: Duration) {
        self.signal(Signal::STOP);
        thread::sleep(time);
        self.signal(Signal::CONT);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers on one database, and workers that are spread over them; all of one data directory.
pub(crate) struct Fleet {
    // Dropped before the database.
    pub(crate) servers: Vec<Part>,
    pub(crate) workers: Vec<Part>,
    pub(crate) database: Option<Cluster>,
    pub(crate) urls: Vec<String>,
    pub(crate) token: String,
    log: PathBuf,
}

/// Tells how a fleet stands if its story has not ended in time.
pub(crate) struct Watchdog {
    // Its end is what the thread waits for.
    _story: Sender<()>,
}

impl Fleet {
    /// One server on a file, and two workers.
    pub(crate) fn on_a_file(world: &World, lease: Duration) -> Self {
        Self::start(world, lease, None, (1, 2))
    }

    /// One server on a file, and one worker.
    pub(crate) fn of_one_worker(world: &World, lease: Duration) -> Self {
        Self::start(world, lease, None, (1, 1))
    }

    /// Two servers on a Postgres, and three workers.
    pub(crate) fn on_postgres(world: &World, lease: Duration) -> Self {
        Self::start(world, lease, Some(Cluster::new("killed")), (2, 3))
    }

    fn start(
        world: &World,
        lease: Duration,
        database: Option<Cluster>,
        (servers, workers): (usize, usize),
    ) -> Self {
        let settings = world.path("home/.config/legwork");
        std::fs::create_dir_all(&settings).unwrap();
        let lease = format!("[server]\nlease = \"{}s\"\n", lease.as_secs());
        std::fs::write(settings.join("config.toml"), lease).unwrap();
        world.allows_local_repositories(world);
        let listens: Vec<_> = (0..servers).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let urls: Vec<_> = listens.iter().map(|listen| format!("http://{listen}")).collect();
        let template = Template {
            program: world.legwork().get_program().into(),
            home: world.path("home"),
            database: database.as_ref().map(Cluster::url),
        };
        let server = |listen: String| {
            let template = template.clone();
            Part::new(move || template.start(&["server", "--listen", &listen], ""))
        };
        let servers = listens.into_iter().map(server).collect();
        while std::fs::read(world.path("home/data/server.json")).map_or(0, |text| text.len()) == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        // Those of the data directory open one server alone.
        let token = |arguments: &[&str]| {
            let said = world.legwork_says(&[&["token", "new"], arguments].concat());
            said.exits(0).stdout.trim().to_owned()
        };
        let (token, worker_token) = (token(&["watcher"]), token(&["rack", "--worker"]));
        let worker = |n: usize| {
            let (template, url, token) =
                (template.clone(), urls[n % urls.len()].clone(), worker_token.clone());
            Part::new(move || template.start(&["worker", "--server", &url, "--slots", "2"], &token))
        };
        Self {
            workers: (0..workers).map(worker).collect(),
            servers,
            database,
            urls,
            token,
            log: world.path("home/fleet.log"),
        }
    }

    /// Waits until every server takes work again.
    pub(crate) fn recovers(&self) {
        for url in &self.urls {
            let ready = || {
                Command::new("curl")
                    .args(["-sf", "-m5", "-o/dev/null"])
                    .arg(format!("{url}/v1/ready"))
                    .status()
            };
            while !ready().unwrap().success() {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Says what the fleet logged and whether it is ready, if the story takes longer than this.
    pub(crate) fn watchdog(&self, patience: Duration) -> Watchdog {
        let (log, urls) = (self.log.clone(), self.urls.clone());
        let (story, ended) = mpsc::channel();
        thread::spawn(move || {
            if ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let mut stderr = std::io::stderr();
            for url in urls {
                let asked =
                    Command::new("curl").args(["-s", "-m5", "-i"]).arg(format!("{url}/v1/ready")).output();
                let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                let _ = writeln!(stderr, "-- {url} says {said:?}");
            }
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let _ = writeln!(
                stderr,
                "-- the end of the log\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        });
        Watchdog { _story: story }
    }

    /// What the command line needs to find what is kept.
    pub(crate) fn database_arguments(&self) -> Vec<String> {
        self.database.iter().flat_map(|cluster| ["--database".to_owned(), cluster.url()]).collect()
    }
}

/// How a program of the world is started, without the world.
#[derive(Clone)]
struct Template {
    program: std::path::PathBuf,
    home: std::path::PathBuf,
    database: Option<String>,
}

impl Template {
    /// What all of them say, for who has to find out why a story failed.
    fn log(&self) -> std::fs::File {
        let path = self.home.join("fleet.log");
        std::fs::File::options().create(true).append(true).open(path).unwrap()
    }

    fn start(&self, arguments: &[&str], token: &str) -> Child {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("LEGWORK_HOME", self.home.join("data"))
            .env("LEGWORK_WORKER_TOKEN", token)
            .envs(self.database.iter().map(|url| ("LEGWORK_DATABASE", url)))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log());
        command.spawn().unwrap()
    }
}
