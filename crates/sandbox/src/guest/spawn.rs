//! From a request to a process: its own session and group, its pipes or its terminal, nothing of the guest.

#![expect(unsafe_code, reason = "system calls that no crate wraps; each says why it is sound")]

use std::ffi::CString;
use std::os::fd::OwnedFd;

use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::protocol::Start;

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The status of a child that could not become its program; the reason is on the status pipe.
const NOT_STARTED: libc::c_int = 127;

/// What each command is held to, and the guest is not.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) open_files: u64,
    pub(super) processes: u64,
}

/// A child on its way to `execve`.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    /// Ends when the program runs; brings an error number if it cannot.
    pub(super) status: OwnedFd,
    pub(super) ends: Ends,
}

/// The guest's ends of a command's input and outputs. A terminal is one descriptor for all.
pub(super) struct Ends {
    pub(super) input: Option<OwnedFd>,
    pub(super) out: OwnedFd,
    pub(super) err: Option<OwnedFd>,
    pub(super) is_terminal: bool,
}

/// The child's standard input, output and error.
struct Stdio {
    input: OwnedFd,
    out: OwnedFd,
    err: OwnedFd,
    is_terminal: bool,
}

/// All that the child needs after the fork, made before it.
struct Image {
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    workdir: CString,
}

/// Starts a command.
pub(super) fn spawn(start: &Start, limits: Limits) -> Result<Spawned, String> {
    let image = Image::new(start).map_err(|_| "a NUL byte in its arguments".to_owned())?;
    let (ends, stdio) = open_ends(start).map_err(|error| describe(error, "open its pipes"))?;
    let (status, report) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| describe(error, "open its pipes"))?;
    // SAFETY: the guest has one thread, so the child may do whatever the parent could.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let (place, error) = become_command(&image, &stdio, limits);
        let [a, b, c, d] = error.raw_os_error().to_le_bytes();
        let _ = rustix::io::write(&report, &[place as u8, a, b, c, d]);
        // SAFETY: ends the child at once; nothing of the parent's is to be run or flushed here.
        unsafe { libc::_exit(NOT_STARTED) }
    }
    match Pid::from_raw(pid.max(0)) {
        Some(pid) => Ok(Spawned { pid, status, ends }),
        None => Err(describe(last_error(), "fork")),
    }
}

/// What a child was at when it failed: one byte on the status pipe.
#[derive(Clone, Copy)]
enum Place {
    Program,
    Workdir,
    Session,
}

/// Why a child could not become its program; `None` if it did.
pub(super) fn failure(status: &OwnedFd) -> Option<String> {
    let mut bytes = [0; 5];
    if rustix::io::read(status, &mut bytes) != Ok(bytes.len()) {
        return None;
    }
    let [place, a, b, c, d] = bytes;
    let error = Errno::from_raw_os_error(i32::from_le_bytes([a, b, c, d]));
    let error = std::io::Error::from(error);
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    Some(if place == Place::Workdir as u8 {
        if is_missing {
            "its working directory does not exist".to_owned()
        } else {
            format!("its working directory: {error}")
        }
    } else if place == Place::Program as u8 && is_missing {
        "no such program".to_owned()
    } else {
        error.to_string()
    })
}

fn describe(error: Errno, step: &str) -> String {
    format!("{step}: {error}")
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

impl Image {
    fn new(start: &Start) -> Result<Self, std::ffi::NulError> {
        let text = |text: &String| CString::new(text.as_str());
        let pair = |(name, value): &(String, String)| CString::new(format!("{name}={value}"));
        Ok(Self {
            programs: candidates(start)?,
            argv: start.argv.iter().map(text).collect::<Result<_, _>>()?,
            env: start.env.iter().map(pair).collect::<Result<_, _>>()?,
            workdir: CString::new(start.workdir.as_str())?,
        })
    }
}

/// The files that may be the program, as `execvp(3)` looks for them.
fn candidates(start: &Start) -> Result<Vec<CString>, std::ffi::NulError> {
    let program = start.argv.first().map_or("", String::as_str);
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    let path =
        start.env.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    path.split(':')
        .filter(|place| !place.is_empty())
        .map(|place| CString::new(format!("{place}/{program}")))
        .collect()
}

fn open_ends(start: &Start) -> Result<(Ends, Stdio), Errno> {
    match start.terminal {
        Some(size) => open_terminal(size),
        None => open_pipes(start.stdin_open),
    }
}

fn open_pipes(stdin_open: bool) -> Result<(Ends, Stdio), Errno> {
    let (out, child_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, child_err) = pipe_with(PipeFlags::CLOEXEC)?;
    let (child_in, input) = if stdin_open {
        let (child_in, input) = pipe_with(PipeFlags::CLOEXEC)?;
        (child_in, Some(input))
    } else {
        (rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
    };
    for end in [Some(&out), Some(&err), input.as_ref()].into_iter().flatten() {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    let ends = Ends { input, out, err: Some(err), is_terminal: false };
    Ok((ends, Stdio { input: child_in, out: child_out, err: child_err, is_terminal: false }))
}

fn open_terminal((rows, columns): (u16, u16)) -> Result<(Ends, Stdio), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let out = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&out)?;
    let input =
        rustix::pty::ioctl_tiocgptpeer(&out, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&out, size)?;
    let stdio = Stdio {
        out: input.try_clone().map_err(|error| io(&error))?,
        err: input.try_clone().map_err(|error| io(&error))?,
        input,
        is_terminal: true,
    };
    let ends =
        Ends { input: Some(out.try_clone().map_err(|error| io(&error))?), out, err: None, is_terminal: true };
    Ok((ends, stdio))
}

fn io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// In the child: becomes the program, or says why it cannot.
fn become_command(image: &Image, stdio: &Stdio, limits: Limits) -> (Place, Errno) {
    if let Err(error) = prepare(stdio, limits) {
        return (Place::Session, error);
    }
    if let Err(error) = rustix::process::chdir(image.workdir.as_c_str()) {
        return (Place::Workdir, error);
    }
    let argv = pointers(&image.argv);
    let env = pointers(&image.env);
    let mut worst = Errno::NOENT;
    for program in &image.programs {
        // SAFETY: both arrays end with a null pointer and point to C strings that live as long as this process.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = last_error();
        if error != Errno::NOENT && error != Errno::NOTDIR {
            worst = error;
        }
    }
    (Place::Program, worst)
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

fn prepare(stdio: &Stdio, limits: Limits) -> Result<(), Errno> {
    rustix::process::setsid()?;
    if stdio.is_terminal {
        rustix::process::ioctl_tiocsctty(&stdio.input)?;
    }
    rustix::stdio::dup2_stdin(&stdio.input)?;
    rustix::stdio::dup2_stdout(&stdio.out)?;
    rustix::stdio::dup2_stderr(&stdio.err)?;
    restore_signals();
    for (resource, value) in [(Resource::Nofile, limits.open_files), (Resource::Nproc, limits.processes)] {
        super::lockdown::limit(resource, value).map_err(|_| last_error())?;
    }
    mark_descriptors()
}

/// Nothing but the standard three goes through `execve`, whatever the guest had open.
fn mark_descriptors() -> Result<(), Errno> {
    // SAFETY: only sets the close-on-exec flag.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The guest blocks SIGCHLD and ignores SIGPIPE; both would be inherited.
fn restore_signals() {
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    // SAFETY: sets a default disposition; no handler is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Reads what is there, without waiting. `None`: the end, also that of a terminal that nobody holds any more.
pub(super) fn read_some<'a>(fd: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match rustix::io::read(fd, &mut *buffer) {
        Ok(0) => None,
        Ok(count) => Some(&buffer[..count]),
        Err(Errno::AGAIN | Errno::INTR) => Some(&[]),
        Err(_) => None,
    }
}
