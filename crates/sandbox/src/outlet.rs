//! The one way out of a sandbox: doors on its own loopback, behind which stands whoever holds the [`Outlet`].
//!
//! A sandbox has no route. What its programs open towards the outside is handed to the holder as a stream, and what becomes
//! of it is the holder's to decide: the room knows neither policy nor protocol. A backend of another kind (a container, a
//! machine with a kernel of its own) has only to bring such streams.

use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::CommandId;

/// Where programs that know proxies find one: a port that nothing inside may take, for it is below 1024.
pub const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 801);

/// What the kernel has counted in the sandbox's own network (`proc_pid_net(5)`), for IPv4 and for IPv6: among it, what had no
/// route. Nothing inside can change it.
pub const COUNTERS: [&str; 2] = ["/proc/1/net/snmp", "/proc/1/net/snmp6"];

/// Where programs that ask for names do so.
pub const NAMES: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// An address with nothing but doors: ports 443 and 80 of it are for programs that know no proxy.
pub const DIRECT: Ipv4Addr = Ipv4Addr::new(127, 80, 80, 80);

/// Whether a sandbox has a way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doors {
    /// None: loopback only, and nobody answers there.
    #[default]
    Closed,
    /// [`Sandbox::outlet`](crate::Sandbox::outlet) gives it.
    Open,
}

/// What comes out of one sandbox. It ends with the sandbox.
#[derive(Debug)]
pub struct Outlet {
    /// Connections, in the order in which they were made. Who takes none keeps the programs waiting.
    pub connections: mpsc::Receiver<Connection>,
    /// Questions for names that came as datagrams.
    pub queries: mpsc::Receiver<Query>,
}

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that a program inside has made.
pub struct Connection {
    /// Which door it came to.
    pub door: Door,
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// Who made it, as far as that could be seen.
    pub caller: Option<Caller>,
}

/// Without its bytes.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { door, caller, stream: _ } = self;
        f.debug_struct("Connection").field("door", door).field("caller", caller).finish_non_exhaustive()
    }
}

/// A question for a name. Without an answer the program waits for its own time.
#[derive(Debug)]
pub struct Query {
    /// A DNS message (RFC 1035), of at most 512 bytes.
    pub message: Bytes,
    /// For the answer.
    pub answer: oneshot::Sender<Bytes>,
    /// Who asks.
    pub caller: Option<Caller>,
}

/// Which door of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// [`PROXY`].
    Proxy,
    /// [`NAMES`], by TCP.
    Names,
    /// Port 443 of [`DIRECT`].
    Https,
    /// Port 80 of [`DIRECT`].
    Http,
}

/// A program inside. It says of itself what it likes: for people to read, never to decide by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its name, at most 15 bytes as the kernel keeps it.
    pub process: String,
    /// Its arguments, separated by spaces, at most 500 bytes, without control characters.
    pub command_line: String,
    /// The command that it belongs to. It may have ended; `None` where it could not be seen. A program that has left its
    /// command's session and outlived the command has a number that no command has.
    pub command: Option<CommandId>,
}
