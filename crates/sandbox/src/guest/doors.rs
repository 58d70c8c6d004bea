//! The doors of the outlet: sockets that the guest opens and the host holds.
//!
//! A socket belongs to the network namespace that it was made in, whoever holds it. So the guest makes them while it still
//! may take ports below 1024, which nothing inside may after it, and the host accepts what comes: no process and no copy
//! between a program inside and whoever holds the outlet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use super::{Fault, Step};
use crate::outlet::{DIRECT, NAMES, PROXY};

/// Connections that wait to be taken: what listeners ask for by custom.
const BACKLOG: i32 = 128;

/// Proxy, names, direct TLS, direct HTTP, and names by datagram.
pub(super) fn open() -> Result<Vec<OwnedFd>, Fault> {
    let stream = SocketType::STREAM;
    let doors = [
        (PROXY, stream),
        (NAMES, stream),
        ((DIRECT, 443), stream),
        ((DIRECT, 80), stream),
        (NAMES, SocketType::DGRAM),
    ];
    doors.into_iter().map(|(at, kind)| door(at, kind)).collect()
}

fn door((address, port): (Ipv4Addr, u16), kind: SocketType) -> Result<OwnedFd, Fault> {
    let at = SocketAddrV4::new(address, port);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None).step(format!("make the door {at}"))?;
    bind(&socket, &at).step(format!("open the door {at}"))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG).step(format!("open the door {at}"))?;
    }
    Ok(socket)
}
