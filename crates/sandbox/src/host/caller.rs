//! Which program inside made a connection, found from outside through `/proc`: socket, then inode, then process.
//!
//! It is for people to read. A program may have ended before it is looked for, pass its socket to another, or call
//! itself what it likes; so what is found is bounded, stripped and never decided by.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{Caller, CommandId};

/// Processes that are looked at for one connection, and the time that this may take: a sandbox full of processes must not
/// make the worker slow.
const PROCESSES_MAX: usize = 4096;
const TIME_MAX: Duration = Duration::from_millis(50);

/// A process whose parent ends while the tree is read can be passed by (`proc_pid_task(5)`, of `children`), and is seen the next time.
const LOOKS: usize = 2;

/// So many are looked at whatever the time: of a small sandbox all is seen, also where the worker had to wait for a processor.
const PROCESSES_MIN: usize = 64;

/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 4096;

/// Bytes of a command line that are shown.
const COMMAND_LINE_BYTES_MAX: usize = 500;

/// Bytes of a table of sockets that are read: some ten thousand connections.
const TABLE_BYTES_MAX: u64 = 2 << 20;

/// Whose table of sockets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// The program whose socket has this port, in the sandbox of this process 1. `None`: it could not be seen.
pub(super) async fn find(init: i32, protocol: Protocol, port: u16) -> Option<Caller> {
    tokio::task::spawn_blocking(move || search(init, protocol, port)).await.ok()?
}

fn search(init: i32, protocol: Protocol, port: u16) -> Option<Caller> {
    let inode = inode(init, protocol, port)?;
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let until = Instant::now() + TIME_MAX;
    (0..LOOKS).find_map(|_| look(init, &link, until))
}

fn look(init: i32, link: &Path, until: Instant) -> Option<Caller> {
    // Each with the child of process 1 that it comes from: a command, or what has outlived one.
    let mut waiting: Vec<_> = children(init).into_iter().map(|pid| (pid, pid)).collect();
    let mut seen = 0;
    while let Some((pid, eldest)) = waiting.pop() {
        seen += 1;
        if seen > PROCESSES_MAX || (seen > PROCESSES_MIN && Instant::now() > until) {
            return None;
        }
        if holds(pid, link) {
            return Some(Caller { command: session(eldest), ..describe(pid) });
        }
        waiting.extend(children(pid).into_iter().map(|child| (child, eldest)));
    }
    None
}

/// The session of a process by its number inside: the innermost namespace's is the last (`proc_pid_status(5)`). Each command leads
/// one, and what it leaves behind stays in it; who leaves it (`setsid(2)`) is still below the command while that lives.
fn session(pid: i32) -> Option<CommandId> {
    session_in(&bounded(&format!("/proc/{pid}/status"))?)
}

fn session_in(status: &str) -> Option<CommandId> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSsid:"))?;
    numbers.split_ascii_whitespace().last()?.parse().ok().map(CommandId)
}

/// A socket's inode, from `/proc/PID/net/tcp` and its kin (`proc_pid_net(5)`).
fn inode(init: i32, protocol: Protocol, port: u16) -> Option<u64> {
    let tables = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    tables.iter().find_map(|table| inode_in(&bounded(&format!("/proc/{init}/net/{table}"))?, port))
}

fn bounded(path: &str) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(TABLE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The columns are: number, local address, remote address, state, queues, timer, retransmissions, user, time-out, inode.
fn inode_in(table: &str, port: u16) -> Option<u64> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?;
        let inode: u64 = columns.nth(7)?.parse().ok()?;
        // The sandbox's end of an accepted connection has the door's port; 0: nobody holds it any more.
        (local.ends_with(&suffix) && inode != 0).then_some(inode)
    })
}

/// The processes that a process has started, by any of its threads.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect()
}

fn holds(pid: i32, socket: &Path) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .take(DESCRIPTORS_MAX)
        .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == socket))
}

fn describe(pid: i32) -> Caller {
    use std::io::Read as _;
    let mut line = Vec::new();
    if let Ok(file) = std::fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(COMMAND_LINE_BYTES_MAX as u64).read_to_end(&mut line);
    }
    let process = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    Caller { process: plain(&process), command_line: plain(&line), command: None }
}

/// Text that no terminal obeys: what separates arguments becomes a space, every other control character is written out.
fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).trim_end_matches(['\0', '\n']).chars() {
        match character {
            '\0' => text.push(' '),
            character if is_invisible(character) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "{}", character.escape_unicode());
            }
            character => text.push(character),
        }
    }
    text
}

/// Controls, and what turns the direction of writing (Unicode Standard Annex 9) or is not seen.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_sockets_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0321 0100007F:A2F4 01 00000000:00000000 00:00000000 00000000     0        0 0 2 0\n\
            1: 0100007F:A2F4 0100007F:0321 01 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0\n";
        assert_eq!(inode_in(table, 0xA2F4), Some(424_242));
        assert_eq!((inode_in(table, 0x0321), inode_in("", 1)), (None, None));
    }

    #[test]
    fn a_session_is_read_as_it_is_numbered_inside() {
        assert_eq!(session_in("Name:\tsh\nNSpid:\t4711\t9\nNSsid:\t4700\t7\n"), Some(CommandId(7)));
        assert_eq!(session_in("NSsid:\t4700\n"), Some(CommandId(4700)));
        assert_eq!((session_in("NSsid:\n"), session_in("")), (None, None));
        // As this machine's kernel writes it.
        assert!(session(i32::try_from(std::process::id()).unwrap()).is_some());
    }

    #[test]
    fn what_a_program_calls_itself_steers_no_terminal() {
        assert_eq!(plain(b"curl\0-s\0http://x\0"), "curl -s http://x");
        assert_eq!(plain("a\x1b[2Jb\u{202e}c".as_bytes()), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(plain(b"\xff\n"), "\u{fffd}");
    }
}
