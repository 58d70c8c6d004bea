//! The worker's end of the zygote: ordering guests, and starting it anew if it is gone.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Error;
use crate::guest::MARK;
use crate::host::{SETUP_WAIT, Step, end, explain};
use crate::protocol::{self, Birth, REPLY_BYTES_MAX, Reply};

/// The process that guests are cloned from, whether it runs or not.
///
/// It is one guest ahead: new namespaces cost as much as all else that a sandbox needs, and the guest that waits for its
/// set-up in them has nothing yet that would differ from one sandbox to the next.
pub(super) struct Zygote {
    /// Held open: the guest of tomorrow is this program, whatever lies at its path by then.
    program: File,
    running: Option<Running>,
    birth: Birth,
    /// The socket of the guest that was ordered before anybody needs it.
    spare: Option<OwnedFd>,
}

/// It ends with this.
struct Running {
    process: Child,
    socket: OwnedFd,
}

impl Zygote {
    /// Starts it, so that the first sandbox does not wait for that. One that does not start is tried again then.
    pub(super) fn start(program: File, birth: Birth) -> Self {
        let running = Running::start(&program).ok();
        Self { program, running, birth, spare: None }
    }

    /// The worker's end of a new guest's socket. [`Self::born`] tells the guest's number.
    pub(super) fn order(&mut self) -> Result<OwnedFd, Error> {
        match self.spare.take() {
            Some(spare) if is_open(&spare) => Ok(spare),
            Some(killed) => {
                self.dismiss(killed);
                self.order_anew()
            }
            None => self.order_anew(),
        }
    }

    /// Orders the guest of the next sandbox. If that fails, the next sandbox orders its own and says why.
    pub(super) fn order_ahead(&mut self) {
        if self.spare.is_none() {
            self.spare = self.order_anew().ok();
        }
    }

    fn order_anew(&mut self) -> Result<OwnedFd, Error> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .step("make a socket pair")?;
        let mut frame = Vec::new();
        protocol::encode(&self.birth, REPLY_BYTES_MAX, &mut frame)
            .map_err(|error| Error::Protocol(error.to_string()))?;
        if let Some(running) = &self.running
            && running.send(&frame, &theirs).is_ok()
        {
            return Ok(ours);
        }
        // Somebody has killed it.
        self.running = None;
        let running = Running::start(&self.program)?;
        running.send(&frame, &theirs).step("order a guest")?;
        self.running = Some(running);
        Ok(ours)
    }

    /// Ends the guest of this socket, which was ordered last, and collects it.
    fn dismiss(&mut self, guest: OwnedFd) {
        drop(guest);
        if let Ok((_, init)) = self.born() {
            let _ = end(&init);
        }
    }

    /// Waits until the guest that was ordered last exists: its number, and itself, so that the number cannot be another's.
    pub(super) fn born(&mut self) -> Result<(i32, OwnedFd), Error> {
        let heard = self.running.as_ref().ok_or(Error::Gone).and_then(Running::hear);
        match heard {
            Ok(Reply::Cloned(pid)) => hold(pid),
            Ok(Reply::Failed(step, errno)) => Err(explain(step, errno)),
            other => {
                // Whatever it is up to, its answers no longer fit our orders.
                self.running = None;
                Err(other.err().unwrap_or_else(|| Error::Protocol("no answer to an order".to_owned())))
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.dismiss(spare);
        }
    }
}

/// Whether somebody holds the other end, or has left word why not.
fn is_open(socket: &OwnedFd) -> bool {
    !matches!(recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((0, _)))
}

/// Holds a process that is our child.
fn hold(pid: i32) -> Result<(i32, OwnedFd), Error> {
    let number = Pid::from_raw(pid).ok_or(Errno::INVAL).step("learn of the guest")?;
    Ok((pid, pidfd_open(number, PidfdFlags::empty()).step("learn of the guest")?))
}

impl Running {
    fn start(program: &File) -> Result<Self, Error> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .step("make a socket pair")?;
        set_socket_timeout(&socket, Timeout::Recv, Some(SETUP_WAIT)).step("make a socket pair")?;
        // Nothing else is set: so the standard library uses `posix_spawn`, which costs the same for a large worker.
        let process = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0(MARK)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .step("start the guests' zygote")?;
        Ok(Self { process, socket })
    }

    fn send(&self, frame: &[u8], guest: &OwnedFd) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let guest = [guest.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&guest));
        sendmsg(&self.socket, &[IoSlice::new(frame)], &mut ancillary, SendFlags::NOSIGNAL).map(|_| ())
    }

    fn hear(&self) -> Result<Reply, Error> {
        let mut bytes = vec![0; REPLY_BYTES_MAX];
        let (count, _) =
            recv(&self.socket, &mut bytes[..], RecvFlags::empty()).step("hear from the guests' zygote")?;
        let mut buffer = BytesMut::from(bytes.get(..count).unwrap_or_default());
        match protocol::decode(&mut buffer, REPLY_BYTES_MAX) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
                .step("hear from the guests' zygote"),
            Err(error) => Err(Error::Protocol(error.to_string())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
