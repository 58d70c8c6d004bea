//! The server as a process of its own, this program once more, and what the kernel says of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use legwork_client::Client;
use legwork_server::Config;
use tokio_util::sync::CancellationToken;

use crate::Failed;

const SERVE: &str = "--serve";
const TOKEN: &str = "token";
/// Ticks of the kernel's clock for processor time, the same on every Linux that matters.
const TICK_MS: u64 = 10;
/// Longer than anything here takes: leases end when the benchmark says so.
const LEASE: Duration = Duration::from_secs(600);

pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) data: PathBuf,
    child: Child,
}

/// Serves, if this process was started for it.
pub(crate) async fn is_server() -> Result<bool, Failed> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(SERVE) {
        return Ok(false);
    }
    let (Some(address), Some(data)) = (arguments.next(), arguments.next()) else {
        return Err("an address and a directory".into());
    };
    let listener = tokio::net::TcpListener::bind(address.parse::<SocketAddr>()?).await?;
    // All tasks are of one person here.
    let user_queue_max = u32::MAX;
    let config = Config { lease: LEASE, user_queue_max, ..Config::new(data.into(), TOKEN.to_owned()) };
    legwork_server::serve(listener, config, CancellationToken::new()).await?;
    Ok(true)
}

impl Process {
    pub(crate) async fn start(data: &Path) -> Result<Self, Failed> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = std::env::current_exe()?;
        let child = Command::new(program).args([SERVE, &address.to_string()]).arg(data).spawn()?;
        let client = Client::new(&format!("http://{address}"), TOKEN)?;
        while client.tasks(&legwork_domain::TaskQuery::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { client, data: data.to_owned(), child })
    }

    /// Resident memory.
    pub(crate) fn memory_mib(&self) -> Result<f64, Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Processor time so far.
    pub(crate) fn processor(&self) -> Result<Duration, Failed> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name, which may hold blanks: state is the first, user and system time the 12th and 13th.
        let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
        let mut fields = rest.split(' ').skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or("no times");
        Ok(Duration::from_millis((ticks()? + ticks()?) * TICK_MS))
    }

    /// Bytes that the server had written to the disk.
    pub(crate) fn written(&self) -> Result<u64, Failed> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("no wchar")?;
        Ok(line.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The benchmark is over either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
