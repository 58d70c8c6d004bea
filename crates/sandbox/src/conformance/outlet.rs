//! The way out: what comes through its doors, and that there is no other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Outcome;
use super::world::{end, ensure, run, same, sh, spec};
use crate::{
    Backend, Connection, DIRECT, Door, Doors, Error, NAMES, Outlet, PROXY, Query, Sandbox, Spec, Stdin,
};

/// For what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

async fn opened(backend: &Arc<dyn Backend>, name: &str) -> Result<(Arc<dyn Sandbox>, Outlet), Error> {
    let sandbox = backend.create(Spec { doors: Doors::Open, ..spec(name) }).await?;
    let outlet = sandbox.outlet().ok_or_else(|| Error::Protocol("no outlet".to_owned()))?;
    Ok((sandbox, outlet))
}

/// A program that connects, says its name and prints what it hears.
fn dial((address, port): (std::net::Ipv4Addr, u16)) -> String {
    format!("exec 3<>/dev/tcp/{address}/{port} && echo hello >&3 && cat <&3")
}

async fn next(outlet: &mut Outlet) -> Result<Connection, Box<dyn std::error::Error + Send + Sync>> {
    Ok(tokio::time::timeout(PATIENCE, outlet.connections.recv()).await?.ok_or("the outlet has ended")?)
}

pub(super) async fn what_comes_out_says_which_door_and_who(backend: Arc<dyn Backend>) -> Outcome {
    let (sandbox, mut outlet) = opened(&backend, "outlet").await?;
    ensure(sandbox.outlet().is_none(), || "an outlet was given twice".to_owned())?;
    let doors = [
        (PROXY, Door::Proxy),
        (NAMES, Door::Names),
        ((DIRECT, 443), Door::Https),
        ((DIRECT, 80), Door::Http),
    ];
    for (at, door) in doors {
        let mut command = sh("");
        command.argv = vec!["bash".into(), "-c".into(), dial(at)];
        let mut process = sandbox.exec(command).await?;
        let mut connection = next(&mut outlet).await?;
        same(connection.door, door)?;
        let caller = connection.caller.ok_or("nobody was seen")?;
        ensure(caller.command_line.starts_with("bash -c exec 3<>"), || format!("{caller:?}"))?;
        ensure(caller.command.is_some(), || format!("{caller:?}"))?;
        same(caller.command, process.id())?;
        let mut heard = [0; 6];
        connection.stream.read_exact(&mut heard).await?;
        same(&heard, b"hello\n")?;
        connection.stream.write_all(b"answer").await?;
        drop(connection.stream);
        same(end(&mut process).await?.out, "answer".to_owned())?;
    }
    Ok(())
}

/// A program is its command's also where it has a session of its own, and where the shell that started it is gone.
pub(super) async fn a_program_is_known_by_its_command(backend: Arc<dyn Backend>) -> Outcome {
    let (sandbox, mut outlet) = opened(&backend, "command").await?;
    let dial = dial(PROXY);
    let mut all = Vec::new();
    for script in [format!("setsid sh -c \"bash -c '{dial}'\"; cat"), format!("(bash -c '{dial}' &) ; cat")] {
        let mut command = sh("");
        command.argv = vec!["bash".into(), "-c".into(), script];
        command.stdin = Stdin::Open;
        let process = sandbox.exec(command).await?;
        let connection = next(&mut outlet).await?;
        let caller = connection.caller.as_ref().ok_or("nobody was seen")?;
        ensure(caller.command.is_some() && caller.command == process.id(), || {
            format!("{caller:?} of {:?}", process.id())
        })?;
        // It goes on, so that the next is one of several.
        all.push((process, connection));
    }
    ensure(all[0].0.id() != all[1].0.id(), || "two commands are one".to_owned())
}

pub(super) async fn names_are_asked_of_the_outlet(backend: Arc<dyn Backend>) -> Outcome {
    let (sandbox, mut outlet) = opened(&backend, "names").await?;
    let script = format!("exec 3<>/dev/udp/{}/{} && printf question >&3 && head -c 6 <&3", NAMES.0, NAMES.1);
    let mut command = sh("");
    command.argv = vec!["bash".into(), "-c".into(), script];
    let mut process = sandbox.exec(command).await?;
    let query = tokio::time::timeout(PATIENCE, outlet.queries.recv()).await?.ok_or("no question")?;
    let Query { message, answer, caller: _ } = query;
    same(message, Bytes::from_static(b"question"))?;
    answer.send(Bytes::from_static(b"answer")).map_err(|_| "nobody waits for the answer")?;
    same(end(&mut process).await?.out, "answer".to_owned())
}

pub(super) async fn the_doors_cannot_be_taken_from_inside(backend: Arc<dyn Backend>) -> Outcome {
    let (sandbox, _outlet) = opened(&backend, "taken").await?;
    let listens = "for at in 127.0.0.1:801 127.80.80.80:443 127.0.0.1:53 0.0.0.0:80; do \
        timeout 5 perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(Listen => 1, LocalAddr => shift, ReuseAddr => 1, ReusePort => 1) ? 0 : 1)' $at && echo \"$at is taken\"; done; true";
    same(run(&sandbox, listens).await?.out, String::new())
}

pub(super) async fn the_outlet_ends_with_its_sandbox(backend: Arc<dyn Backend>) -> Outcome {
    let (sandbox, mut outlet) = opened(&backend, "ends").await?;
    sandbox.destroy().await?;
    let ended = tokio::time::timeout(PATIENCE, outlet.connections.recv()).await?;
    ensure(ended.is_none(), || format!("{ended:?}"))
}

pub(super) async fn closed_doors_are_no_doors(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = backend.create(spec("closed")).await?;
    ensure(sandbox.outlet().is_none(), || "an outlet of closed doors".to_owned())?;
    for at in [PROXY, (DIRECT, 443)] {
        let mut command = sh("");
        command.argv = vec!["bash".into(), "-c".into(), dial(at)];
        let ended = end(&mut sandbox.exec(command).await?).await?;
        ensure(ended.err.contains("refused"), || format!("{ended:?}"))?;
    }
    Ok(())
}
