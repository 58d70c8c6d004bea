//! Watching a task to its end: its events, the clock, the user's Ctrl-C and the worker's health, in one loop.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use legwork_client::Client;
use legwork_domain::{AttemptId, Event, EventKind, State, TaskId, TaskView, Timestamp};
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::local::Worker;
use crate::record::Record;
use crate::screen::Screen;
use crate::signals::Signals;
use crate::text::{DIM, Line, Paint, WARN};

/// How often the live part is redrawn: eight pictures a second look alive and cost nothing.
const TICK: Duration = Duration::from_millis(125);
/// How often a queued task is asked where it stands: a place in a queue is read, not watched.
const QUEUE_TICK: Duration = Duration::from_secs(2);
/// Events that may wait to be shown; a slow terminal then slows the reading, not the task.
const EVENTS_MAX: usize = 256;
/// How long a cancelled task may take to save its partial patch.
const CANCEL_MAX: Duration = Duration::from_secs(30);

/// How a task ended, as far as it was seen.
pub struct Ends {
    /// What each attempt's log says, by the attempt's number.
    pub records: BTreeMap<u8, Record>,
    /// Whether the user broke it off.
    pub interrupted: bool,
}

/// What a signal means for the task that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// The first cancels it, the second leaves.
    Cancel,
    /// The task goes on without its watcher.
    Leave,
}

/// Who watches which task.
pub(crate) struct Watcher<'a> {
    /// Speaks to its server.
    pub(crate) client: &'a Client,
    /// The task.
    pub(crate) view: &'a TaskView,
    /// End the watching.
    pub(crate) signals: &'a mut Signals,
    /// Works on it in this process.
    pub(crate) worker: Option<&'a mut Worker>,
    /// How.
    pub(crate) on_signal: OnSignal,
}

/// Whether nothing more happens without a person: every attempt is over, or waits for one.
pub(crate) fn settled(view: &TaskView) -> bool {
    let mut last = view.attempts.iter().filter_map(|attempt| attempt.turns.last());
    last.all(|turn| matches!(turn.state, State::Finished(_) | State::Parked { .. }))
}

/// Shows the task's events until all its attempts are over or, where a signal would cancel, wait for a person.
///
/// If the output is gone (a closed pipe), nobody watches, which is as good as a signal.
pub(crate) async fn follow<W: Write>(watcher: Watcher<'_>, screen: &mut Screen<W>) -> anyhow::Result<Ends> {
    let Watcher { client, view, signals, mut worker, on_signal } = watcher;
    let mut watch = Watch::new(client, view, screen, on_signal);
    let mut events = read(client, view);
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut looks = std::pin::pin!(looks(client, view.task.id));
    let deadline = tokio::time::sleep(CANCEL_MAX);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    if watch.event(&event?).await? == Sight::NeedsYou {
                        return Ok(watch.end());
                    }
                }
                None => return Ok(watch.end()),
            },
            _ = clock.tick() => watch.tick().await?,
            Some(Some(now)) = looks.next(), if watch.screen.shows_a_queue() => watch.places(&now),
            () = signals.next() => {
                if watch.cancelling || on_signal == OnSignal::Leave {
                    watch.leave(worker.as_deref()).await;
                }
                watch.ends.interrupted = true;
                watch.cancel("Cancelling; the partial patch will be kept. Ctrl-C again leaves at once.").await?;
                deadline.as_mut().reset(tokio::time::Instant::now() + CANCEL_MAX);
            }
            () = &mut deadline, if watch.cancelling => watch.leave(worker.as_deref()).await,
            error = failure(worker.as_deref_mut()) => return Err(error),
        }
    }
}

/// The task again and again; `None` where there was no answer, which the events will tell of.
fn looks(client: &Client, id: TaskId) -> impl Stream<Item = Option<TaskView>> + use<'_> {
    let mut clock = tokio::time::interval(QUEUE_TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold(clock, move |mut clock| async move {
        clock.tick().await;
        Some((client.task(id).await.ok(), clock))
    })
}

/// Waits for the end of a worker that has no reason to end.
async fn failure(worker: Option<&mut Worker>) -> anyhow::Error {
    match worker {
        Some(worker) => worker.failure().await,
        None => std::future::pending().await,
    }
}

/// What is to be seen after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It goes on.
    Open,
    /// It goes on when a person has spoken.
    NeedsYou,
}

struct Watch<'a, W: Write> {
    client: &'a Client,
    view: &'a TaskView,
    screen: &'a mut Screen<W>,
    numbers: BTreeMap<AttemptId, u8>,
    ends: Ends,
    on_signal: OnSignal,
    cancelling: bool,
    /// The output is gone.
    blind: bool,
}

impl<'a, W: Write> Watch<'a, W> {
    fn new(client: &'a Client, view: &'a TaskView, screen: &'a mut Screen<W>, on_signal: OnSignal) -> Self {
        let numbers: BTreeMap<_, _> =
            view.attempts.iter().map(|view| (view.attempt.id, view.attempt.number)).collect();
        let records = numbers.values().map(|number| (*number, Record::default())).collect();
        let ends = Ends { records, interrupted: false };
        Self { client, view, screen, numbers, ends, on_signal, cancelling: false, blind: false }
    }

    async fn event(&mut self, event: &Event) -> anyhow::Result<Sight> {
        let number = self.numbers.get(&event.attempt).copied().unwrap_or(1);
        self.ends.records.entry(number).or_default().take(event);
        if !self.blind {
            let shown = self.screen.event(event);
            self.shown(shown).await?;
        }
        let parked = matches!(event.kind, EventKind::State { state: State::Parked { .. }, .. });
        // The log may be far ahead of this event: only how it stands now counts.
        if parked
            && self.on_signal == OnSignal::Cancel
            && settled(&self.client.task(self.view.task.id).await?)
        {
            return Ok(Sight::NeedsYou);
        }
        Ok(Sight::Open)
    }

    fn places(&mut self, view: &TaskView) {
        for place in &view.queue {
            let mut attempts = view.attempts.iter();
            let waits = attempts.find(|attempt| attempt.turns.iter().any(|turn| turn.id == place.turn));
            if let Some(waits) = waits {
                self.screen.wait_for(waits.attempt.id, &place.reason);
            }
        }
    }

    async fn tick(&mut self) -> anyhow::Result<()> {
        if !self.blind {
            let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
            let shown = self.screen.tick(now);
            self.shown(shown).await?;
        }
        Ok(())
    }

    async fn shown(&mut self, shown: std::io::Result<()>) -> anyhow::Result<()> {
        if shown.is_err() {
            self.blind = true;
            if self.on_signal == OnSignal::Leave {
                self.leave(None).await;
            }
            self.cancel("The output was closed; cancelling.").await?;
        }
        Ok(())
    }

    async fn cancel(&mut self, why: &str) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.cancelling, true) {
            return Ok(());
        }
        // Where the output is gone the task is cancelled all the same.
        let _ = self.screen.end();
        say(&Line::default().with(WARN, why));
        self.client.cancel(self.view.task.id).await?;
        Ok(())
    }

    /// Ends the process, and the leases of the worker that ends with it.
    async fn leave(&mut self, worker: Option<&Worker>) -> ! {
        let _ = self.screen.end();
        if let Some(worker) = worker {
            worker.leave(self.client).await;
        }
        let id = self.view.task.id;
        let kept = match self.on_signal {
            OnSignal::Cancel => format!("Left. What was recorded is kept: legwork task show {id}"),
            OnSignal::Leave => format!("Left; the task goes on. Come back: legwork task watch {id}"),
        };
        say(&Line::default().with(DIM, &kept));
        std::process::exit(i32::from(Exit::Interrupted.code()))
    }

    fn end(self) -> Ends {
        // What comes next finds out by itself whether the output is there.
        let _ = self.screen.end();
        self.ends
    }
}

/// A line for the user on standard error, which may be gone.
pub(crate) fn say(line: &Line) {
    let stderr = std::io::stderr();
    let paint = if stderr.is_terminal() { Paint::of(&stderr) } else { Paint::Plain };
    let _ = writeln!(stderr.lock(), "{}", line.render(paint));
}

/// All attempts' logs on one channel, which closes after the last event of the last one.
pub(crate) fn read(client: &Client, view: &TaskView) -> mpsc::Receiver<Result<Event, legwork_client::Error>> {
    let (send, receive) = mpsc::channel(EVENTS_MAX);
    for attempt in &view.attempts {
        let (client, send, id) = (client.clone(), send.clone(), attempt.attempt.id);
        tokio::spawn(async move {
            let mut events = std::pin::pin!(client.events(id, 0));
            while let Some(event) = events.next().await {
                if send.send(event).await.is_err() {
                    break;
                }
            }
        });
    }
    receive
}
