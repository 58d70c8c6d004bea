//! What host and guest say to each other: length-prefixed postcard frames over one stream socket.
//!
//! The guest is assumed hostile, for what runs beside it may have taken it over. So every frame is bounded before it is
//! read, every number of frames in flight is bounded by credits that the host grants, and a frame that does not fit ends
//! the sandbox. The format knows nothing of namespaces: a guest in a container speaks it over any byte stream.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of content a frame: what a pipe holds by default (`pipe(7)`), so that one read fills one frame.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// The longest frame to the guest: a command with its arguments and environment. The kernel takes 2 MiB of them by
/// default (`execve(2)`), of which 1 MiB is more than build tools use.
pub(crate) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// The longest frame to the host: one chunk and its header.
pub(crate) const REPLY_BYTES_MAX: usize = CHUNK_BYTES + 1024;

/// Output frames of one command that the guest may send before the host has passed on the first: 1 MiB of memory.
pub(crate) const CREDITS: u32 = 16;

/// Processes that the guest may start beyond the limit of the commands: under a fork bomb a command to end it must
/// still start.
pub(crate) const RESERVED_PROCESSES: u32 = 8;

/// Sockets of an outlet.
pub(crate) const DOORS: usize = 5;

/// Where a container shows what its guest is to be made of.
pub const INSIDE: &str = "/legwork";

/// Names one command or transfer; chosen by the host, never used twice in a sandbox.
pub(crate) type Id = u32;

/// From the host to the zygote, with the new guest's socket; answered by [`Reply::Cloned`] or [`Reply::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// User and group ids on the host that stand behind the inside's one user.
    pub(crate) ids: (u32, u32),
}

/// From the host to the guest. The first is always [`Request::Setup`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make the machine.
    Setup(Box<Setup>),
    /// Start a command.
    Exec(Id, Box<Start>),
    /// Bytes for a command's standard input; answered by [`Reply::Taken`].
    Stdin(Id, Bytes),
    /// The end of a command's standard input.
    CloseStdin(Id),
    /// A signal for a command's process group.
    Signal(Id, i32),
    /// Lines and columns of a command's terminal from now on.
    Resize(Id, u16, u16),
    /// Nobody listens any more: kill the process group, say no more but the exit.
    Abandon(Id),
    /// So many output frames were passed on.
    Credit(Id, u32),
    /// Read a file of at most so many bytes.
    Read(Id, String, u64),
    /// Write a file; its content follows in chunks.
    Write(Id, Writing),
    /// A piece of the file of that write.
    Chunk(Id, Bytes),
    /// Remove a file.
    Remove(Id, String),
}

/// From the guest, or from the zygote, to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first process of the new namespaces, by its number on the host: from the zygote.
    Cloned(i32),
    /// The machine could not be made: the step and the error number.
    Failed(String, i32),
    /// The machine is ready. Its doors, if it has any, come with it: five sockets, in the order of `guest/doors.rs`.
    Ready,
    /// The command runs, as the process of this number inside.
    Started(Id, u32),
    /// The command could not be started.
    Refused(Id, String),
    /// What it says.
    Output(Id, Stream, Bytes),
    /// So many bytes of its output were cut out here.
    Omitted(Id, u64),
    /// The last piece of standard input was written or is of no use any more.
    Taken(Id),
    /// The command has ended; the last frame of this id.
    Exited(Id, Ending),
    /// The file that is read: size and mode. Its content follows in chunks.
    File(Id, u64, u32),
    /// A piece of the file that is read. Empty: the end.
    Chunk(Id, Bytes),
    /// The write or removal is done.
    Done(Id),
    /// The path cannot be used so; the end of the transfer.
    Path(Id, String),
}

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    /// Standard output or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Killed after its time.
    TimedOut,
}

/// A command to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Where it starts.
    pub(crate) workdir: String,
    /// Lines and columns of its terminal.
    pub(crate) terminal: Option<(u16, u16)>,
    /// Whether its standard input stays open.
    pub(crate) stdin_open: bool,
    /// Its time.
    pub(crate) timeout_ms: Option<u64>,
    /// How much of its output is passed on.
    pub(crate) output_bytes_max: u64,
}

/// A file to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Writing {
    /// Where.
    pub(crate) path: String,
    /// Permission bits; those of the file that is there if `None`.
    pub(crate) mode: Option<u32>,
    /// How many bytes follow.
    pub(crate) size: u64,
}

/// All that the guest needs to make the machine. Paths are the host's unless they say `inside`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Files of control groups into which a process enters itself.
    pub(crate) doors: Vec<String>,
    /// Trees of the root file system, uppermost first.
    pub(crate) lower: Vec<String>,
    /// The writable layer.
    pub(crate) upper: String,
    /// For overlayfs.
    pub(crate) work: String,
    /// Where the new root is mounted before it becomes the root.
    pub(crate) root: String,
    /// Host path, path inside.
    pub(crate) binds: Vec<(String, String)>,
    /// Whether [`crate::WORKSPACE`] is read-only.
    pub(crate) workspace_read_only: bool,
    /// Bytes of `/tmp`, of `/dev/shm`; `/run` is small.
    pub(crate) tmp_bytes: u64,
    /// Open files a process.
    pub(crate) open_files: u64,
    /// Processes and threads, the guest counted in.
    pub(crate) processes: u64,
    /// The longest file.
    pub(crate) file_bytes: u64,
    /// Memory that the guest itself has to watch over, where no control group does.
    pub(crate) watch_memory_bytes: Option<u64>,
    /// Whether to open the doors of an outlet and hand them over with [`Reply::Ready`].
    pub(crate) has_doors: bool,
}

/// A frame that does not fit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// Its length is beyond the bound.
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// Its content is not a message.
    #[error("a frame that is no message")]
    Garbled,
}

/// Appends a message as one frame.
///
/// # Errors
/// [`FrameError::TooLong`] above `bytes_max`; nothing is appended then.
pub(crate) fn encode(
    message: &impl Serialize,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32_le(0);
    let body = postcard::serialize_with_flavor(message, Body(out)).map(|()| out.len() - start - 4);
    let length = match body {
        Ok(length) if length <= bytes_max => length,
        Ok(length) => {
            out.truncate(start);
            return Err(FrameError::TooLong(length));
        }
        Err(_) => {
            out.truncate(start);
            return Err(FrameError::Garbled);
        }
    };
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?;
    out[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

/// Takes the next whole message from the front of `buffer`; `None` if it is not all there yet.
///
/// # Errors
/// The frame is longer than `bytes_max` (known from its first four bytes) or no message.
pub(crate) fn decode<M: DeserializeOwned>(
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<M>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > bytes_max {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let body = buffer.split_to(length);
    postcard::from_bytes(&body).map(Some).map_err(|_| FrameError::Garbled)
}

/// Lets postcard append whole slices to a vector that it does not own.
struct Body<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Body<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way_in_pieces() {
        let mut wire = Vec::new();
        encode(&Reply::Output(7, Stream::Err, Bytes::from_static(b"hello")), REPLY_BYTES_MAX, &mut wire)
            .unwrap();
        encode(&Reply::Exited(7, Ending::Code(3)), REPLY_BYTES_MAX, &mut wire).unwrap();
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            while let Some(reply) = decode::<Reply>(&mut buffer, REPLY_BYTES_MAX).unwrap() {
                seen.push(format!("{reply:?}"));
            }
        }
        assert_eq!(seen, ["Output(7, Err, b\"hello\")", "Exited(7, Code(3))"]);
    }

    #[test]
    fn a_frame_is_refused_by_its_first_four_bytes() {
        let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(matches!(decode::<Reply>(&mut buffer, REPLY_BYTES_MAX), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let body: Vec<u8> = (0..random.usize(..64)).map(|_| random.u8(..)).collect();
            let mut buffer = BytesMut::new();
            buffer.put_u32_le(u32::try_from(body.len()).unwrap());
            buffer.extend_from_slice(&body);
            let _ = decode::<Reply>(&mut buffer, REPLY_BYTES_MAX);
        }
    }

    #[test]
    fn nothing_is_appended_of_a_message_that_is_too_long() {
        let mut wire = vec![1];
        let long = Request::Stdin(1, Bytes::from(vec![0; 100]));
        assert!(matches!(encode(&long, 50, &mut wire), Err(FrameError::TooLong(_))));
        assert_eq!(wire, [1]);
    }
}
