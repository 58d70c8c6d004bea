//! Live commands. Each is pumped by a task of its own, so that it runs on while the model thinks.
//!
//! The pump is the one owner of the sandbox's handle and of the command's item: whatever ends the command (itself, a
//! cancel, too many others, the end of the turn), the item is completed exactly once, and before anybody who waits for
//! the exit hears of it, so that an output never cites an item that is still open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use legwork_domain::{Item, ItemBody, ItemId, ItemStatus};
use legwork_sandbox::{Exit, Output, Process};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::output::{Capture, take_text};
use crate::Timeline;

/// Live commands at a time; above, the least recently used one is ended.
const LIVE_MAX: usize = 64;
/// Output of a command that waits for the model.
pub(super) const CAPTURE_BYTES_MAX: usize = 1 << 20;
/// Output of a command in its item; a whole log would make every replay heavy.
const ITEM_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Output that an item streams while it runs; after that it is only captured.
const ITEM_DELTA_BYTES_MAX: usize = 256 * 1024;
/// A longer piece is told at once.
const DELTA_BYTES: usize = 16 * 1024;
/// A shorter piece waits so long for more.
pub(crate) const DELTA_DELAY: Duration = Duration::from_millis(100);
/// Input that waits for a command to read it, in writes.
const FEED_MAX: usize = 16;
/// How long the end of a turn waits for the pumps, which only have to tell their items; with a cancelled call's grace
/// it stays below a second.
const CLOSE_MAX: Duration = Duration::from_millis(400);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As the sandbox says.
    Exit(Exit),
    /// We ended it.
    Stopped,
}

/// What is sent to a command.
#[derive(Debug)]
pub(super) enum Feed {
    /// Bytes for its input.
    Bytes(Bytes),
    /// A signal for its group.
    Signal(i32),
}

/// A command that runs, or has ended and was not read to its end yet.
pub(super) struct Live {
    /// The model's number for it.
    pub(super) session: u64,
    /// Its item.
    pub(super) item: ItemId,
    /// Whether it has a terminal.
    pub(super) tty: bool,
    unread: Mutex<Capture>,
    feed: mpsc::Sender<Feed>,
    end: watch::Receiver<Option<End>>,
    stop: CancellationToken,
}

/// The commands of a turn.
pub(crate) struct Processes {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_session: u64,
    clock: u64,
    /// By session, with the time of the last use.
    live: HashMap<u64, (u64, Arc<Live>)>,
    pumps: Vec<watch::Receiver<Option<End>>>,
}

impl Processes {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default() }
    }

    /// Takes a started command and its item.
    pub(super) fn add(&self, process: Process, item: Item, tty: bool, timeline: Timeline) -> Arc<Live> {
        let (feed, fed) = mpsc::channel(FEED_MAX);
        let (ended, end) = watch::channel(None);
        let stop = CancellationToken::new();
        let mut table = lock(&self.table);
        table.last_session += 1;
        let unread = Mutex::new(Capture::new(CAPTURE_BYTES_MAX));
        let session = table.last_session;
        let live = Arc::new(Live { session, item: item.id, tty, unread, feed, end, stop });
        table.keep(&live);
        drop(table);
        let told = Told::new(item, timeline);
        tokio::spawn(Pump { process, fed, live: Arc::clone(&live), told, ended }.run());
        live
    }

    /// The command with this number, which counts as used now.
    pub(super) fn find(&self, session: u64) -> Option<Arc<Live>> {
        let mut table = lock(&self.table);
        table.clock += 1;
        let clock = table.clock;
        table.live.get_mut(&session).map(|(used, live)| {
            *used = clock;
            Arc::clone(live)
        })
    }

    /// Forgets a command that has ended and was read.
    pub(super) fn forget(&self, session: u64) {
        lock(&self.table).live.remove(&session);
    }

    /// Ends every command and waits until their items are complete.
    pub(crate) async fn close(&self) {
        let pumps = {
            let mut table = lock(&self.table);
            table.live.drain().for_each(|(_, (_, live))| live.stop.cancel());
            std::mem::take(&mut table.pumps)
        };
        let all = futures::future::join_all(pumps.into_iter().map(ended));
        // A pump that cannot tell its item in time is bound by a log that is gone.
        let _ = timeout(CLOSE_MAX, all).await;
    }
}

impl Table {
    fn keep(&mut self, live: &Arc<Live>) {
        if self.live.len() >= LIVE_MAX
            && let Some(oldest) =
                self.live.iter().min_by_key(|(_, (used, _))| *used).map(|(session, _)| *session)
            && let Some((_, oldest)) = self.live.remove(&oldest)
        {
            oldest.stop.cancel();
        }
        self.clock += 1;
        self.live.insert(live.session, (self.clock, Arc::clone(live)));
        self.pumps.retain(|end| end.borrow().is_none());
        self.pumps.push(live.end.clone());
    }
}

impl Live {
    /// Waits for the end, at most `most`; a cancel ends the command.
    pub(super) async fn wait(&self, most: Duration, cancel: &CancellationToken) -> Option<End> {
        tokio::select! {
            end = timeout(most, ended(self.end.clone())) => end.ok(),
            () = cancel.cancelled() => {
                self.stop.cancel();
                Some(ended(self.end.clone()).await)
            }
        }
    }

    /// Sends input; whether it was taken.
    pub(super) async fn feed(&self, feed: Feed) -> bool {
        self.feed.send(feed).await.is_ok()
    }

    /// What it said since the last time.
    pub(super) fn take_unread(&self) -> Capture {
        std::mem::replace(&mut lock(&self.unread), Capture::new(CAPTURE_BYTES_MAX))
    }
}

/// Waits for the end; a pump that is gone has ended its command by going.
async fn ended(mut end: watch::Receiver<Option<End>>) -> End {
    end.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(End::Stopped)
}

/// A panic of another holder leaves output that is merely short.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pump {
    process: Process,
    fed: mpsc::Receiver<Feed>,
    live: Arc<Live>,
    told: Told,
    ended: watch::Sender<Option<End>>,
}

impl Pump {
    async fn run(mut self) {
        let end = loop {
            tokio::select! {
                biased;
                () = self.live.stop.cancelled() => break End::Stopped,
                output = self.process.next() => match output {
                    Some(Output::Exited(exit)) => break End::Exit(exit),
                    Some(output) => self.take(output).await,
                    None => break End::Exit(Exit::Lost),
                },
                Some(feed) = self.fed.recv() => self.pass(feed).await,
                () = sleep_until(self.told.due()), if self.told.waits() => self.told.flush().await,
            }
        };
        drop(self.process);
        self.told.complete(end).await;
        self.ended.send_replace(Some(end));
    }

    async fn take(&mut self, output: Output) {
        match output {
            Output::Stdout(bytes) | Output::Stderr(bytes) => {
                lock(&self.live.unread).push(&bytes);
                self.told.push(&bytes).await;
            }
            Output::Omitted(count) => {
                lock(&self.live.unread).omit(count);
                self.told.whole.omit(count);
            }
            Output::Exited(_) => {}
        }
    }

    async fn pass(&self, feed: Feed) {
        // A command that has just ended takes no input; its end comes as output.
        let _ = match feed {
            Feed::Bytes(bytes) => self.process.write(bytes).await,
            Feed::Signal(signal) => self.process.signal(signal).await,
        };
    }
}

/// A command's item: what of it was told, and what waits.
struct Told {
    item: Item,
    timeline: Timeline,
    started: Instant,
    whole: Capture,
    pending: Vec<u8>,
    since: Instant,
    streamed: usize,
}

impl Told {
    fn new(item: Item, timeline: Timeline) -> Self {
        let started = Instant::now();
        let whole = Capture::new(ITEM_OUTPUT_BYTES_MAX);
        Self { item, timeline, started, whole, pending: Vec::new(), since: started, streamed: 0 }
    }

    async fn push(&mut self, bytes: &[u8]) {
        self.whole.push(bytes);
        if self.streamed >= ITEM_DELTA_BYTES_MAX {
            return;
        }
        if self.pending.is_empty() {
            self.since = Instant::now();
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= DELTA_BYTES {
            self.flush().await;
        }
    }

    const fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    fn due(&self) -> Instant {
        self.since + DELTA_DELAY
    }

    async fn flush(&mut self) {
        self.since = Instant::now();
        let text = take_text(&mut self.pending);
        self.streamed += text.len();
        if !text.is_empty() {
            self.timeline.update(self.item.id, text).await;
        }
    }

    async fn complete(mut self, end: End) {
        if let ItemBody::Command(run) = &mut self.item.body {
            run.output = self.whole.text(ITEM_OUTPUT_BYTES_MAX);
            run.output_bytes = self.whole.total();
            run.duration_ms = u64::try_from(self.started.elapsed().as_millis()).ok();
            run.exit_code = match end {
                End::Exit(Exit::Code(code)) => Some(code),
                End::Exit(Exit::Signal(_) | Exit::TimedOut | Exit::Lost) | End::Stopped => None,
            };
        }
        let status = match end {
            End::Exit(Exit::Code(_) | Exit::Signal(_)) => ItemStatus::Completed,
            End::Exit(Exit::TimedOut) => ItemStatus::Failed,
            End::Exit(Exit::Lost) => ItemStatus::Interrupted,
            End::Stopped => ItemStatus::Cancelled,
        };
        self.timeline.complete(self.item, status).await;
    }
}
