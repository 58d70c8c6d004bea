//! A Podman of the test's own: its service, images, containers and processes are in a temporary directory and in namespaces that
//! end with the test, also by a panic or a kill. Or an engine that runs already, if a variable names its socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;

/// Names the socket of an engine that is to be tried instead.
pub(crate) const OTHER: &str = "LEGWORK_TEST_ENGINE";

/// How long the service may take to listen, on a machine that builds beside it.
const START_WAIT: Duration = Duration::from_secs(60);

/// Starts the service as a child of process 1 of its namespaces, which collects what Podman leaves. `crun` does not work where
/// version 2 of control groups lies beside version 1, so there it does not see it. First a container of Podman's own making: where
/// it cannot have one either, there is nothing to try.
const START: &str = r#"
if [ -d /sys/fs/cgroup/memory ]; then umount /sys/fs/cgroup/unified 2>/dev/null; fi
set -- "$1" podman --root "$1/root" --runroot "$1/run" --tmpdir "$1/tmp" --storage-driver vfs --cgroup-manager cgroupfs --events-backend none
place=$1; shift
mkdir -p "$place/plain/usr"
for name in bin lib lib64; do ln -s "usr/$name" "$place/plain/$name"; done
"$@" run --rm --network none --ulimit host --memory 64m -v /usr:/usr:ro --rootfs "$place/plain" true || exit 3
"$@" system service -t 0 "unix://$place/socket" &
wait
"#;

/// What it ends with where Podman itself can have no container.
const NO_CONTAINERS: i32 = 3;

/// An engine that runs.
pub(crate) struct Engine {
    socket: PathBuf,
    /// What is the test's own, and ends with it.
    _own: Option<Own>,
}

struct Own {
    process: Child,
    place: tempfile::TempDir,
}

impl Engine {
    /// Starts one. `None`, with the reason on standard error, where none can be.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub(crate) fn start() -> Option<Self> {
        if let Some(socket) = std::env::var_os(OTHER) {
            return Some(Self { socket: socket.into(), _own: None });
        }
        match possible().and_then(|()| Own::start()) {
            Ok(own) => Some(Self { socket: own.socket(), _own: Some(own) }),
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                None
            }
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Own {
    /// Starts it; the reason, where there are no containers.
    fn start() -> Result<Self, String> {
        let place = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(place.path().join("log")).unwrap();
        let process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", START, "sh"])
            .arg(place.path())
            .env("CONTAINERS_CONF", "/dev/null")
            // `conmon` notes there that a container was out of memory.
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut own = Self { process, place };
        own.wait()?;
        Ok(own)
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    fn wait(&mut self) -> Result<(), String> {
        let until = Instant::now() + START_WAIT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let log = || std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default();
            let ended = self.process.try_wait().unwrap();
            if ended.and_then(|status| status.code()) == Some(NO_CONTAINERS) {
                return Err(format!("Podman itself can have no container here: {}", log()));
            }
            assert!(ended.is_none(), "podman ended with {ended:?}: {}", log());
            assert!(Instant::now() < until, "podman does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether containers can be had here, or why not.
fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root, as which Podman needs nothing set up".to_owned());
    }
    if Command::new("podman").arg("--version").output().is_err() {
        return Err("no podman: apt-get install podman crun".to_owned());
    }
    let kernel = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--mount-proc"])
        .args(["sh", "-c", "mount -t tmpfs none /mnt"])
        .output()
        .map_err(|error| format!("no unshare: {error}"))?;
    if !kernel.status.success() {
        let said = String::from_utf8_lossy(&kernel.stderr);
        return Err(format!(
            "this machine, itself a container perhaps, allows no containers: {}",
            said.trim()
        ));
    }
    let groups =
        ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].into_iter().find(|path| Path::new(path).exists());
    let flags = groups.and_then(|path| rustix::fs::statvfs(path).ok()).map(|found| found.f_flag);
    match flags {
        Some(flags) if !flags.contains(StatVfsMountFlags::RDONLY) => Ok(()),
        _ => Err("this machine, itself a container perhaps, lets nobody make control groups".to_owned()),
    }
}
