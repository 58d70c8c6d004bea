//! What an attempt's log says, folded into what a person asks of it: the answer, its proof, the patch, the price.

use std::collections::BTreeMap;

use legwork_domain::{
    Author, Ended, Event, EventKind, Item, ItemBody, ItemId, ItemStatus, Patch, State, TestClaim, Timestamp,
    TurnId, Usage, Verdict, Waiting,
};

/// The state of one attempt as its events tell it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Completed items.
    pub items: BTreeMap<ItemId, Item>,
    /// Questions and approvals that wait for a person's word.
    pub asked: BTreeMap<ItemId, Item>,
    /// What the last turn is parked for.
    pub parked: Option<Waiting>,
    /// The last patch that was saved.
    pub patch: Option<Patch>,
    /// What the checks of the last turn showed.
    pub verdicts: Vec<Verdict>,
    /// What each turn spent.
    usage: BTreeMap<TurnId, Usage>,
    /// How the last turn ended.
    pub ended: Option<Ended>,
    /// The commit that the patch is against, and what the user called it.
    pub base: Option<(String, Option<String>)>,
    /// When the first and the last event were made.
    span: Option<(Timestamp, Timestamp)>,
    turn: Option<TurnId>,
}

impl Record {
    /// Takes the next event of the log.
    pub fn take(&mut self, event: &Event) {
        self.span = Some((self.span.map_or(event.at, |(first, _)| first), event.at));
        match &event.kind {
            EventKind::State { turn, state } => self.state(*turn, state),
            EventKind::Base { commit, name, .. } => self.base = Some((commit.clone(), name.clone())),
            EventKind::ItemStarted { item } => self.started(item),
            EventKind::ItemCompleted { item } => {
                self.asked.remove(&item.id);
                self.items.insert(item.id, item.clone());
            }
            EventKind::Usage { turn, usage } => {
                self.usage.insert(*turn, *usage);
            }
            EventKind::Patch { patch, .. } => self.patch = Some(patch.clone()),
            EventKind::Verdict { verdict, .. } => self.verdicts.push(verdict.clone()),
            EventKind::ItemUpdated { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Artifact { .. }
            | EventKind::Connection { .. } => {}
        }
    }

    fn started(&mut self, item: &Item) {
        if matches!(item.body, ItemBody::Question { .. } | ItemBody::Approval { .. }) {
            self.asked.insert(item.id, item.clone());
        }
    }

    fn state(&mut self, turn: TurnId, state: &State) {
        self.parked = match state {
            State::Parked { on, .. } => Some(*on),
            State::Queued
            | State::Leased { .. }
            | State::Preparing { .. }
            | State::Running { .. }
            | State::Waiting { .. }
            | State::Finished(_) => None,
        };
        if self.turn.replace(turn) != Some(turn) {
            (self.ended, self.verdicts) = (None, Vec::new());
        }
        if let Some(ended) = state.ended() {
            self.verdicts.clone_from(&ended.verdicts);
            if ended.patch.is_some() {
                self.patch.clone_from(&ended.patch);
            }
            self.usage.insert(turn, ended.usage);
            self.ended = Some(ended.clone());
            self.asked.clear();
        }
    }

    /// What the model said last in the last turn.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        let of_turn = self.items.values().rev().filter(|item| Some(item.turn) == self.turn);
        let mut said = of_turn.filter_map(|item| {
            let ItemBody::Message { role: Author::Assistant, text, .. } = &item.body else { return None };
            (item.status == ItemStatus::Completed).then_some(text.as_str())
        });
        said.next()
    }

    /// The answer's claims of success, each with its proof or without.
    #[must_use]
    pub fn claims(&self) -> Vec<TestClaim> {
        let items: Vec<Item> =
            self.items.values().filter(|item| Some(item.turn) == self.turn).cloned().collect();
        self.answer().map(|answer| TestClaim::find(answer, &items)).unwrap_or_default()
    }

    /// What all turns together spent.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage.values().fold(Usage::default(), |mut sum, usage| {
            sum.add(usage);
            sum
        })
    }

    /// Milliseconds from the first event to the last.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        self.span.map_or(0, |(first, last)| last.ms_since(first))
    }
}
