//! The first words of a guest: its machine stands, and here are its doors.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Step;
use super::machine::explain;
use crate::Error;
use crate::protocol::{self, DOORS, REPLY_BYTES_MAX, Reply};

/// A guest that is ready.
pub(super) struct Ready {
    pub(super) stream: UnixStream,
    /// What it has said already after that.
    pub(super) rest: BytesMut,
    /// The sockets that it handed over. Nothing hostile has run in it yet.
    pub(super) doors: Vec<OwnedFd>,
}

/// Waits until the guest has made its machine.
pub(super) async fn ready(socket: OwnedFd) -> Result<Ready, Error> {
    let stream = UnixStream::from_std(socket.into()).step("speak to the guest")?;
    let (mut rest, mut doors) = (BytesMut::new(), Vec::new());
    loop {
        match protocol::decode(&mut rest, REPLY_BYTES_MAX) {
            Ok(Some(Reply::Ready)) => return Ok(Ready { stream, rest, doors }),
            Ok(Some(Reply::Failed(step, errno))) => return Err(explain(step, errno)),
            Ok(Some(
                Reply::Cloned(_)
                | Reply::Started(..)
                | Reply::Refused(..)
                | Reply::Output(..)
                | Reply::Omitted(..)
                | Reply::Taken(_)
                | Reply::Exited(..)
                | Reply::File(..)
                | Reply::Chunk(..)
                | Reply::Done(_)
                | Reply::Path(..),
            )) => return Err(Error::Protocol("an answer before it was ready".to_owned())),
            Ok(None) => {}
            Err(error) => return Err(Error::Protocol(error.to_string())),
        }
        let hear = || receive(&stream, &mut rest, &mut doors);
        if stream.async_io(Interest::READABLE, hear).await.step("hear from the guest")? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).step("hear from the guest");
        }
    }
}

fn receive(stream: &UnixStream, rest: &mut BytesMut, doors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    rest.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            doors.extend(sockets);
        }
    }
    Ok(received.bytes)
}
