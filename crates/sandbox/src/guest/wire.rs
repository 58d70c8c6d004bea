//! The guest's end of the socket: frames in, frames out, never a wait once it serves.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::protocol::{self, CHUNK_BYTES, DOORS, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Reply, Request};

/// Waiting bytes above which nothing more is produced: the host is slower than we are.
const BUSY_BYTES: usize = 1 << 20;

/// What one look at the socket brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Perhaps something.
    Bytes,
    /// The host is gone.
    End,
}

/// The socket with what is half read and half written.
pub(super) struct Wire {
    socket: OwnedFd,
    inward: BytesMut,
    outward: BytesMut,
    /// Kept between frames so that none costs an allocation.
    frame: Vec<u8>,
}

impl Wire {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, inward: BytesMut::new(), outward: BytesMut::new(), frame: Vec::new() }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Puts the socket into another descriptor slot.
    pub(super) fn replace_socket(&mut self, socket: OwnedFd) {
        self.socket = socket;
    }

    /// Whether bytes wait for the host to read.
    pub(super) fn has_output(&self) -> bool {
        !self.outward.is_empty()
    }

    /// Whether so many bytes wait that no output should be added.
    pub(super) fn is_busy(&self) -> bool {
        self.outward.len() > BUSY_BYTES
    }

    /// Queues a reply. Replies are made of bounded pieces, so that one that does not fit cannot be made.
    pub(super) fn send(&mut self, reply: &Reply) {
        self.frame.clear();
        if protocol::encode(reply, REPLY_BYTES_MAX, &mut self.frame).is_ok() {
            self.outward.extend_from_slice(&self.frame);
        }
    }

    /// Sends a reply with descriptors, while the socket still blocks and nothing waits to be sent. They are closed here.
    /// A host that cannot be reached is gone, which the next look finds.
    pub(super) fn hand_over(&mut self, reply: &Reply, descriptors: &[OwnedFd]) {
        self.send(reply);
        let fds: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return;
        }
        let frame = [IoSlice::new(&self.outward)];
        if let Ok(sent) = sendmsg(&self.socket, &frame, &mut ancillary, SendFlags::NOSIGNAL) {
            self.outward.advance(sent);
        }
        self.flush();
    }

    /// Reads what has arrived.
    pub(super) fn fill(&mut self) -> Arrived {
        let old = self.inward.len();
        self.inward.resize(old + CHUNK_BYTES, 0);
        let read = rustix::io::read(&self.socket, &mut self.inward[old..]);
        self.inward.truncate(old + read.unwrap_or(0));
        match read {
            Ok(0) => Arrived::End,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Arrived::Bytes,
            Err(_) => Arrived::End,
        }
    }

    /// The next whole request; `Err` if the host speaks another language, which ends the guest.
    pub(super) fn next(&mut self) -> Result<Option<Request>, Arrived> {
        protocol::decode(&mut self.inward, REQUEST_BYTES_MAX).map_err(|_| Arrived::End)
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Arrived {
        while !self.outward.is_empty() {
            match rustix::io::write(&self.socket, &self.outward) {
                Ok(written) => self.outward.advance(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Arrived::End,
            }
        }
        Arrived::Bytes
    }

    /// Waits for the next request, while the socket still blocks.
    pub(super) fn wait(&mut self) -> Option<Request> {
        loop {
            match self.next() {
                Ok(Some(request)) => return Some(request),
                Ok(None) => {}
                Err(_) => return None,
            }
            if self.fill() == Arrived::End {
                return None;
            }
        }
    }
}
