//! Servers that are processes of their own, so that they can be killed: this test binary once more.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use legwork_client::Client;
use legwork_server::Config;
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::world::TOKEN;

/// Set for such a server: address, data directory and database, one a line.
const PLACE: &str = "LEGWORK_TEST_SERVER";

/// A lease that lapses within a test.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// A server that dies and comes back at the same address.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    data: PathBuf,
    database: Option<String>,
    child: Child,
}

impl Process {
    pub(crate) fn start(data: &Path, database: Option<&str>) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (data, database) = (data.to_owned(), database.map(str::to_owned));
        let child = spawn(address, &data, database.as_deref());
        Self { address, data, database, child }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address), TOKEN).unwrap()
    }

    /// The sudden death, and a new one at once.
    pub(crate) fn killed_and_started(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.address, &self.data, self.database.as_deref());
    }

    /// Frozen in the middle of whatever it does, or thawed.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr, data: &Path, database: Option<&str>) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    let place = format!("{address}\n{}\n{}", data.display(), database.unwrap_or_default());
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::be_a_server"), "--exact", "--nocapture"])
        .env(PLACE, place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: does nothing unless a test started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn be_a_server() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let mut lines = place.lines();
    let address: SocketAddr = lines.next().unwrap().parse().unwrap();
    let data = lines.next().unwrap().into();
    let database = lines.next().filter(|url| !url.is_empty()).map(str::to_owned);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let config = Config { database, lease: LEASE, ..Config::new(data, TOKEN.into()) };
    legwork_server::serve(listener, config, CancellationToken::new()).await.unwrap();
}
