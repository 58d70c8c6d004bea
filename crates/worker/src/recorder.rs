//! The recorder: one task that carries a turn's events to the server, and the server's wishes back.
//!
//! Everything that the turn tells arrives on one bounded channel and leaves in batches, so a step costs one or two calls. The
//! teller waits for one only before it does something that outlives this process, or when the channel is full. Each reply renews the lease and may hold directives.
//! A batch that fails is sent again as long as the lease can live (its numbering makes a repeat harmless). Once the lease
//! is lost, the turn belongs to somebody else, and everything here stops at once.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use legwork_agent::{Telling, Timeline, now};
use legwork_client::{Client, Error};
use legwork_domain::{
    Accepted, Assignment, BlobId, Bounds, Directive, Ended, EventBatch, Finish, LeaseId, Message, MessageId,
    NewEvent, Timestamp, Transition, TurnId,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::Backoff;

/// Events that wait for their batch. A step makes a handful; a flood of output makes thousands and is to be slowed.
const WAITING_MAX: usize = 1024;

/// Most events of one batch; the API takes 1,000.
const BATCH_MAX: usize = 500;

/// How long an event waits for company: not felt by a person, and a call for each step rather than for each event.
const BATCH_DELAY: Duration = Duration::from_millis(50);

/// Messages of the user that wait for the model's next request.
const MESSAGES_MAX: usize = 16;

/// A heartbeat at least every third of the lease: two may fail before it lapses.
const HEARTBEATS_A_LEASE: u64 = 3;

/// And at least so often, since the reply is the way on which a cancel comes: a person waits for it.
const HEARTBEAT_MS: u64 = 500;

/// How long one batch may take: far above a commit on a busy disk, and a third of a lease, so that a connection that went
/// dead does not cost the lease.
const POST_MAX: Duration = Duration::from_secs(10);

/// How long after its lease lapsed a turn may still be kept: a server that was away itself gives nobody's turn to another
/// before all had so long to come back. Whatever else happened, it refuses what comes too late.
const AWAY_MS: u64 = 10_000;

/// Why a turn's cancel token was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A person wants it.
    User,
    /// Its time is over.
    WallTime,
    /// The worker is to stop; the turn goes on elsewhere.
    Drain,
    /// The task's decoy was touched.
    Decoy,
}

/// What reaches the turn from outside.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// Stop, save what is there, and say how it ended.
    pub(crate) cancel: CancellationToken,
    /// Stop at once; nothing can be said any more.
    pub(crate) lost: CancellationToken,
    /// Set (as a token that is cancelled) once a budget bounds the turn.
    pub(crate) budgeted: CancellationToken,
    why: Arc<OnceLock<Why>>,
}

impl Signals {
    fn new() -> Self {
        Self {
            cancel: CancellationToken::new(),
            lost: CancellationToken::new(),
            budgeted: CancellationToken::new(),
            why: Arc::default(),
        }
    }

    /// Cancels; the first reason stays.
    pub(crate) fn cancel(&self, why: Why) {
        // Only the first reason counts, which is what `set` does.
        let _ = self.why.set(why);
        self.cancel.cancel();
    }

    /// Why it was cancelled; a person's wish if nobody said.
    pub(crate) fn why(&self) -> Why {
        self.why.get().copied().unwrap_or(Why::User)
    }
}

/// The turn's end of the recorder.
pub(crate) struct Recorder {
    requests: mpsc::Sender<Request>,
}

enum Request {
    Move(Transition),
    Finish(Box<Ended>, oneshot::Sender<()>),
    Leave(Transition, oneshot::Sender<()>),
}

/// All that a turn needs to speak and hear.
pub(crate) struct Line {
    pub(crate) recorder: Recorder,
    pub(crate) timeline: Timeline,
    pub(crate) signals: Signals,
    /// What people say to the turn, each once.
    pub(crate) messages: mpsc::Receiver<Message>,
}

/// Starts the recorder of a turn. It ends with [`Recorder::finish`], when the lease is lost, or when all its handles are
/// gone.
pub(crate) fn start(client: Client, assignment: &Assignment) -> Line {
    let (events_in, events) = mpsc::channel(WAITING_MAX);
    let (requests_in, requests) = mpsc::channel(MESSAGES_MAX);
    let (messages_in, messages) = mpsc::channel(MESSAGES_MAX);
    let signals = Signals::new();
    if assignment.spending == Bounds::Budgeted {
        signals.budgeted.cancel();
    }
    let mut carrier = Carrier {
        client,
        turn: assignment.turn.id,
        lease: assignment.lease.id,
        epoch: assignment.lease.epoch,
        next: 0,
        pending: Vec::new(),
        keepers: Vec::new(),
        until: assignment.lease.until,
        signals: signals.clone(),
        messages: messages_in,
        heard: HashSet::new(),
    };
    assignment.messages.iter().cloned().for_each(|message| carrier.pass_on(message));
    tokio::spawn(carrier.run(events, requests).in_current_span());
    let timeline = Timeline::new(assignment.turn.id, assignment.next_item, events_in);
    Line { recorder: Recorder { requests: requests_in }, timeline, signals, messages }
}

impl Recorder {
    /// Moves the turn on, after all that was told so far. Does not wait for the server.
    pub(crate) async fn advance(&self, transition: Transition) {
        // A recorder that is gone has cancelled `lost`, which ends the turn.
        let _ = self.requests.send(Request::Move(transition)).await;
    }

    /// Sends all that was told, and the end. Returns when the server has it or the lease is lost.
    pub(crate) async fn finish(&self, ended: Ended) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(Request::Finish(Box::new(ended), done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Sends all that was told and lets go of the turn. Returns when the server has it or the lease is lost.
    pub(crate) async fn leave(&self, transition: Transition) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(Request::Leave(transition, done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// The turn is somebody else's, or nothing can be written.
struct Lost;

struct Carrier {
    client: Client,
    turn: TurnId,
    lease: LeaseId,
    epoch: u64,
    /// The number of the first pending event within the lease.
    next: u64,
    pending: Vec<NewEvent>,
    /// Who waits until all that is pending is stored.
    keepers: Vec<oneshot::Sender<()>>,
    until: Timestamp,
    signals: Signals,
    messages: mpsc::Sender<Message>,
    /// The messages that were passed on; the server says each again until the log shows it.
    heard: HashSet<MessageId>,
}

impl Carrier {
    async fn run(mut self, mut events: mpsc::Receiver<Telling>, mut requests: mpsc::Receiver<Request>) {
        if let Err(Lost) = self.carry(&mut events, &mut requests).await {
            self.signals.lost.cancel();
        }
    }

    async fn carry(
        &mut self,
        events: &mut mpsc::Receiver<Telling>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), Lost> {
        let mut flush_at = self.heartbeat_at();
        let mut heard = Vec::new();
        loop {
            let room = BATCH_MAX - self.pending.len();
            let before = self.pending.len();
            tokio::select! {
                biased;
                request = requests.recv() => {
                    while let Ok(telling) = events.try_recv() {
                        self.take(telling);
                    }
                    match request {
                        Some(Request::Move(transition)) => self.flush(Some(transition)).await?,
                        Some(Request::Finish(ended, done)) => {
                            let ended = self.finish(*ended).await;
                            let _ = done.send(());
                            return ended;
                        }
                        Some(Request::Leave(transition, done)) => {
                            let left = self.flush(Some(transition)).await;
                            let _ = done.send(());
                            return left;
                        }
                        None => return Ok(()),
                    }
                    flush_at = self.heartbeat_at();
                }
                _ = events.recv_many(&mut heard, room) => {
                    heard.drain(..).for_each(|telling| self.take(telling));
                    if self.pending.is_empty() {
                        self.all_is_kept();
                    }
                    if before == 0 {
                        flush_at = flush_at.min(Instant::now() + BATCH_DELAY);
                    }
                    if self.pending.len() >= BATCH_MAX || !self.keepers.is_empty() {
                        flush_at = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(flush_at) => {
                    self.flush(None).await?;
                    flush_at = self.heartbeat_at();
                }
            }
        }
    }

    fn take(&mut self, telling: Telling) {
        match telling {
            Telling::Event(event) => self.pending.push(event),
            Telling::Keep(keeper) => self.keepers.push(keeper),
        }
    }

    fn all_is_kept(&mut self) {
        for keeper in self.keepers.drain(..) {
            // One who waits no more has been cancelled.
            let _ = keeper.send(());
        }
    }

    /// When to speak again if nothing happens.
    fn heartbeat_at(&self) -> Instant {
        let left = (self.until.ms_since(now()) / HEARTBEATS_A_LEASE).min(HEARTBEAT_MS);
        Instant::now() + Duration::from_millis(left)
    }

    /// Sends all that is pending, in as many batches as it needs; the last one carries the transition.
    async fn flush(&mut self, mut transition: Option<Transition>) -> Result<(), Lost> {
        let mut size = BATCH_MAX;
        loop {
            let size_now = size.min(self.pending.len());
            let last = size_now == self.pending.len();
            let batch = EventBatch {
                epoch: self.epoch,
                lease: Some(self.lease),
                first: self.next,
                events: self.pending[..size_now].to_vec(),
                transition: if last { transition.take() } else { None },
            };
            match self.post(&batch).await? {
                Posted::Stored => {
                    self.pending.drain(..size_now);
                    self.next += size_now as u64;
                    if last {
                        self.all_is_kept();
                        return Ok(());
                    }
                }
                Posted::TooLarge => {
                    transition = transition.or(batch.transition);
                    size = (size_now / 2).max(1);
                }
            }
        }
    }

    async fn post(&mut self, batch: &EventBatch) -> Result<Posted, Lost> {
        let mut backoff = Backoff::default();
        loop {
            let Ok(posted) = tokio::time::timeout(POST_MAX, self.client.append(self.turn, batch)).await
            else {
                self.pause_or_lose("the server does not answer", &mut backoff).await?;
                continue;
            };
            match posted {
                Ok(accepted) => {
                    self.obey(accepted);
                    return Ok(Posted::Stored);
                }
                Err(error) if error.code() == Some("body_too_large") && batch.events.len() > 1 => {
                    return Ok(Posted::TooLarge);
                }
                Err(error) => self.wait_or_lose(&error, &mut backoff).await?,
            }
        }
    }

    async fn finish(&mut self, ended: Ended) -> Result<(), Lost> {
        // The end itself is one transaction with the last events; what does not fit beside it goes before.
        if self.pending.len() > BATCH_MAX {
            self.flush(None).await?;
        }
        let mut finish = Finish {
            epoch: self.epoch,
            lease: Some(self.lease),
            first: self.next,
            events: std::mem::take(&mut self.pending),
            blobs: blobs(&ended),
            ended,
        };
        let mut backoff = Backoff::default();
        loop {
            match self.client.finish(self.turn, &finish).await {
                Ok(_) => return Ok(()),
                Err(error) if error.code() == Some("body_too_large") && !finish.events.is_empty() => {
                    self.pending = std::mem::take(&mut finish.events);
                    self.flush(None).await?;
                    finish.first = self.next;
                }
                Err(error) => self.wait_or_lose(&error, &mut backoff).await?,
            }
        }
    }

    /// Waits before the next try, or gives up: for good if the server says no, else some time after the lease has lapsed.
    async fn wait_or_lose(&self, error: &Error, backoff: &mut Backoff) -> Result<(), Lost> {
        if !error.is_retryable() {
            tracing::warn!(turn = %self.turn, %error, "the turn is lost to this worker");
            return Err(Lost);
        }
        self.pause_or_lose(error, backoff).await
    }

    async fn pause_or_lose(&self, why: impl std::fmt::Display, backoff: &mut Backoff) -> Result<(), Lost> {
        if now().ms_since(self.until) >= AWAY_MS {
            tracing::warn!(turn = %self.turn, %why, "the lease has lapsed; the turn is lost to this worker");
            return Err(Lost);
        }
        tokio::time::sleep(backoff.next()).await;
        Ok(())
    }

    fn obey(&mut self, accepted: Accepted) {
        self.until = accepted.until;
        for directive in accepted.directives {
            match directive {
                Directive::Cancel => self.signals.cancel(Why::User),
                Directive::Hear { message } => self.pass_on(message),
                Directive::Reserve => self.signals.budgeted.cancel(),
            }
        }
    }
}

impl Carrier {
    /// A full queue takes it when it is said again.
    fn pass_on(&mut self, message: Message) {
        let id = message.id;
        if !self.heard.contains(&id) && self.messages.try_send(message).is_ok() {
            self.heard.insert(id);
        }
    }
}

enum Posted {
    Stored,
    TooLarge,
}

fn blobs(ended: &Ended) -> Vec<BlobId> {
    ended.patch.iter().map(|patch| patch.blob.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_of_a_cancel_stays() {
        let signals = Signals::new();
        signals.cancel(Why::WallTime);
        signals.cancel(Why::User);
        assert_eq!(signals.why(), Why::WallTime);
        assert!(signals.cancel.is_cancelled());
    }
}
