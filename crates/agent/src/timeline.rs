use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use legwork_domain::{
    Context, ContextChange, EventKind, Item, ItemBody, ItemId, ItemStatus, Level, NewEvent, Timestamp, TurnId,
};
use tokio::sync::{mpsc, oneshot};

/// The present, cut to what the log keeps.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

/// What a timeline passes on to the log.
#[derive(Debug)]
pub enum Telling {
    /// It happened.
    Event(NewEvent),
    /// Say so once all that was told before is kept for good.
    Keep(oneshot::Sender<()>),
}

/// The log takes no more: the turn was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Sees all that a timeline tells, before the log does.
pub trait Watch: Send + Sync {
    /// It is being told. Returns soon, and cannot keep it from being told.
    fn sees(&self, event: &EventKind);
}

/// Where a turn's items and events are told: it numbers items, stamps times and puts all on one bounded channel.
///
/// A full channel makes the teller wait, so a slow log slows the turn and never fills memory. A closed channel (the turn
/// was taken away) swallows what is told; the turn's cancel token ends the teller.
#[derive(Clone)]
pub struct Timeline {
    turn: TurnId,
    next_item: Arc<AtomicU32>,
    log: mpsc::Sender<Telling>,
    watch: Option<Arc<dyn Watch>>,
}

impl Timeline {
    /// A timeline whose first item has the number `next_item`.
    #[must_use]
    pub fn new(turn: TurnId, next_item: u32, log: mpsc::Sender<Telling>) -> Self {
        Self { turn, next_item: Arc::new(AtomicU32::new(next_item)), log, watch: None }
    }

    /// The same, and `watch` sees what it tells from now on.
    #[must_use]
    pub fn watched_by(self, watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The turn that it belongs to.
    #[must_use]
    pub const fn turn(&self) -> TurnId {
        self.turn
    }

    /// Tells an event that is not an item.
    pub async fn tell(&self, kind: EventKind) {
        if let Some(watch) = &self.watch {
            watch.sees(&kind);
        }
        // The only error is a closed channel, which the doc above explains.
        let _ = self.log.send(Telling::Event(NewEvent { at: now(), kind })).await;
    }

    /// Waits until all that was told so far is kept for good: what comes next may have effects that outlive this process.
    pub(crate) async fn kept(&self) -> Result<(), Closed> {
        let (keep, kept) = oneshot::channel();
        self.log.send(Telling::Keep(keep)).await.map_err(|_| Closed)?;
        kept.await.map_err(|_| Closed)
    }

    /// Starts an item.
    pub async fn start(&self, body: ItemBody) -> Item {
        let id = ItemId::new(self.next_item.fetch_add(1, Ordering::Relaxed));
        let item = Item {
            id,
            turn: self.turn,
            status: ItemStatus::InProgress,
            started_at: now(),
            ended_at: None,
            body,
        };
        self.tell(EventKind::ItemStarted { item: item.clone() }).await;
        item
    }

    /// Adds text to an item's message or output.
    pub async fn update(&self, item: ItemId, delta: String) {
        self.tell(EventKind::ItemUpdated { item, delta }).await;
    }

    /// Ends an item in its final form and gives it back.
    pub async fn complete(&self, mut item: Item, status: ItemStatus) -> Item {
        item.status = status;
        item.ended_at = Some(now());
        self.tell(EventKind::ItemCompleted { item: item.clone() }).await;
        item
    }

    /// An item that is complete as soon as it starts.
    pub async fn record(&self, body: ItemBody) -> Item {
        let item = self.start(body).await;
        self.complete(item, ItemStatus::Completed).await
    }

    /// A notice.
    pub async fn notice(&self, level: Level, text: impl Into<String>) {
        self.record(ItemBody::Notice { level, text: text.into() }).await;
    }

    /// A change of the model's context.
    pub async fn context(&self, change: ContextChange, entries: Vec<serde_json::Value>) {
        self.tell(EventKind::Context { turn: self.turn, context: Context { change, entries } }).await;
    }
}
