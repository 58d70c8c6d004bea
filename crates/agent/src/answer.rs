//! Reading one answer of the model: its words become items as they come, its calls start as soon as they are whole.
//!
//! A call is told to the log, with all of the answer before it, before it is made.
//!
//! **The rule for void answers.** A model may start an answer afresh after part of it was read, and then all of that part
//! is void: no entry of it enters the context. Calls that it made may have run already. They are cancelled, their ends
//! are awaited (so that nothing of the void answer runs beside the new one), the log's context is put back, and the model is told in a note after the
//! new answer which of them had been started and what they gave, since their effects stay.

use std::sync::Arc;

use futures::StreamExt as _;
use legwork_domain::{Author, ContextChange, Item, ItemBody, ItemStatus, Level};
use legwork_model::{Delta, Entry, Error, Finished, Stop as ModelStop, Stream, Usage};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::calls::{Gate, Running, results};
use crate::history::{History, Record, text_tokens};
use crate::limits::Budget;
use crate::tools::{Approval, Call, DELTA_DELAY, Scene, Toolbox};
use crate::{Stop, Timeline};

/// A longer piece of text is told at once.
const DELTA_BYTES: usize = 16 * 1024;
/// What a void call gave, in the note: its head is enough.
const NOTE_BYTES_MAX: usize = 1000;

/// How an answer ended.
pub(crate) enum Ending {
    /// In good order.
    Done(Finished),
    /// By a cancel or the end of the wall time.
    Cancelled,
    /// It failed; all of it is void.
    Failed(Error),
}

/// An answer of the model.
pub(crate) struct Answer {
    /// Its entries, for the context.
    pub(crate) records: Vec<Record>,
    /// How many of them the log has already.
    pub(crate) told: usize,
    /// Its calls.
    pub(crate) calls: Vec<Running>,
    /// What it said.
    pub(crate) text: String,
    /// How it ended.
    pub(crate) ending: Ending,
    /// What the model must be told of void parts.
    pub(crate) notes: Vec<String>,
    /// The limit that a call ran into.
    pub(crate) limit: Option<Stop>,
}

/// What an answer is read with.
pub(crate) struct Reader<'a> {
    scene: &'a Arc<Scene>,
    toolbox: &'a Toolbox,
    history: &'a History,
    budget: &'a mut Budget,
    stop: &'a CancellationToken,
    /// Ends the calls of this answer; made anew when it is void.
    cancel: CancellationToken,
    gate: Gate,
    message: Draft,
    reasoning: Draft,
    /// About how many tokens came since the answer began or began anew.
    came: u64,
    answer: Answer,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        scene: &'a Arc<Scene>,
        toolbox: &'a Toolbox,
        history: &'a History,
        budget: &'a mut Budget,
        stop: &'a CancellationToken,
    ) -> Self {
        let answer = Answer {
            records: Vec::new(),
            told: 0,
            calls: Vec::new(),
            text: String::new(),
            ending: Ending::Cancelled,
            notes: Vec::new(),
            limit: None,
        };
        let (message, reasoning) = (Draft::new(Draft::message), Draft::new(Draft::reasoning));
        let (cancel, gate) = (stop.child_token(), Gate::default());
        Self { scene, toolbox, history, budget, stop, cancel, gate, message, reasoning, came: 0, answer }
    }

    /// Reads to the end.
    pub(crate) async fn read(mut self, mut stream: Stream) -> Answer {
        let ending = loop {
            let due = self.message.due.into_iter().chain(self.reasoning.due).min();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ending::Cancelled,
                delta = stream.next() => match delta {
                    Some(Ok(Delta::Done(finished))) => break Ending::Done(finished),
                    Some(Ok(delta)) => self.take(delta).await,
                    Some(Err(error)) => break Ending::Failed(error),
                    None => break Ending::Failed(broken_off()),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.flush().await,
            }
        };
        self.end(ending).await
    }

    async fn take(&mut self, delta: Delta) {
        let timeline = &self.scene.timeline;
        self.came += tokens_of(&delta);
        match delta {
            Delta::Text(text) => self.message.push(&text, timeline).await,
            Delta::Reasoning(text) => self.reasoning.push(&text, timeline).await,
            Delta::Entry(entry) => self.entry(entry).await,
            Delta::Retrying { why, after_ms } => {
                let text = format!("The model is asked again in {:.1} s: {why}", after_ms as f64 / 1000.0);
                timeline.notice(Level::Warning, text).await;
                self.void(ItemStatus::Interrupted).await;
            }
            // Taken by `read`.
            Delta::Done(_) => {}
        }
    }

    async fn entry(&mut self, entry: Entry) {
        let timeline = &self.scene.timeline;
        let entry = match entry {
            Entry::Assistant { text } => {
                self.message.complete(&text, timeline).await;
                append_paragraph(&mut self.answer.text, &text);
                Entry::Assistant { text }
            }
            Entry::Reasoning { .. } => {
                self.reasoning.complete("", timeline).await;
                entry
            }
            Entry::Call { id, name, input } => {
                let id = self.history.fresh_id(id, &self.answer.records);
                let call = Entry::Call { id: id.clone(), name: name.clone(), input: input.clone() };
                self.answer.records.push(Record::model(call));
                self.tell().await;
                let scene = Arc::clone(self.scene);
                let (cancel, approval) = (self.cancel.clone(), Approval::Open);
                self.call(id, Call { name, input, scene, cancel, approval });
                return;
            }
            Entry::User { .. } | Entry::Output { .. } => return,
        };
        self.answer.records.push(Record::model(entry));
    }

    /// Tells the log what it does not have of the answer yet.
    async fn tell(&mut self) {
        let fresh = self.answer.records.iter().skip(self.answer.told).map(Record::value).collect();
        self.answer.told = self.answer.records.len();
        self.scene.timeline.context(ContextChange::Append, fresh).await;
    }

    fn call(&mut self, id: String, call: Call) {
        let running = match self.budget.reserve_call() {
            Ok(()) => Running::start(id, self.toolbox.find(&call.name), call, &mut self.gate),
            Err(stop) => {
                self.answer.limit.get_or_insert(stop);
                Running::refused(id, "Not done: the limit of tool calls is reached.".to_owned())
            }
        };
        self.answer.calls.push(running);
    }

    async fn flush(&mut self) {
        self.message.flush(&self.scene.timeline).await;
        self.reasoning.flush(&self.scene.timeline).await;
    }

    /// Pays for what came of an answer that will bring no figures.
    fn pay(&mut self) {
        match std::mem::take(&mut self.came) {
            0 => {}
            came => self.budget.spend_void(came),
        }
    }

    /// Drops what was read so far; see the rule above.
    async fn void(&mut self, status: ItemStatus) {
        self.pay();
        self.message.abandon(status, &self.scene.timeline).await;
        self.reasoning.abandon(status, &self.scene.timeline).await;
        self.answer.records.clear();
        self.answer.text.clear();
        self.answer.limit = None;
        self.cancel.cancel();
        let mut calls = std::mem::take(&mut self.answer.calls);
        let outcomes = results(&mut calls, &self.cancel).await;
        if let Some(note) = note(&calls, &outcomes) {
            self.answer.notes.push(note);
        }
        if std::mem::take(&mut self.answer.told) > 0 {
            self.scene.timeline.context(ContextChange::Replace, self.history.values()).await;
        }
        self.cancel = self.stop.child_token();
        self.gate = Gate::default();
    }

    async fn end(mut self, ending: Ending) -> Answer {
        let timeline = &self.scene.timeline;
        match &ending {
            Ending::Done(_) => {
                self.message.complete_open(timeline).await;
                self.reasoning.complete_open(timeline).await;
            }
            Ending::Cancelled => {
                self.pay();
                let timeline = &self.scene.timeline;
                self.message.abandon(ItemStatus::Cancelled, timeline).await;
                self.reasoning.abandon(ItemStatus::Cancelled, timeline).await;
                // Thinking without what it led to is refused by providers.
                while self
                    .answer
                    .records
                    .pop_if(|record| matches!(record.entry, Entry::Reasoning { .. }))
                    .is_some()
                {}
            }
            Ending::Failed(_) => self.void(ItemStatus::Failed).await,
        }
        self.answer.ending = ending;
        self.answer
    }
}

impl Answer {
    /// An answer that never came.
    pub(crate) const fn none(ending: Ending) -> Self {
        Self {
            records: Vec::new(),
            told: 0,
            calls: Vec::new(),
            text: String::new(),
            ending,
            notes: Vec::new(),
            limit: None,
        }
    }

    /// What it cost, once it is known.
    pub(crate) const fn usage(&self) -> Option<&Usage> {
        match &self.ending {
            Ending::Done(finished) => Some(&finished.usage),
            Ending::Cancelled | Ending::Failed(_) => None,
        }
    }

    /// Whether the provider's output limit cut it off.
    pub(crate) const fn cut_off(&self) -> bool {
        matches!(&self.ending, Ending::Done(Finished { stop: ModelStop::MaxTokens, .. }))
    }

    /// Whether the model refuses.
    pub(crate) const fn refusal(&self) -> bool {
        matches!(&self.ending, Ending::Done(Finished { stop: ModelStop::Refusal, .. }))
    }
}

/// About how many tokens a delta is. Words count when they come, not again when they are an entry.
fn tokens_of(delta: &Delta) -> u64 {
    match delta {
        Delta::Text(text) | Delta::Reasoning(text) => text_tokens(text),
        Delta::Entry(entry @ Entry::Call { .. }) => Record::model(entry.clone()).tokens(),
        Delta::Entry(_) | Delta::Retrying { .. } | Delta::Done(_) => 0,
    }
}

fn broken_off() -> Error {
    Error::Unavailable {
        provider: "the model".to_owned(),
        tries: 1,
        message: "the stream closed before the answer was complete".to_owned(),
    }
}

fn append_paragraph(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}

/// What the model must know of void calls; `None` if none had been made.
fn note(calls: &[Running], outcomes: &[crate::tools::Outcome]) -> Option<String> {
    if calls.is_empty() {
        return None;
    }
    let lines = calls.iter().zip(outcomes).map(|(call, outcome)| {
        let gave: String = outcome.text().chars().take(NOTE_BYTES_MAX).collect();
        format!("- {}\n  gave: {gave}", call.title)
    });
    Some(format!(
        "An earlier answer of yours broke off and is void, but calls of it had been started before. Their effects stay; look before you repeat them:\n{}",
        lines.collect::<Vec<_>>().join("\n")
    ))
}

/// A message or a summary of thinking that is being written.
struct Draft {
    body: fn(String) -> ItemBody,
    item: Option<Item>,
    text: String,
    /// How much of the text was told.
    told: usize,
    /// When the rest is told.
    due: Option<Instant>,
}

impl Draft {
    const fn new(body: fn(String) -> ItemBody) -> Self {
        Self { body, item: None, text: String::new(), told: 0, due: None }
    }

    const fn message(text: String) -> ItemBody {
        ItemBody::Message { role: Author::Assistant, text, message: None }
    }

    const fn reasoning(text: String) -> ItemBody {
        ItemBody::Reasoning { text }
    }

    async fn push(&mut self, text: &str, timeline: &Timeline) {
        if text.is_empty() {
            return;
        }
        if self.item.is_none() {
            self.item = Some(timeline.start((self.body)(String::new())).await);
        }
        self.text.push_str(text);
        self.due.get_or_insert_with(|| Instant::now() + DELTA_DELAY);
        if self.text.len() - self.told >= DELTA_BYTES {
            self.flush(timeline).await;
        }
    }

    async fn flush(&mut self, timeline: &Timeline) {
        self.due = None;
        if let Some(item) = self.item.as_ref().filter(|_| self.told < self.text.len()) {
            timeline.update(item.id, self.text[self.told..].to_owned()).await;
            self.told = self.text.len();
        }
    }

    /// Ends it with `text`, or with what came if that is empty.
    async fn complete(&mut self, text: &str, timeline: &Timeline) {
        let text = if text.is_empty() { std::mem::take(&mut self.text) } else { text.to_owned() };
        self.close(text, ItemStatus::Completed, timeline).await;
    }

    /// Ends it if it is open.
    async fn complete_open(&mut self, timeline: &Timeline) {
        if self.item.is_some() {
            self.complete("", timeline).await;
        }
    }

    /// Ends it if it is open: what came stays to be seen, but is no part of the context.
    async fn abandon(&mut self, status: ItemStatus, timeline: &Timeline) {
        if self.item.is_some() {
            let text = std::mem::take(&mut self.text);
            self.close(text, status, timeline).await;
        }
    }

    async fn close(&mut self, text: String, status: ItemStatus, timeline: &Timeline) {
        let fresh = Self::new(self.body);
        let Self { item, .. } = std::mem::replace(self, fresh);
        let body = (self.body)(text);
        let item = match item {
            Some(item) => Item { body, ..item },
            None if matches!(&body, ItemBody::Message { text, .. } | ItemBody::Reasoning { text } if text.is_empty()) =>
            {
                return;
            }
            None => timeline.start(body).await,
        };
        timeline.complete(item, status).await;
    }
}
