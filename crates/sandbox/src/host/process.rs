//! The task that stands between a command inside and its [`Process`](crate::Process) handle.
//!
//! It passes output on at the reader's pace and grants credits for what was taken, so that the guest stops reading a
//! command whose reader is slow; it passes input on one piece at a time; and it ends the command when the handle is
//! dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::link::{Event, Link};
use crate::protocol::{CHUNK_BYTES, Id, Request};
use crate::{Control, Exit, Output, Terminal};

/// Input that may wait for the command to read it; after that whoever writes waits, with signals behind it.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// Frames taken before credits are granted for them: a quarter of all, so that the guest never runs dry.
const GRANT_AT: u32 = crate::protocol::CREDITS / 4;

/// A command's pump.
pub(super) struct Pump {
    pub(super) id: Id,
    pub(super) link: Arc<Link>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) output: mpsc::Sender<Output>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) input: Input,
}

/// What is on its way to the command.
#[derive(Default)]
pub(super) struct Input {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// A piece is at the guest and not yet taken.
    is_under_way: bool,
    wants_end: bool,
    /// Nobody holds the handle's sending end any more, or the end was sent.
    is_closed: bool,
}

/// What happened next.
enum Next {
    Event(Option<Event>),
    Passed,
    Control(Option<Control>),
    Dropped,
}

impl Pump {
    /// Runs until the command has ended or its handle is dropped.
    pub(super) async fn run(mut self) {
        let mut pending = None;
        let mut owed = 0;
        loop {
            match self.next(pending.is_some()).await {
                Next::Event(Some(Event::Output(output))) => pending = Some(output),
                Next::Event(Some(Event::Taken)) => {
                    self.input.is_under_way = false;
                    self.feed().await;
                }
                // The machine has ended with the command in it.
                Next::Event(None) => pending = Some(Output::Exited(Exit::Lost)),
                Next::Passed => {
                    let Some(output) = pending.take() else { continue };
                    let is_last = matches!(output, Output::Exited(_));
                    let is_frame = matches!(output, Output::Stdout(_) | Output::Stderr(_));
                    if is_last {
                        // First, so that who has seen the end cannot write any more.
                        self.control.close();
                    }
                    let _ = self.output.try_send(output);
                    if is_last {
                        return;
                    }
                    owed += u32::from(is_frame);
                    if owed >= GRANT_AT {
                        let _ = self.link.send(&Request::Credit(self.id, owed)).await;
                        owed = 0;
                    }
                }
                Next::Control(Some(control)) => self.obey(control).await,
                Next::Control(None) => self.input.is_closed = true,
                Next::Dropped => {
                    let _ = self.link.send(&Request::Abandon(self.id)).await;
                    return;
                }
            }
        }
    }

    async fn next(&mut self, has_pending: bool) -> Next {
        let takes_control = !self.input.is_closed && self.input.bytes < INPUT_BYTES_MAX;
        tokio::select! {
            () = self.output.closed() => Next::Dropped,
            permit = self.output.reserve(), if has_pending => if permit.is_ok() { Next::Passed } else { Next::Dropped },
            event = self.events.recv(), if !has_pending => Next::Event(event),
            control = self.control.recv(), if takes_control => Next::Control(control),
        }
    }

    async fn obey(&mut self, control: Control) {
        match control {
            Control::Stdin(bytes) => {
                self.input.bytes += bytes.len();
                self.input.waiting.push_back(bytes);
                self.feed().await;
            }
            Control::CloseStdin => {
                self.input.wants_end = true;
                self.feed().await;
            }
            Control::Resize(Terminal { rows, columns }) => {
                let _ = self.link.send(&Request::Resize(self.id, rows, columns)).await;
            }
            Control::Signal(number) => {
                let _ = self.link.send(&Request::Signal(self.id, number)).await;
            }
        }
    }

    /// Sends the next piece of input, or its end, if the last was taken.
    async fn feed(&mut self) {
        if self.input.is_under_way {
            return;
        }
        let request = match self.input.next_piece() {
            Some(piece) => Request::Stdin(self.id, piece),
            None if self.input.wants_end => {
                self.input.wants_end = false;
                let _ = self.link.send(&Request::CloseStdin(self.id)).await;
                return;
            }
            None => return,
        };
        self.input.is_under_way = true;
        let _ = self.link.send(&request).await;
    }
}

impl Input {
    fn next_piece(&mut self) -> Option<Bytes> {
        let mut piece = self.waiting.pop_front()?;
        while piece.is_empty() {
            piece = self.waiting.pop_front()?;
        }
        let rest = piece.split_off(piece.len().min(CHUNK_BYTES));
        if !rest.is_empty() {
            self.waiting.push_front(rest);
        }
        self.bytes -= piece.len();
        Some(piece)
    }
}
