//! The seat of a data directory: at most one server that stays sits on it, and says there where it listens.
//!
//! The seat is a file that the kernel holds locked while the server lives, so a dead one leaves it free, whatever the
//! file says. Who can read the data directory owns all that is in it; so the file may hold a token, and commands of the
//! same user on the same machine reach the server without logging in. The next server takes the same token, so that they
//! also outlive it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::exit::Trouble;
use crate::local;

/// The file's name.
const FILE: &str = "server.json";
/// How often a lock that is held is tried again: a reader holds it for a moment, a server that ends for a little longer.
const TRIES: u32 = 20;
/// The pause between tries; all of them together take a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a server listens, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its URL.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// A token that the servers of this data directory take.
    pub token: String,
    /// Where it keeps its tasks, without password; `None`: in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// The right to serve a data directory, given back when it is dropped.
pub(crate) struct Seat {
    file: File,
}

impl Seat {
    /// Sits down.
    ///
    /// # Errors
    /// If another server sits there.
    pub(crate) async fn take(home: &Path) -> anyhow::Result<Self> {
        let path = home.join(FILE);
        let mut options = File::options();
        let open = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.with_context(|| format!("{} cannot be opened.", path.display()))?;
        if held(&file, FlockOperation::NonBlockingLockExclusive).await? {
            return Ok(Self { file });
        }
        let what = match Address::of(home).await? {
            Some(Address { url, pid, .. }) => {
                format!("A server works on {} already: process {pid}, {url}.", home.display())
            }
            None => format!("A server works on {} already.", home.display()),
        };
        Err(Trouble::failed(
            format!("{what} Nothing was started."),
            "Use that one (legwork task ls finds it), stop it, or name another directory: LEGWORK_HOME=… legwork up",
        )
        .into())
    }

    /// The token of the server before; a new one, if there was none.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn token(&mut self) -> anyhow::Result<String> {
        self.before().map_or_else(local::token, |before| Ok(before.token))
    }

    /// What the server before said.
    pub(super) fn before(&mut self) -> Option<Address> {
        let mut text = Vec::new();
        self.file.rewind().and_then(|()| self.file.read_to_end(&mut text)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Says where the server listens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn announce(&mut self, address: &Address) -> anyhow::Result<()> {
        let text = serde_json::to_vec(address)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text).context("The server's address could not be written.")
    }
}

impl Address {
    /// What the last server of this data directory said, whether it lives or not.
    #[must_use]
    pub fn left_in(home: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.join(FILE)).ok()?).ok()
    }

    /// Where the server of this data directory listens, if one lives.
    ///
    /// # Errors
    /// If the file cannot be read, or a server has not said within a second where it listens.
    pub async fn of(home: &Path) -> anyhow::Result<Option<Self>> {
        let path = home.join(FILE);
        let unread = || format!("{} cannot be read.", path.display());
        for _ in 0..TRIES {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).with_context(unread),
            };
            if try_lock(&file, FlockOperation::NonBlockingLockShared)? {
                return Ok(None);
            }
            let mut text = Vec::new();
            file.read_to_end(&mut text).with_context(unread)?;
            // Not whole while it is written, and of the server before until then.
            if let Ok(address) = serde_json::from_slice::<Self>(&text)
                && lives(address.pid)
            {
                return Ok(Some(address));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let what = format!("A server on {} is about to start or to end.", home.display());
        Err(Trouble::failed(what, "Try again in a moment.").into())
    }
}

fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process of another user may not be signalled, but it is there.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
}

async fn held(file: &File, how: FlockOperation) -> anyhow::Result<bool> {
    for _ in 0..TRIES {
        if try_lock(file, how)? {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

fn try_lock(file: &File, how: FlockOperation) -> anyhow::Result<bool> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).context("The data directory's file system knows no locks."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_sits_and_the_next_is_told_who() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Address::of(home.path()).await.unwrap(), None);
        let mut seat = Seat::take(home.path()).await.unwrap();
        let address = Address {
            url: "http://127.0.0.1:1".into(),
            pid: std::process::id(),
            token: "t".into(),
            database: None,
        };
        seat.announce(&address).unwrap();
        assert_eq!(Address::of(home.path()).await.unwrap(), Some(address));
        let Err(refused) = Seat::take(home.path()).await else {
            unreachable!("two servers on one directory")
        };
        assert!(refused.to_string().contains("http://127.0.0.1:1"), "{refused}");
        drop(seat);
        assert_eq!(Address::of(home.path()).await.unwrap(), None, "a dead server's word is not believed");
        assert_eq!(Seat::take(home.path()).await.unwrap().token().unwrap(), "t");
    }
}
