//! A running command as the guest sees it: its process group, its pipes, what it has said, when it must end.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::termios::Winsize;

use super::output::Retention;
use super::spawn::{self, Ends, Limits, Spawned};
use super::wire::Wire;
use crate::protocol::{CHUNK_BYTES, CREDITS, Ending, Id, Reply, Start, Stream};

/// How long the pipes of a command are read after its own end: what it wrote last has long arrived, and what it left
/// running may hold them open for ever.
const LINGER: Duration = Duration::from_millis(50);

/// How much is still read after that time if it keeps coming: what the largest pipe holds (`pipe(7)`).
const LINGER_BYTES: usize = 1 << 20;

/// Between asking a command to end (SIGTERM) and ending it (SIGKILL): what service managers of containers give for
/// clean-up, cut to what a person waits for.
const GRACE: Duration = Duration::from_secs(2);

/// What a terminal takes as the end of input (`termios(3)`, VEOF).
const END_OF_TRANSMISSION: &[u8] = &[4];

/// Which descriptor of a command has news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Status,
    Input,
    Out,
    Err,
}

/// One command from its fork to its last frame.
pub(super) struct Command {
    id: Id,
    pid: Pid,
    status: Option<OwnedFd>,
    input: Option<OwnedFd>,
    pending: Bytes,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    is_terminal: bool,
    retention: Retention,
    outbox: VecDeque<(Stream, Bytes)>,
    credits: u32,
    clock: Clock,
    phase: Phase,
}

/// When it must end.
struct Clock {
    deadline: Option<Instant>,
    kill_at: Option<Instant>,
    timed_out: bool,
}

/// How far it is.
enum Phase {
    Running,
    /// Nobody listens any more.
    Abandoned,
    /// It has ended; its pipes may still hold something.
    Lingering {
        ending: Ending,
        until: Instant,
        bytes_left: usize,
    },
    /// Its output is complete and on its way.
    Flushing(Ending),
    /// Its last frame is sent.
    Over,
}

impl Command {
    pub(super) fn start(id: Id, start: &Start, limits: Limits) -> Result<Self, String> {
        let Spawned { pid, status, ends } = spawn::spawn(start, limits)?;
        let Ends { input, out, err, is_terminal } = ends;
        let deadline = start.timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        Ok(Self {
            id,
            pid,
            status: Some(status),
            input: input.filter(|_| start.stdin_open || is_terminal),
            pending: Bytes::new(),
            out: Some(out),
            err,
            is_terminal,
            retention: Retention::new(start.output_bytes_max),
            outbox: VecDeque::new(),
            credits: CREDITS,
            clock: Clock { deadline, kill_at: None, timed_out: false },
            phase: Phase::Running,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// The descriptors to wait for, given what can be done with their news.
    pub(super) fn sides(&self) -> impl Iterator<Item = (Side, &OwnedFd)> {
        let status = self.status.as_ref().map(|fd| (Side::Status, fd));
        let input = self.input.as_ref().filter(|_| !self.pending.is_empty()).map(|fd| (Side::Input, fd));
        let wants = self.status.is_none() && self.may_read();
        let out = self.out.as_ref().filter(|_| wants).map(|fd| (Side::Out, fd));
        let err = self.err.as_ref().filter(|_| wants).map(|fd| (Side::Err, fd));
        [status, input, out, err].into_iter().flatten()
    }

    /// Whether what is read could be passed on: a slow host slows the command, and needs no memory here.
    fn may_read(&self) -> bool {
        matches!(self.phase, Phase::Abandoned)
            || !self.retention.is_live()
            || (self.credits > 0 && self.outbox.is_empty())
    }

    /// The next moment at which something is to be done without news.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let linger = match self.phase {
            Phase::Lingering { until, .. } if self.may_read() => Some(until),
            Phase::Lingering { .. }
            | Phase::Running
            | Phase::Abandoned
            | Phase::Flushing(_)
            | Phase::Over => None,
        };
        [self.clock.deadline, self.clock.kill_at, linger].into_iter().flatten().min()
    }

    /// Takes the news of one descriptor.
    pub(super) fn ready(&mut self, side: Side, wire: &mut Wire, buffer: &mut [u8]) {
        match side {
            Side::Status => self.learn_start(wire),
            Side::Input => self.feed(wire),
            Side::Out => self.read(Stream::Out, buffer),
            Side::Err => self.read(Stream::Err, buffer),
        }
    }

    fn learn_start(&mut self, wire: &mut Wire) {
        let Some(status) = self.status.take() else { return };
        match spawn::failure(&status) {
            None => wire.send(&Reply::Started(self.id, self.pid.as_raw_nonzero().get().unsigned_abs())),
            Some(why) => {
                wire.send(&Reply::Refused(self.id, why));
                self.phase = Phase::Over;
            }
        }
    }

    fn read(&mut self, stream: Stream, buffer: &mut [u8]) {
        let side = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let Some(fd) = side else { return };
        let Some(bytes) = spawn::read_some(fd, buffer) else {
            *side = None;
            return;
        };
        if let Phase::Lingering { bytes_left, .. } = &mut self.phase {
            *bytes_left = bytes_left.saturating_sub(bytes.len());
        }
        if !matches!(self.phase, Phase::Abandoned) {
            let now = self.retention.take(stream, bytes);
            if !now.is_empty() {
                self.outbox.push_back((stream, Bytes::copy_from_slice(now)));
            }
        }
    }

    /// More for its standard input. One piece is on its way at a time: the host waits for [`Reply::Taken`].
    pub(super) fn give(&mut self, bytes: Bytes, wire: &mut Wire) {
        self.pending = bytes;
        self.feed(wire);
    }

    /// The end of its standard input.
    pub(super) fn close_input(&mut self, wire: &mut Wire) {
        if self.is_terminal {
            self.give(Bytes::from_static(END_OF_TRANSMISSION), wire);
        } else {
            self.input = None;
        }
    }

    fn feed(&mut self, wire: &mut Wire) {
        while let Some(input) = &self.input
            && !self.pending.is_empty()
        {
            match rustix::io::write(input, &self.pending) {
                Ok(count) => self.pending.advance(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.input = None,
            }
        }
        self.pending = Bytes::new();
        wire.send(&Reply::Taken(self.id));
    }

    pub(super) fn grant(&mut self, credits: u32) {
        self.credits = self.credits.saturating_add(credits).min(CREDITS);
    }

    /// Signals its whole group, as long as the group is surely its own. A process that another has stopped before it
    /// could make a group is signalled alone.
    pub(super) fn signal(&self, signal: Signal) {
        if matches!(self.phase, Phase::Running | Phase::Abandoned)
            && kill_process_group(self.pid, signal).is_err()
        {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Gives its terminal another size; the kernel tells the programs on it.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let Some(out) = self.out.as_ref().filter(|_| self.is_terminal) {
            // One that is closed has nobody to tell.
            let _ = rustix::termios::tcsetwinsize(out, size);
        }
    }

    /// Nobody listens any more.
    pub(super) fn abandon(&mut self) {
        self.signal(Signal::KILL);
        self.outbox.clear();
        self.phase = match std::mem::replace(&mut self.phase, Phase::Abandoned) {
            Phase::Running | Phase::Abandoned => Phase::Abandoned,
            Phase::Lingering { ending, .. } | Phase::Flushing(ending) => Phase::Flushing(ending),
            Phase::Over => Phase::Over,
        };
        self.retention = Retention::new(0);
    }

    /// Its process has ended but is not collected yet, so that its group cannot be another's.
    pub(super) fn ended(&mut self, ending: Ending, wire: &mut Wire) {
        self.learn_start(wire);
        let abandoned = matches!(self.phase, Phase::Abandoned);
        if abandoned || self.clock.timed_out {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        if self.is_over() {
            return;
        }
        let ending = if self.clock.timed_out { Ending::TimedOut } else { ending };
        self.clock.deadline = None;
        self.clock.kill_at = None;
        self.phase = if abandoned {
            Phase::Flushing(ending)
        } else {
            Phase::Lingering { ending, until: Instant::now() + LINGER, bytes_left: LINGER_BYTES }
        };
    }

    /// Does what is due, sends what may be sent.
    pub(super) fn advance(&mut self, now: Instant, wire: &mut Wire, buffer: &mut [u8]) {
        self.enforce_time(now);
        self.linger(now, buffer);
        self.send(wire);
    }

    fn enforce_time(&mut self, now: Instant) {
        if self.clock.deadline.is_some_and(|deadline| deadline <= now) {
            self.signal(Signal::TERM);
            self.clock = Clock { deadline: None, kill_at: Some(now + GRACE), timed_out: true };
        }
        if self.clock.kill_at.is_some_and(|kill_at| kill_at <= now) {
            self.signal(Signal::KILL);
            self.clock.kill_at = None;
        }
    }

    /// Ends the output when both pipes have ended, or when time is up and they are empty or endless.
    fn linger(&mut self, now: Instant, buffer: &mut [u8]) {
        let Phase::Lingering { ending, until, .. } = self.phase else { return };
        if until <= now && self.may_read() {
            self.read(Stream::Out, buffer);
            if self.may_read() {
                self.read(Stream::Err, buffer);
            }
        }
        let Phase::Lingering { bytes_left, .. } = self.phase else { return };
        let is_silent = self.out.is_none() && self.err.is_none();
        let is_late = until <= now && self.outbox.is_empty() && (bytes_left == 0 || !self.has_more());
        if is_silent || is_late {
            self.phase = Phase::Flushing(ending);
        }
    }

    fn has_more(&self) -> bool {
        let waiting = |fd: &OwnedFd| rustix::io::ioctl_fionread(fd).unwrap_or(0) > 0;
        self.out.iter().chain(&self.err).any(waiting)
    }

    fn send(&mut self, wire: &mut Wire) {
        if self.outbox.is_empty()
            && let Phase::Flushing(_) = self.phase
        {
            let (omitted, tail) = self.retention.finish();
            if omitted > 0 {
                wire.send(&Reply::Omitted(self.id, omitted));
            }
            self.outbox = tail;
        }
        while self.credits > 0
            && let Some((stream, bytes)) = self.outbox.pop_front()
        {
            self.credits -= 1;
            wire.send(&Reply::Output(self.id, stream, bytes));
        }
        if let Phase::Flushing(ending) = self.phase
            && self.outbox.is_empty()
        {
            wire.send(&Reply::Exited(self.id, ending));
            self.phase = Phase::Over;
        }
    }

    /// The outputs that something in the background may still write to. A terminal is closed instead: its processes
    /// get the hang-up that a terminal's end means.
    pub(super) fn into_drains(self) -> impl Iterator<Item = OwnedFd> {
        let is_terminal = self.is_terminal;
        [self.out, self.err].into_iter().flatten().filter(move |_| !is_terminal)
    }
}

/// Enough for one read of a pipe.
pub(super) fn read_buffer() -> Vec<u8> {
    vec![0; CHUNK_BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a hostile command that stops every new process makes of the next one, if it is quick enough.
    #[test]
    fn a_process_without_a_group_of_its_own_still_ends() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        let command = Command {
            id: 1,
            pid,
            status: None,
            input: None,
            pending: Bytes::new(),
            out: None,
            err: None,
            is_terminal: false,
            retention: Retention::new(0),
            outbox: VecDeque::new(),
            credits: 0,
            clock: Clock { deadline: None, kill_at: None, timed_out: false },
            phase: Phase::Running,
        };
        command.signal(Signal::KILL);
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
