//! Legwork's HTTP API as typed calls: what the worker and every view of ours use.
//!
//! One method a route, bodies straight from `legwork-domain`, and errors cut by what a caller can do about them. The
//! calls do not retry by themselves, because the caller alone knows how long it may wait; each says whether sending it
//! again is harmless. The exceptions are [`Client::events`] and [`Client::changes`], which resume where they broke off: a reader of a log wants
//! the log, not its connections.

mod access;
mod error;
mod feed;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod lifecycle;
mod sse;
mod transport;
mod webhooks;

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use legwork_domain::{
    Accepted, Allowance, ArtifactList, Assignment, AttemptId, AttemptView, BlobId, Budget, BudgetList, Day,
    Event, EventBatch, Finish, FollowUp, LeaseRequest, ListChange, Message, NewTask, Period, Reply,
    Reservation, Reserved, Spender, Steer, TaskId, TaskList, TaskQuery, TaskView, Turn, TurnId, TurnView,
    UsageBy, UsageReport, WorkerId, WorkerList,
};
use reqwest::header::CONTENT_TYPE;
use sha2::{Digest, Sha256};

pub use error::Error;
use follow::Until;
use transport::Transport;

/// Time that a waiting lease call gets beyond its own wait: one slow commit and the way back.
const LEASE_SLACK: Duration = Duration::from_secs(10);

/// For the one call that says only that somebody is there: somebody waits for it at a terminal.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a blob of the largest size (64 MiB) over a slow line (about 2 Mbit/s).
const BLOB_TIMEOUT: Duration = Duration::from_secs(300);

/// The largest blob that is taken, as the server has it.
const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A server and the right to talk to it. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client for the server at `base_url` (`http://127.0.0.1:7433`), authorised by `token`.
    ///
    /// Nothing is sent yet. For a loopback address no proxy setting and no certificate store is looked at; any other
    /// address honours the system's proxies.
    ///
    /// # Errors
    /// [`Error::Address`] if the URL or the token cannot be used.
    pub fn new(base_url: &str, token: &str) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(base_url, token)? })
    }

    /// Whether a server answers there; the token is not looked at.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn health(&self) -> Result<(), Error> {
        let request = self.transport.get("/v1/health").timeout(HEALTH_TIMEOUT);
        self.transport.empty("ask whether the server is there", request).await
    }

    /// Hands a task over. With the same key and the same task the answer is the same task, however often it is sent.
    ///
    /// # Errors
    /// [`Error::Refused`] with `idempotency_key_reused` if the key came with another task before.
    pub async fn create_task(&self, task: &NewTask, idempotency_key: &str) -> Result<TaskView, Error> {
        let request = self.transport.post("/v1/tasks").header("idempotency-key", idempotency_key).json(task);
        self.transport.json("create a task", request).await
    }

    /// A page of tasks, newest first. For the next one, put the page's `next` into the query's `cursor`.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskList, Error> {
        let mut path = format!("/v1/tasks?archived={}", query.archived.name());
        let words = [
            ("state", query.state.map(|state| state.name().to_owned())),
            ("repository", query.repository.clone()),
            ("created_by", query.created_by.map(|user| user.to_string())),
            ("title", query.title.clone()),
            ("cursor", query.cursor.map(|task| task.to_string())),
            ("limit", query.limit.map(|limit| limit.to_string())),
        ];
        for (name, word) in words {
            if let Some(word) = word {
                path.push_str(&format!("&{name}={}", escaped(word)));
            }
        }
        self.transport.json("list tasks", self.transport.get(&path)).await
    }

    /// Notes that the caller has seen what is new of a task.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn see(&self, task: TaskId) -> Result<(), Error> {
        let request = self.transport.put(&format!("/v1/tasks/{task}/seen"));
        self.transport.empty("mark a task as seen", request).await
    }

    /// A task with its attempts and turns.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn task(&self, task: TaskId) -> Result<TaskView, Error> {
        self.transport.json("read a task", self.transport.get(&format!("/v1/tasks/{task}"))).await
    }

    /// Asks that all turns of a task stop. A second call changes nothing; what is finished stays as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn cancel(&self, task: TaskId) -> Result<TaskView, Error> {
        let request = self.transport.post(&format!("/v1/tasks/{task}/cancel"));
        self.transport.json("cancel a task", request).await
    }

    /// The attempt's log after `after` (0: all of it): replay, then follow, until its last turn is finished and all of
    /// it is read.
    ///
    /// Each event comes exactly once and in order. A connection that drops or falls silent is opened again where it
    /// broke off, with growing pauses, a bounded number of times; an item `Err` is the last one.
    pub fn events(
        &self,
        attempt: AttemptId,
        after: u64,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
        follow::events(self.transport.clone(), attempt, after, Until::Finished)
    }

    /// The attempt's log as far as it is written now, without waiting for more.
    pub fn events_so_far(
        &self,
        attempt: AttemptId,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
        follow::events(self.transport.clone(), attempt, 0, Until::Now)
    }

    /// What changes in the list of tasks after `after`, such as a page's `as_of`; it has no end of its own.
    ///
    /// Connections are opened again as those of [`Self::events`]; an item `Err` is the last one. After
    /// [`ListChange::Reset`] the list must be read anew.
    pub fn changes(&self, after: u64) -> impl Stream<Item = Result<ListChange, Error>> + Send + 'static {
        follow::changes(self.transport.clone(), after)
    }

    /// Asks for work and waits for it as long as the request says. `None`: there was none.
    ///
    /// # Errors
    /// As every call. If the answer is lost, a turn may have been leased that nobody runs; its lease lapses and it is
    /// queued again, so a caller simply asks again.
    pub async fn lease(&self, lease: &LeaseRequest) -> Result<Option<Assignment>, Error> {
        let timeout = Duration::from_millis(lease.wait_ms).saturating_add(LEASE_SLACK);
        let request = self.transport.post("/v1/leases").json(lease).timeout(timeout);
        self.transport.json_or_empty("lease a turn", request).await
    }

    /// Ends the leases of a worker that is dead, so that its turns go on before they lapse. Harmless a second time.
    ///
    /// # Errors
    /// As every call.
    pub async fn end_leases(&self, worker: WorkerId) -> Result<(), Error> {
        let request = self.transport.delete(&format!("/v1/workers/{worker}/leases"));
        self.transport.empty("end the leases of a dead worker", request).await
    }

    /// Adds events to a turn's log, renews the lease and learns what the server wants.
    ///
    /// Sending the same batch again is harmless: its events are numbered within the lease, and what was stored is
    /// skipped. So after [`Error::is_retryable`] send it again until the lease has lapsed.
    ///
    /// # Errors
    /// [`Error::Refused`] with `stale_epoch` if the turn is no longer this worker's: stop, nothing can be written.
    pub async fn append(&self, turn: TurnId, batch: &EventBatch) -> Result<Accepted, Error> {
        let request = self.transport.post(&format!("/v1/turns/{turn}/events")).json(batch);
        self.transport.json("append events", request).await
    }

    /// Ends a turn with its last events, in one transaction. Sending the same again is harmless.
    ///
    /// # Errors
    /// [`Error::Refused`] with `stale_epoch` as for [`Client::append`], with `blob_missing` if it names a blob that was
    /// never stored.
    pub async fn finish(&self, turn: TurnId, finish: &Finish) -> Result<Turn, Error> {
        let request = self.transport.post(&format!("/v1/turns/{turn}/finish")).json(finish);
        self.transport.json("finish a turn", request).await
    }

    /// An attempt with its turns.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn attempt(&self, attempt: AttemptId) -> Result<AttemptView, Error> {
        self.transport.json("read an attempt", self.transport.get(&format!("/v1/attempts/{attempt}"))).await
    }

    /// Queues one more turn of an attempt. With the same key and words the answer is the same turn.
    ///
    /// # Errors
    /// [`Error::Refused`] with `too_many_turns`.
    pub async fn follow_up(
        &self,
        attempt: AttemptId,
        follow_up: &FollowUp,
        idempotency_key: &str,
    ) -> Result<Turn, Error> {
        let request = self.transport.post(&format!("/v1/attempts/{attempt}/turns"));
        let request = request.header("idempotency-key", idempotency_key).json(follow_up);
        self.transport.json("queue a follow-up", request).await
    }

    /// Says something to the turn that is under way. With the same key and words it is said once.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_live_turn`: a follow-up is the way then.
    pub async fn steer(
        &self,
        attempt: AttemptId,
        steer: &Steer,
        idempotency_key: &str,
    ) -> Result<Message, Error> {
        let request = self.transport.post(&format!("/v1/attempts/{attempt}/messages"));
        let request = request.header("idempotency-key", idempotency_key).json(steer);
        self.transport.json("steer a turn", request).await
    }

    /// Answers what the agent asked, or decides on what it wants to do.
    ///
    /// # Errors
    /// [`Error::Refused`] with `answered` if somebody did before, with `turn_over` if the turn has ended.
    pub async fn answer(
        &self,
        attempt: AttemptId,
        reply: &Reply,
        idempotency_key: &str,
    ) -> Result<Message, Error> {
        let request = self.transport.post(&format!("/v1/attempts/{attempt}/answer"));
        let request = request.header("idempotency-key", idempotency_key).json(reply);
        self.transport.json("answer a question", request).await
    }

    /// The attempt's latest patch. `None`: it has made none.
    ///
    /// # Errors
    /// As every call.
    pub async fn patch(&self, attempt: AttemptId) -> Result<Option<Bytes>, Error> {
        let request = self.transport.get(&format!("/v1/attempts/{attempt}/patch")).timeout(BLOB_TIMEOUT);
        match self.transport.bytes("read a patch", request, BLOB_BYTES_MAX).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.code() == Some("not_found") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The files that an attempt's turns stored.
    ///
    /// # Errors
    /// As every call.
    pub async fn artifacts(&self, attempt: AttemptId) -> Result<ArtifactList, Error> {
        let request = self.transport.get(&format!("/v1/attempts/{attempt}/artifacts"));
        self.transport.json("list artifacts", request).await
    }

    /// A turn, and where it stands in the queue.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn turn(&self, turn: TurnId) -> Result<TurnView, Error> {
        self.transport.json("read a turn", self.transport.get(&format!("/v1/turns/{turn}"))).await
    }

    /// The workers that asked for work lately.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden` for all but owners of everything.
    pub async fn workers(&self) -> Result<WorkerList, Error> {
        self.transport.json("list workers", self.transport.get("/v1/workers")).await
    }

    /// Asks one turn to stop: a queued one ends at once. A second call changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn cancel_turn(&self, turn: TurnId) -> Result<Turn, Error> {
        let request = self.transport.post(&format!("/v1/turns/{turn}/cancel"));
        self.transport.json("cancel a turn", request).await
    }

    /// Reserves what a turn's next model request may cost, in place of what it reserved before.
    ///
    /// # Errors
    /// [`Error::Refused`] with `stale_epoch` as for [`Client::append`]. A budget without room is no error.
    pub async fn reserve(&self, turn: TurnId, wish: &Reservation) -> Result<Reserved, Error> {
        let request = self.transport.post(&format!("/v1/turns/{turn}/reserve")).json(wish);
        self.transport.json("reserve a budget", request).await
    }

    /// The budgets that are set, or those of one spender.
    ///
    /// # Errors
    /// As every call.
    pub async fn budgets(&self, spender: Option<Spender>) -> Result<BudgetList, Error> {
        let path = spender.map_or_else(|| "/v1/budgets".to_owned(), |of| format!("/v1/budgets?spender={of}"));
        self.transport.json("list budgets", self.transport.get(&path)).await
    }

    /// Sets a budget, or raises or lowers it. Turns that waited for room in it go on.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` if it limits nothing, with `not_found` for an unknown task.
    pub async fn set_budget(
        &self,
        spender: Spender,
        period: Period,
        limit: &Allowance,
    ) -> Result<Budget, Error> {
        let request = self.transport.put(&format!("/v1/budgets/{spender}/{}", period.name())).json(limit);
        self.transport.json("set a budget", request).await
    }

    /// Takes a budget away; a second time changes nothing.
    ///
    /// # Errors
    /// As every call.
    pub async fn remove_budget(&self, spender: Spender, period: Period) -> Result<(), Error> {
        let request = self.transport.delete(&format!("/v1/budgets/{spender}/{}", period.name()));
        self.transport.empty("take a budget away", request).await
    }

    /// What was spent by day, user or task, from the first to the last day.
    ///
    /// # Errors
    /// As every call.
    pub async fn usage(&self, by: UsageBy, from: Day, to: Day) -> Result<UsageReport, Error> {
        let by = match by {
            UsageBy::Day => "day",
            UsageBy::User => "user",
            UsageBy::Task => "task",
        };
        let path = format!("/v1/usage?by={by}&from={from}&to={to}");
        self.transport.json("report usage", self.transport.get(&path)).await
    }

    /// Stores bytes under their SHA-256. Storing the same again is harmless.
    ///
    /// # Errors
    /// [`Error::Refused`] with `body_too_large` beyond 64 MiB.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<BlobId, Error> {
        let id = blob_id(&bytes)?;
        let request =
            self.transport.put(&format!("/v1/blobs/{id}")).header(CONTENT_TYPE, "application/octet-stream");
        self.transport.empty("store a blob", request.timeout(BLOB_TIMEOUT).body(bytes)).await?;
        Ok(id)
    }

    /// The bytes of a blob, verified against its name.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`; [`Error::Protocol`] if the bytes are not those of the name.
    pub async fn blob(&self, id: &BlobId) -> Result<Bytes, Error> {
        const ACTION: &str = "read a blob";
        let request = self.transport.get(&format!("/v1/blobs/{id}")).timeout(BLOB_TIMEOUT);
        let bytes = self.transport.bytes(ACTION, request, BLOB_BYTES_MAX).await?;
        if blob_id(&bytes)? == *id {
            Ok(bytes)
        } else {
            Err(Error::protocol(ACTION, "the bytes do not have the digest that they were asked by"))
        }
    }
}

fn blob_id(bytes: &[u8]) -> Result<BlobId, Error> {
    let digest = hex::encode(Sha256::digest(bytes));
    digest.parse().map_err(|_| Error::protocol("name a blob", "a digest is not a blob's name"))
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn escaped(text: impl Display) -> String {
    let mut out = String::new();
    for byte in text.to_string().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_cursor_cannot_leave_its_parameter() {
        assert_eq!(escaped("task_0a&b=ü#"), "task_0a%26b%3D%C3%BC%23");
    }
}
