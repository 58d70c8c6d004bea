//! The host's side of a sandbox's doors: accepts, sees who came, and passes it on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::caller::{self, Protocol};
use crate::outlet::{Connection, Door, Outlet, Query};

/// Connections and questions that wait to be taken by the holder.
const WAITING_MAX: usize = 16;

/// Questions of one sandbox that are answered at the same time. Programs ask again what was not answered.
const QUERIES_MAX: usize = 64;

/// The longest question (RFC 1035, section 2.3.4).
const QUERY_BYTES_MAX: usize = 512;

/// Begins to accept at the doors, in the order in which the guest made them. Dropping the set closes them.
pub(super) fn serve(doors: Vec<OwnedFd>, init: i32) -> io::Result<(Outlet, JoinSet<()>)> {
    let (connections_tx, connections) = mpsc::channel(WAITING_MAX);
    let (queries_tx, queries) = mpsc::channel(WAITING_MAX);
    let mut work = JoinSet::new();
    let mut doors = doors.into_iter();
    for door in [Door::Proxy, Door::Names, Door::Https, Door::Http] {
        let socket = doors.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let listener = TcpListener::from_std(socket.into())?;
        work.spawn(accept(listener, door, init, connections_tx.clone()));
    }
    let socket = UdpSocket::from_std(doors.next().ok_or(io::ErrorKind::UnexpectedEof)?.into())?;
    work.spawn(hear(socket, init, queries_tx));
    Ok((Outlet { connections, queries }, work))
}

async fn accept(listener: TcpListener, door: Door, init: i32, connections: mpsc::Sender<Connection>) {
    loop {
        // Room first: what cannot be passed on waits in the kernel, where it costs us nothing.
        let Ok(room) = connections.reserve().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let caller = caller::find(init, Protocol::Tcp, peer.port()).await;
                room.send(Connection { door, stream: Box::new(stream), caller });
            }
            // Of this process or the system: no descriptor or memory is free. It passes.
            Err(error) if error.kind() != io::ErrorKind::ConnectionAborted => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(_) => {}
        }
    }
}

async fn hear(socket: UdpSocket, init: i32, queries: mpsc::Sender<Query>) {
    let socket = Arc::new(socket);
    let mut answers = JoinSet::new();
    let mut buffer = [0; QUERY_BYTES_MAX + 1];
    loop {
        while answers.try_join_next().is_some() {}
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        if length > QUERY_BYTES_MAX || answers.len() >= QUERIES_MAX {
            continue;
        }
        let caller = caller::find(init, Protocol::Udp, peer.port()).await;
        let (answer, reply) = oneshot::channel();
        let message = Bytes::copy_from_slice(&buffer[..length]);
        if queries.send(Query { message, answer, caller }).await.is_err() {
            return;
        }
        answers.spawn(reply_to(Arc::clone(&socket), peer, reply));
    }
}

async fn reply_to(socket: Arc<UdpSocket>, peer: SocketAddr, reply: oneshot::Receiver<Bytes>) {
    if let Ok(answer) = reply.await {
        // One who has gone away hears nothing.
        let _ = socket.send_to(&answer, peer).await;
    }
}
