//! An isolated machine for code that nobody trusts.
//!
//! A [`Backend`] makes [`Sandbox`]es from a [`Spec`]: layers of files below, one writable layer on top, no network but
//! loopback and an [`Outlet`] that somebody outside holds, nothing of the host but what the spec shows. Inside runs one small *guest* (this same executable, started
//! anew) that serves commands and file access over a framed protocol, so that a command costs a fork and an exec, not a
//! machine. The room knows nothing of tasks, agents, models or git.

pub mod conformance;
#[doc(hidden)]
pub mod fuzz;
pub mod guest;
pub mod host;
pub mod local;
mod outlet;
mod probe;
mod protocol;
mod spec;
mod toolchains;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

pub use outlet::{COUNTERS, Caller, Connection, DIRECT, Door, Doors, NAMES, Outlet, PROXY, Query, Stream};
pub use probe::{PRIVILEGES, Probe, Status, probe};
pub use spec::{
    Access, Bind, IMAGE_TREES_MAX, IfLost, Image, LAYERS_MAX, Layer, Limits, PATH, Spec, WORKSPACE,
};
pub use toolchains::{Toolchains, toolchains};

/// Makes sandboxes.
///
/// Life cycle: `reap` once at start, then any number of `create`, at the same time too.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A short name for logs and `doctor`: `local`, `docker`.
    fn name(&self) -> &'static str;

    /// Makes a sandbox that is ready for its first command. On an error nothing of it is left.
    async fn create(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, Error>;

    /// Removes what sandboxes of dead workers left behind, but for the files that are to be kept, and gives their number.
    /// Safe beside live workers.
    async fn reap(&self) -> Result<usize, Error>;

    /// The writable layer of a sandbox that is somebody else's or was: of a dead worker, or of one that has lost its right
    /// to it, which then loses the sandbox. Ends every process in it and costs the same whatever its size. A sandbox that
    /// was frozen already gives its layer again, also where its holder has divided the directory meanwhile. `None`:
    /// nothing of that name is here.
    ///
    /// The caller vouches that nobody else has a right to the sandbox. A name that was used twice may give either.
    async fn salvage(&self, name: &str) -> Result<Option<Layer>, Error>;

    /// One layer that shows what these show, the lowest first, above whatever lies below them. They stay as they are.
    /// Nothing of them is run; what they hold is not copied, so it takes as long as there are files in them: some tens of
    /// microseconds each. An error, a crash and a caller that goes away leave no layer.
    ///
    /// [`Error::Setup`] if they hold more than four million entries, or lie deeper than a path goes.
    async fn merge(&self, layers: &[Layer]) -> Result<Layer, Error>;

    /// Removes a layer that nothing needs any more. Sandboxes that stand on it keep working; one that is gone already is
    /// no error.
    async fn discard(&self, layer: Layer) -> Result<(), Error>;
}

/// A live isolated machine.
///
/// Every method may be called at any time and at the same time as others. After `snapshot`, `destroy` or the death of
/// the machine each fails with [`Error::Gone`]; `destroy` succeeds again. Dropping the last handle destroys.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Starts a command. It ends when it exits, is killed, times out, or the [`Process`] is dropped (then its whole
    /// process group is killed).
    async fn exec(&self, command: Command) -> Result<Process, Error>;

    /// Reads a regular file without following a link in any part of `path`. More than `bytes_max` is an error. Of `/proc` it
    /// reads [`COUNTERS`] alone.
    async fn read(&self, path: &Path, bytes_max: u64) -> Result<File, Error>;

    /// Writes a whole file through a temporary one beside it; parents are made. Keeps the mode of a file that exists
    /// if `mode` is `None`. Follows no link: a link at `path` is replaced, one in a parent is refused.
    async fn write(&self, path: &Path, contents: &[u8], mode: Option<u32>) -> Result<(), Error>;

    /// Removes a file or link, not a directory.
    async fn remove(&self, path: &Path) -> Result<(), Error>;

    /// The way out. The first call takes it; `None` afterwards, and where [`Spec::doors`] are closed.
    fn outlet(&self) -> Option<Outlet>;

    /// Ends every process, freezes the writable layer and closes the sandbox. Costs the same whatever its size.
    async fn snapshot(&self) -> Result<Layer, Error>;

    /// Ends every process and gives up the writable layer: once this returns, nothing runs and its name is free. The
    /// files, however many, are removed beside the caller, or by the next `reap` if this process ends before.
    async fn destroy(&self) -> Result<(), Error>;
}

/// A file as [`Sandbox::read`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub contents: Bytes,
    /// Permission bits.
    pub mode: u32,
}

/// A command to run inside.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Program and arguments; the program is looked up on the inside's `PATH`.
    pub argv: Vec<String>,
    /// Absolute; created by nobody, so it must exist.
    pub workdir: String,
    /// Added to the spec's variables.
    pub env: Vec<(String, String)>,
    /// A terminal of this size instead of pipes.
    pub terminal: Option<Terminal>,
    /// Kept open for [`Process::write`]; otherwise standard input is empty.
    pub stdin: Stdin,
    /// The process group is killed after this time.
    pub timeout_ms: Option<u64>,
    /// Bytes of output that are passed on; what is above is counted, the head half and the tail half are kept.
    pub output_bytes_max: u64,
}

/// What a command's standard input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// At its end from the start.
    #[default]
    Empty,
    /// Open until [`Process::close_stdin`].
    Open,
}

/// The size of a pseudo-terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// One command of a sandbox: the number of its first process inside, which its session bears too. While anything of the session
/// is left, no other command has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(pub u32);

/// A running command: what it says, and the ways to speak to it.
///
/// `next` yields [`Output`] in order of arrival and ends after [`Output::Exited`]. A reader that is slow slows the
/// command, never the memory.
#[derive(Debug)]
pub struct Process {
    id: Option<CommandId>,
    /// From the backend.
    output: mpsc::Receiver<Output>,
    /// To the backend; it ends the command when this is dropped.
    control: mpsc::Sender<Control>,
}

impl Process {
    /// For backends: the two ends of a command.
    #[must_use]
    pub fn new(output: mpsc::Receiver<Output>, control: mpsc::Sender<Control>) -> Self {
        Self { id: None, output, control }
    }

    /// For backends: the same, with what its programs are known by at the doors.
    #[must_use]
    pub const fn with_id(mut self, id: Option<CommandId>) -> Self {
        self.id = id;
        self
    }

    /// What its programs are known by at the doors: see [`Caller::command`].
    #[must_use]
    pub const fn id(&self) -> Option<CommandId> {
        self.id
    }

    /// Its two ends, for who stands between the command and its reader.
    #[must_use]
    pub fn into_parts(self) -> (mpsc::Receiver<Output>, mpsc::Sender<Control>) {
        (self.output, self.control)
    }

    /// The next output; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Output> {
        self.output.recv().await
    }

    /// Writes to the command's standard input or terminal. [`Error::Gone`] if the command has ended.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn write(&self, bytes: Bytes) -> Result<(), Error> {
        self.control.send(Control::Stdin(bytes)).await.map_err(|_| Error::Gone)
    }

    /// Closes the command's standard input. A second call does nothing.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn close_stdin(&self) -> Result<(), Error> {
        self.control.send(Control::CloseStdin).await.map_err(|_| Error::Gone)
    }

    /// Changes the size of the command's terminal, which tells its programs. Without a terminal it does nothing.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn resize(&self, terminal: Terminal) -> Result<(), Error> {
        self.control.send(Control::Resize(terminal)).await.map_err(|_| Error::Gone)
    }

    /// Sends a signal (its number) to the command's whole process group.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn signal(&self, signal: i32) -> Result<(), Error> {
        self.control.send(Control::Signal(signal)).await.map_err(|_| Error::Gone)
    }
}

/// What a holder of a [`Process`] asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// The end of standard input.
    CloseStdin,
    /// A signal for the process group.
    Signal(i32),
    /// A new size of the terminal.
    Resize(Terminal),
}

/// What a command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// From standard output, or from the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// So many bytes were cut out here.
    Omitted(u64),
    /// The end.
    Exited(Exit),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Killed after its time.
    TimedOut,
    /// With its sandbox: what it did is unknown.
    Lost,
}

impl Exit {
    /// Its code, if it ended by itself.
    #[must_use]
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) | Self::TimedOut | Self::Lost => None,
        }
    }
}

/// What went wrong, cut by what a caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot make a safe sandbox; `mend` says how it could.
    #[error("no safe sandbox can be made here: {what} is not available. {mend}")]
    Unavailable {
        /// Which layer of isolation.
        what: String,
        /// What an operator can do.
        mend: String,
    },
    /// The sandbox could not be set up.
    #[error("could not set up the sandbox: {step}")]
    Setup {
        /// What was attempted, and on what.
        step: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The spec or the command is not usable.
    #[error("{0}")]
    Invalid(String),
    /// No such file, or not a regular one.
    #[error("{path}: {why}")]
    Path {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The command could not be started (no such program, no such directory).
    #[error("could not start {program}: {why}")]
    Start {
        /// Which program.
        program: String,
        /// Why.
        why: String,
    },
    /// The sandbox or the process has ended.
    #[error("the sandbox has ended")]
    Gone,
    /// The guest broke the protocol; the sandbox is destroyed.
    #[error("the sandbox broke its protocol: {0}")]
    Protocol(String),
}
