//! What lies beside a sandbox on the same machine: the host's own files and sockets, and other sandboxes.

use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;

use super::Outcome;
use super::world::{create, end, same, say, sh};
use crate::{Backend, Command, Exit};

/// `perl -e` in a shell, for programs without a single quote.
fn perl(program: &str) -> String {
    format!("perl -e '{program}'")
}

pub(super) async fn the_hosts_sockets_are_out_of_reach(backend: Arc<dyn Backend>) -> Outcome {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let name = format!("legwork-test-{port}");
    let _abstract_socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let file = tempfile_socket(port);
    let _named = UnixListener::bind(&file)?;
    let sandbox = create(&backend, "sockets").await?;
    let program = format!(
        r#"use Socket;
        for ([AF_INET, pack_sockaddr_in({port}, inet_aton("127.0.0.1"))], [AF_UNIX, pack_sockaddr_un("\0{name}")], [AF_UNIX, pack_sockaddr_un("{file}")]) {{
            socket(my $s, $_->[0], SOCK_STREAM, 0) or die; print connect($s, $_->[1]) ? "reached " : "refused ";
        }}"#
    );
    let said = say(&sandbox, &perl(&program)).await;
    std::fs::remove_file(&file)?;
    same(said?, "refused refused refused".to_owned())?;
    // Its own are its own matter.
    let own = r#"use Socket; socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(0, INADDR_LOOPBACK)); listen($l, 1);
        socket(my $s, AF_INET, SOCK_STREAM, 0); print connect($s, getsockname $l) ? "reached" : "refused";"#;
    same(say(&sandbox, &perl(own)).await?, "reached".to_owned())
}

fn tempfile_socket(port: u16) -> String {
    std::env::temp_dir().join(format!("legwork-test-{port}.sock")).display().to_string()
}

pub(super) async fn the_hosts_files_are_not_there(backend: Arc<dyn Backend>) -> Outcome {
    let path = std::env::temp_dir().join(format!("legwork-secret-{}", std::process::id()));
    std::fs::File::create_new(&path)?.write_all(b"secret")?;
    let sandbox = create(&backend, "secrets").await?;
    let script = format!(
        "cat {} 2>/dev/null; find / -xdev -name 'legwork-secret*' 2>/dev/null; echo none",
        path.display()
    );
    let said = say(&sandbox, &script).await;
    std::fs::remove_file(&path)?;
    same(said?, "none".to_owned())
}

pub(super) async fn two_sandboxes_share_nothing(backend: Arc<dyn Backend>) -> Outcome {
    let (left, right) = (create(&backend, "left").await?, create(&backend, "right").await?);
    let listens = perl(
        r#"use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("\0shared")); listen($s, 1);
        $| = 1; print "bound\n"; sleep 1000"#,
    );
    let _listening = left.exec(sh(&listens)).await?;
    say(
        &left,
        "sleep 1000 >/dev/null 2>&1 & for d in /dev/shm /tmp /workspace $HOME; do echo x > $d/shared; done",
    )
    .await?;
    say(&left, "perl -e 'shmget(77, 4096, 0600 | 512); msgget(77, 0600 | 512); semget(77, 1, 0600 | 512)'")
        .await?;
    let script = "ls /dev/shm /tmp /workspace $HOME | grep -c shared; \
                  cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 1000 *$'; \
                  perl -e 'print defined shmget(77, 0, 0) ? 1 : 0, defined msgget(77, 0) ? 1 : 0, defined semget(77, 0, 0) ? 1 : 0'; \
                  grep -c shared /proc/net/unix; true";
    same(say(&right, script).await?, "0\n0\n0000".to_owned())
}

pub(super) async fn a_storm_of_orphans_keeps_nobody_from_work(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "storm").await?;
    let storm = "for i in 1 2 3 4; do while :; do (true &) ; done & done; wait";
    let _storm = sandbox.exec(sh(storm)).await?;
    for _ in 0..5 {
        let short = Command { timeout_ms: Some(50), ..sh("exec sleep 1000") };
        same(end(&mut sandbox.exec(short).await?).await?.exit, Exit::TimedOut)?;
    }
    Ok(())
}
