//! Guests that somebody else starts, in containers: what such a container must show, and how a guest in it is met.
//!
//! Who starts it need not be trusted with more than that: the first process is met at a socket in the sandbox's own directory,
//! which is mounted into the container, and the kernel says which process it is. Nothing foreign has run by then.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::{UnixListener, UnixStream};

use super::launcher::{Berth, Launched, Order};
use super::machine::explain;
use super::{Step, text};
use crate::guest::CRADLE;
pub use crate::protocol::INSIDE;
use crate::protocol::{self, REPLY_BYTES_MAX, Reply};
use crate::{Access, Error};

/// The socket's name in the sandbox's directory.
const SOCKET: &str = "socket";

/// What the loader of this program needs of the host, where present: its libraries and itself.
const LOADER: [&str; 6] = ["/usr", "/nix/store", "/lib", "/lib32", "/lib64", "/libx32"];

/// A directory or file of the host that a container must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host.
    pub host: String,
    /// Absolute path in the container.
    pub inside: String,
    /// Whether it can be written there.
    pub access: Access,
}

/// A sandbox whose guest is to be started in a container, and the socket at which it will be met.
#[derive(Debug)]
pub struct Enclosure {
    listener: UnixListener,
    path: PathBuf,
    order: Order,
    berth: Berth,
}

impl Enclosure {
    /// The program that a container starts, alone, as process 1.
    pub const PROGRAM: &str = CRADLE;

    /// Opens the socket.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(berth: Berth) -> Result<Self, Error> {
        let path = berth.directory.join(SOCKET);
        // By the directory's descriptor: the name of a socket has 107 bytes, and the state directory may lie deep.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &berth.directory, flags, Mode::empty())
            .step(format!("open {}", berth.directory.display()))?;
        let short = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let listener = UnixListener::bind(short).step(format!("listen at {}", path.display()))?;
        // Only who can enter the state directory, or has it mounted, comes as far as this.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
            .step(format!("open {}", path.display()))?;
        let order = order(&berth);
        Ok(Self { listener, path, order, berth })
    }

    /// What the container must show, beside an empty root with [`INSIDE`]`/mount/root` in it. `guest` is this program.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn mounts(&self, guest: &Path) -> Result<Vec<Mount>, Error> {
        let shown =
            |host: &str, inside: String| Mount { host: host.to_owned(), inside, access: Access::Read };
        let own = Mount {
            host: text(&self.berth.directory)?,
            inside: format!("{INSIDE}/live"),
            access: Access::Write,
        };
        let mut mounts = vec![own, shown(&text(guest)?, CRADLE.to_owned())];
        // Links of merged systems are the image's.
        let loader = LOADER.iter().filter(|path| is_directory(path));
        mounts.extend(loader.map(|path| shown(path, (*path).to_owned())));
        let given = &self.berth.order.0;
        mounts.extend(given.lower.iter().enumerate().map(|(at, host)| shown(host, lower(at))));
        mounts.extend(given.binds.iter().enumerate().map(|(at, (host, _))| shown(host, bind(at))));
        Ok(mounts)
    }

    /// Links that the container's root must have, with where they lead: as this machine has them.
    #[must_use]
    pub fn links() -> Vec<(String, PathBuf)> {
        let link = |path: &&str| Some(((*path).to_owned(), std::fs::read_link(path).ok()?));
        LOADER.iter().filter_map(link).collect()
    }

    /// Waits for the first process and the guest, and gives the guest its order. Whoever calls it bounds the time.
    ///
    /// # Errors
    /// What the first process says, or a guest that cannot be seen from here.
    pub async fn meet(self) -> Result<Launched, Error> {
        let (lifeline, first) = self.accept().await?;
        // Whether the number is still that of who connected shows below: then the connection has not ended.
        let Ok(init) = pidfd_open(first, PidfdFlags::empty()) else { return Err(complaint(&lifeline).await) };
        self.berth.note_init(first.as_raw_nonzero().get());
        let (socket, guest) = tokio::select! {
            biased;
            error = complaint(&lifeline) => return Err(error),
            met = self.accept() => met?,
        };
        let socket = OwnedFd::from(socket.into_std().step("speak to the guest")?);
        rustix::io::ioctl_fionbio(&socket, false).step("speak to the guest")?;
        let order = self.order.clone();
        let told = move || order.tell(&socket).map(|()| socket);
        let socket = super::blocking(told).await?;
        let after = Box::new(move || drop(lifeline));
        Ok(Launched { init, guest: guest.as_raw_nonzero().get(), socket, after })
    }

    async fn accept(&self) -> Result<(UnixStream, Pid), Error> {
        let (stream, _) = self.listener.accept().await.step("hear from the container")?;
        let number = stream.peer_cred().step("learn who is in the container")?.pid();
        // 0 is a process that this namespace cannot see.
        match number.and_then(Pid::from_raw) {
            Some(pid) => Ok((stream, pid)),
            None => Err(Error::Unavailable {
                what: "sight of the container's processes".to_owned(),
                mend: "Run the worker in the process namespace of the engine (a worker in a container: --pid=host)"
                    .to_owned(),
            }),
        }
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // Nobody is met there any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Why there will be no guest.
async fn complaint(lifeline: &UnixStream) -> Error {
    let mut buffer = BytesMut::new();
    loop {
        match protocol::decode(&mut buffer, REPLY_BYTES_MAX) {
            Ok(Some(Reply::Failed(step, errno))) => return explain(step, errno),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Error::Protocol("no word of a first process".to_owned()),
        }
        let mut bytes = [0; 1024];
        let read = match lifeline.readable().await {
            Ok(()) => lifeline.try_read(&mut bytes),
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Error::Setup { step: "hear from the container".to_owned(), source };
            }
            Ok(count) => buffer.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(source) => return Error::Setup { step: "hear from the container".to_owned(), source },
        }
    }
}

/// The order with the paths that the container has.
fn order(berth: &Berth) -> Order {
    let mut setup = berth.order.0.clone();
    setup.upper = format!("{INSIDE}/live/upper");
    setup.work = format!("{INSIDE}/live/work");
    setup.root = format!("{INSIDE}/mount/root");
    setup.lower.iter_mut().enumerate().for_each(|(at, path)| *path = lower(at));
    setup.binds.iter_mut().enumerate().for_each(|(at, (host, _))| *host = bind(at));
    Order(setup)
}

fn lower(at: usize) -> String {
    format!("{INSIDE}/lower/{at}")
}

fn bind(at: usize) -> String {
    format!("{INSIDE}/binds/{at}")
}

fn is_directory(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// This program at a path that an engine can mount: a hard link in the state directory, or a copy where that cannot be. What
/// lies at the program's own path may be another by the time of the next sandbox, or closed to the user of containers.
///
/// # Errors
/// If neither can be made.
pub fn guest_of(program: &Path, state: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let program = program.canonicalize().step(format!("find {}", program.display()))?;
    let found = program.metadata().step(format!("look at {}", program.display()))?;
    let directory = state.join("guests");
    std::fs::create_dir_all(&directory).step(format!("make {}", directory.display()))?;
    let directory = directory.canonicalize().step(format!("find {}", directory.display()))?;
    let name = format!("{:x}-{:x}-{:x}-{:x}", found.dev(), found.ino(), found.mtime_nsec(), found.size());
    let place = directory.join(name);
    if place.is_file() {
        return Ok(place);
    }
    let is_open = found.permissions().mode() & 0o005 == 0o005;
    if is_open && std::fs::hard_link(&program, &place).is_ok() {
        return Ok(place);
    }
    let draft = place.with_extension(std::process::id().to_string());
    std::fs::copy(&program, &draft)
        .and_then(|_| std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&draft, &place))
        .step(format!("copy {} to {}", program.display(), place.display()))?;
    Ok(place)
}
