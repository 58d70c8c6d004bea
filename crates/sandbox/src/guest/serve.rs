//! The guest's loop: wait, take requests, collect the dead, move bytes.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Trapped};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id as Waited, WaitPidFlag, WaitStatus, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::command::{Command, Side, read_buffer};
use super::files::Files;
use super::memory::Watch;
use super::spawn::Limits;
use super::wire::{Arrived, Wire};
use crate::protocol::{Ending, Id, Reply, Request, Setup, Start};

/// Outputs of ended commands that are still read, and thrown away, so that what runs in the background is not killed by
/// a closed pipe. Beyond it the oldest are closed.
const DRAINS_MAX: usize = 64;

/// Dead processes that are collected in one round: commands that make orphans without end must not keep the guest from
/// all else. A round of that many takes about a millisecond.
const COLLECTED_MAX: usize = 256;

/// Serves until the host is gone; the exit status of the machine.
pub(super) fn run(wire: Wire, setup: &Setup) -> i32 {
    match Guest::new(wire, setup) {
        Ok(mut guest) => {
            while guest.step() == Arrived::Bytes {}
            0
        }
        Err(_) => 3,
    }
}

struct Guest {
    wire: Wire,
    deaths: SignalFd,
    commands: BTreeMap<Id, Command>,
    drains: VecDeque<Option<OwnedFd>>,
    files: Files,
    watch: Option<Watch>,
    limits: Limits,
    buffer: Vec<u8>,
    /// Somebody has died and may not be collected yet.
    has_dead: bool,
}

/// What has news.
#[derive(Clone, Copy)]
enum Source {
    Socket,
    Deaths,
    Command(Id, Side),
    Drain(usize),
}

impl Guest {
    fn new(wire: Wire, setup: &Setup) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(wire.socket(), true)?;
        let mut mask = SigSet::empty();
        mask.add(Trapped::SIGCHLD);
        mask.thread_block().map_err(|_| Errno::INVAL)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            wire,
            deaths: SignalFd::with_flags(&mask, flags).map_err(|_| Errno::INVAL)?,
            commands: BTreeMap::new(),
            drains: VecDeque::new(),
            files: Files::open()?,
            watch: setup.watch_memory_bytes.map(Watch::new),
            limits: Limits { open_files: setup.open_files, processes: setup.processes },
            buffer: read_buffer(),
            has_dead: false,
        })
    }

    /// One round.
    fn step(&mut self) -> Arrived {
        if self.wire.flush() == Arrived::End {
            return Arrived::End;
        }
        for source in self.wait() {
            if self.attend(source) == Arrived::End {
                return Arrived::End;
            }
        }
        self.collect();
        self.files.advance(&mut self.wire, &mut self.buffer);
        let now = Instant::now();
        for command in self.commands.values_mut() {
            command.advance(now, &mut self.wire, &mut self.buffer);
        }
        if let Some(watch) = &mut self.watch {
            watch.advance(now);
        }
        self.forget_ended();
        Arrived::Bytes
    }

    /// Sleeps until something has news or is due.
    fn wait(&self) -> Vec<Source> {
        let mut sources = vec![Source::Socket, Source::Deaths];
        let socket = if self.wire.has_output() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.wire.socket(), socket),
            PollFd::from_borrowed_fd(self.deaths.as_fd(), PollFlags::IN),
        ];
        for (id, command) in self.commands.iter().filter(|_| !self.wire.is_busy()) {
            for (side, fd) in command.sides() {
                let interest = if side == Side::Input { PollFlags::OUT } else { PollFlags::IN };
                sources.push(Source::Command(*id, side));
                fds.push(PollFd::new(fd, interest));
            }
        }
        for (index, fd) in
            self.drains.iter().enumerate().filter_map(|(index, fd)| Some((index, fd.as_ref()?)))
        {
            sources.push(Source::Drain(index));
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let _ = poll(&mut fds, self.patience().as_ref());
        let news = |(source, fd): (Source, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(source);
        sources.into_iter().zip(&fds).filter_map(news).collect()
    }

    fn patience(&self) -> Option<Timespec> {
        if self.has_dead || self.files.has_more(&self.wire) {
            return Some(Timespec::default());
        }
        let watch = self.watch.as_ref().map(Watch::wake_at);
        let at = self.commands.values().filter_map(Command::wake_at).chain(watch).min()?;
        // A millisecond more: a timer that fires early would make another round for nothing.
        let wait = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec::try_from(wait).ok()
    }

    fn attend(&mut self, source: Source) -> Arrived {
        match source {
            Source::Socket => return self.hear(),
            Source::Deaths => {
                while let Ok(Some(_)) = self.deaths.read_signal() {}
                self.has_dead = true;
            }
            Source::Command(id, side) => {
                if let Some(command) = self.commands.get_mut(&id) {
                    command.ready(side, &mut self.wire, &mut self.buffer);
                }
            }
            Source::Drain(index) => self.drain(index),
        }
        Arrived::Bytes
    }

    /// Reads and throws away. The end of one only leaves a hole: the others of this round keep their places.
    fn drain(&mut self, index: usize) {
        let Some(Some(fd)) = self.drains.get(index) else { return };
        if super::spawn::read_some(fd, &mut self.buffer).is_none() {
            self.drains[index] = None;
        }
    }

    /// Takes all requests that are there.
    fn hear(&mut self) -> Arrived {
        if self.wire.fill() == Arrived::End {
            return Arrived::End;
        }
        loop {
            match self.wire.next() {
                Ok(Some(request)) => self.obey(request),
                Ok(None) => return Arrived::Bytes,
                Err(end) => return end,
            }
        }
    }

    fn obey(&mut self, request: Request) {
        match request {
            // A second set-up means nothing: the machine is made.
            Request::Setup(_) => {}
            Request::Exec(id, start) => self.start(id, &start),
            Request::Read(id, path, bytes_max) => self.files.read(id, &path, bytes_max, &mut self.wire),
            Request::Write(id, writing) => self.files.write(id, &writing, &mut self.wire),
            Request::Chunk(id, bytes) => self.files.append(id, &bytes, &mut self.wire),
            Request::Remove(id, path) => self.files.remove(id, &path, &mut self.wire),
            Request::Stdin(id, bytes) => match self.commands.get_mut(&id) {
                Some(command) => command.give(bytes, &mut self.wire),
                None => self.wire.send(&Reply::Taken(id)),
            },
            Request::CloseStdin(id) => self.with(id, |command, wire| command.close_input(wire)),
            Request::Signal(id, number) => self.with(id, |command, _| {
                if let Some(signal) = Signal::from_named_raw(number) {
                    command.signal(signal);
                }
            }),
            Request::Resize(id, rows, columns) => self.with(id, |command, _| command.resize(rows, columns)),
            Request::Abandon(id) => self.with(id, |command, _| command.abandon()),
            Request::Credit(id, credits) => self.with(id, |command, _| command.grant(credits)),
        }
    }

    fn with(&mut self, id: Id, act: impl FnOnce(&mut Command, &mut Wire)) {
        if let Some(command) = self.commands.get_mut(&id) {
            act(command, &mut self.wire);
        }
    }

    fn start(&mut self, id: Id, start: &Start) {
        match Command::start(id, start, self.limits) {
            Ok(command) => {
                self.commands.insert(id, command);
            }
            Err(why) => self.wire.send(&Reply::Refused(id, why)),
        }
    }

    /// Collects dead processes: the commands' own, and the orphans that process 1 inherits.
    fn collect(&mut self) {
        for _ in 0..COLLECTED_MAX {
            if !self.has_dead {
                return;
            }
            self.has_dead = self.collect_one().is_some();
        }
    }

    /// `None` when nobody is dead.
    fn collect_one(&mut self) -> Option<()> {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Waited::All, peek).ok()?;
        let ending = match status {
            WaitStatus::Exited(_, code) => Ending::Code(code),
            WaitStatus::Signaled(_, signal, _) => Ending::Signal(signal as i32),
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => return None,
        };
        let pid = Pid::from_raw(status.pid()?.as_raw())?;
        if let Some(command) = self.commands.values_mut().find(|command| command.pid() == pid) {
            command.ended(ending, &mut self.wire);
        }
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        Some(())
    }

    fn forget_ended(&mut self) {
        let over: Vec<Id> =
            self.commands.iter().filter(|(_, command)| command.is_over()).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(command) = self.commands.remove(&id) {
                self.drains.extend(command.into_drains().map(Some));
            }
        }
        self.drains.retain(Option::is_some);
        while self.drains.len() > DRAINS_MAX {
            self.drains.pop_front();
        }
    }
}
