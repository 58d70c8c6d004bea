//! What servers that share a Postgres tell each other, so that a call that waits on one hears of a write on another.
//!
//! A notice is a hint: it may be late, merged, doubled or lost, and who waits looks by itself from time to time. So it is
//! told after the write and beside it. In the write's own transaction `NOTIFY` would make the commits of all servers wait
//! for each other, since Postgres holds one lock over them to keep notices in order.

use std::fmt;
use std::sync::Arc;

use legwork_domain::AttemptId;
use sqlx::postgres::PgListener;

use crate::{Error, Store};

/// Every server of a database listens there.
const CHANNEL: &str = "legwork";

/// Notices of one message. Postgres takes less than 8,000 bytes, and an attempt's id has 30.
const MESSAGE_NOTICES_MAX: usize = 200;

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// There may be a turn to lease.
    Queue,
    /// The list of tasks may have changed.
    List,
    /// An attempt's log may have grown.
    Attempt(AttemptId),
}

/// Where a shared database can be listened to; holds its password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) Arc<str>);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

/// One server's ear and voice. It reconnects by itself; what was told meanwhile is lost.
pub struct Exchange {
    listener: PgListener,
    /// Who tells: each server hears its own notices too, and passes over them.
    own: String,
}

impl Store {
    /// Listens to the other servers from now on. `own` is a word without spaces that no other server has. `None` over
    /// SQLite: whoever writes there is this process, or seldom another that needs no haste.
    ///
    /// # Errors
    /// [`Error::Busy`] if the database cannot be reached.
    pub async fn exchange(&self, own: String) -> Result<Option<Exchange>, Error> {
        let Some(Address(url)) = &self.address else { return Ok(None) };
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Exchange { listener, own }))
    }
}

impl Exchange {
    /// Tells the other servers.
    ///
    /// # Errors
    /// As every write; some may have been told.
    pub async fn tell(&mut self, notices: impl IntoIterator<Item = Notice>) -> Result<(), Error> {
        let notices: Vec<Notice> = notices.into_iter().collect();
        for some in notices.chunks(MESSAGE_NOTICES_MAX) {
            let words = some.iter().map(|notice| format!(" {notice}"));
            let message: String = std::iter::once(self.own.clone()).chain(words).collect();
            // A hint need not be on disk.
            sqlx::query("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(message)
                .execute(&mut self.listener)
                .await?;
        }
        Ok(())
    }

    /// Waits for what another server tells. May be given up and called again; nothing is lost by it.
    ///
    /// # Errors
    /// [`Error::Busy`] if the database cannot be reached again.
    pub async fn next(&mut self) -> Result<Vec<Notice>, Error> {
        loop {
            let message = self.listener.recv().await?;
            let mut words = message.payload().split(' ');
            if words.next() != Some(self.own.as_str()) {
                return Ok(words.filter_map(read).collect());
            }
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => f.write_str("queue"),
            Self::List => f.write_str("list"),
            Self::Attempt(attempt) => write!(f, "{attempt}"),
        }
    }
}

/// `None` for what a newer server may tell.
fn read(word: &str) -> Option<Notice> {
    match word {
        "queue" => Some(Notice::Queue),
        "list" => Some(Notice::List),
        word => word.parse().ok().map(Notice::Attempt),
    }
}
