//! What must hold for every log, whoever died in between: the checker that tests and `legwork doctor --deep` share.
//!
//! It reads a log once, in order, and keeps what it needs of it (open items, one state a turn), so that the longest log
//! costs no more memory than its items. It judges what is recorded and trusts nobody: neither the code that wrote the log
//! nor the state machine that allowed it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Event, EventKind, Item, ItemId, State, TRIES_MAX, Timestamp, Turn, TurnId};

/// How long a lease may have lapsed before somebody must have noticed: some looks of the reconciler, and a restart.
const LAPSED_MAX_MS: u64 = 60_000;

/// A rule of the house, by the number that `ARCHITECTURE.md` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// I1: what was accepted is there.
    Accepted,
    /// I2: one idempotency key, one task.
    OneTaskPerKey,
    /// I3: `seq` is 1..n.
    Gapless,
    /// I4: a stream yields each event once, in order.
    Replay,
    /// I5: every item ends exactly once.
    OneResult,
    /// I6: each lease has a higher epoch than the one before.
    Fenced,
    /// I7: one effect an intent.
    OneEffect,
    /// I8: terminal is final and says why.
    Final,
    /// I9: nothing stalls in silence.
    NoStall,
    /// I10: everything is bounded.
    Bounded,
    /// I12: no secret in any record.
    NoSecret,
}

impl Invariant {
    /// Its number in `ARCHITECTURE.md`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Accepted => 1,
            Self::OneTaskPerKey => 2,
            Self::Gapless => 3,
            Self::Replay => 4,
            Self::OneResult => 5,
            Self::Fenced => 6,
            Self::OneEffect => 7,
            Self::Final => 8,
            Self::NoStall => 9,
            Self::Bounded => 10,
            Self::NoSecret => 12,
        }
    }
}

/// A rule that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// Which rule.
    pub invariant: Invariant,
    /// The id of what breaks it.
    pub subject: String,
    /// What was found.
    pub detail: String,
}

impl Violation {
    /// A violation by `subject`.
    pub fn new(invariant: Invariant, subject: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self { invariant, subject: subject.to_string(), detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} {}: {}", self.invariant.number(), self.subject, self.detail)
    }
}

/// Checks one attempt's log.
#[derive(Debug, Default)]
pub struct LogCheck {
    last_seq: u64,
    open: BTreeMap<ItemId, Item>,
    ended: BTreeSet<ItemId>,
    turns: BTreeMap<TurnId, Seen>,
    found: Vec<Violation>,
}

/// What the log told last of a turn.
#[derive(Debug)]
struct Seen {
    state: State,
    epoch: u64,
}

impl LogCheck {
    /// The next event, as it was read.
    pub fn event(&mut self, event: &Event) {
        if event.seq != self.last_seq + 1 {
            let detail = format!("event {} follows event {}", event.seq, self.last_seq);
            self.found.push(Violation::new(Invariant::Gapless, event.attempt, detail));
        }
        self.last_seq = event.seq;
        if let Some(turn) = turn_of(&event.kind) {
            self.after_the_end(turn, event.seq);
        }
        match &event.kind {
            EventKind::State { turn, state } => self.state(*turn, state),
            EventKind::ItemStarted { item } => self.started(item),
            EventKind::ItemCompleted { item } => self.completed(item),
            EventKind::Base { .. }
            | EventKind::ItemUpdated { .. }
            | EventKind::Usage { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Patch { .. }
            | EventKind::Verdict { .. }
            | EventKind::Artifact { .. }
            | EventKind::Connection { .. } => {}
        }
    }

    /// The end of the log, held against the attempt's record: its last seq, and its turns as they stand at `now`.
    #[must_use]
    pub fn finish(mut self, turns: &[Turn], last_seq: u64, now: Timestamp) -> Vec<Violation> {
        let Some(first) = turns.first() else { return self.found };
        if last_seq != self.last_seq {
            let detail = format!("its record says {last_seq} events, its log ends at {}", self.last_seq);
            self.found.push(Violation::new(Invariant::Gapless, first.attempt, detail));
        }
        for turn in turns {
            self.turn(turn, now);
        }
        self.found
    }

    fn say(&mut self, invariant: Invariant, subject: impl fmt::Display, detail: impl Into<String>) {
        self.found.push(Violation::new(invariant, subject, detail));
    }

    fn after_the_end(&mut self, turn: TurnId, seq: u64) {
        if self.turns.get(&turn).is_some_and(|seen| matches!(seen.state, State::Finished(_))) {
            self.say(Invariant::Final, turn, format!("event {seq} comes after its end"));
        }
    }

    fn state(&mut self, turn: TurnId, state: &State) {
        let before = self.turns.get(&turn);
        let mut epoch = before.map_or(0, |seen| seen.epoch);
        if before.is_none() && !matches!(state, State::Queued) {
            self.say(Invariant::Final, turn, format!("its first state is {}", state.name()));
        }
        if let Some(lease) = state.lease() {
            let expected = if matches!(state, State::Leased { .. }) { epoch + 1 } else { epoch };
            if lease.epoch != expected {
                let detail = format!("{} under epoch {} where {expected} was due", state.name(), lease.epoch);
                self.say(Invariant::Fenced, turn, detail);
            }
            epoch = lease.epoch;
        } else {
            self.nothing_left_open(turn, state);
        }
        if let State::Finished(ended) = state
            && ended.sentence.trim().is_empty()
        {
            self.say(Invariant::Final, turn, "it ended without a word");
        }
        self.turns.insert(turn, Seen { state: state.clone(), epoch });
    }

    /// Without a lease nobody works on an item; only what a turn asks a person stays open until it ends.
    fn nothing_left_open(&mut self, turn: TurnId, state: &State) {
        let may_ask = state.ended().is_none();
        let left = self.open.values().filter(|item| item.turn == turn && !(may_ask && item.asks()));
        let left: Vec<String> = left.map(|item| item.id.to_string()).collect();
        if !left.is_empty() {
            self.say(Invariant::OneResult, turn, format!("{} but {} is open", state.name(), left.join(", ")));
        }
    }

    fn started(&mut self, item: &Item) {
        if self.ended.contains(&item.id) || self.open.insert(item.id, item.clone()).is_some() {
            self.say(Invariant::OneResult, item.turn, format!("{} started twice", item.id));
        }
    }

    fn completed(&mut self, item: &Item) {
        if self.open.remove(&item.id).is_none() {
            let what = if self.ended.contains(&item.id) { "completed twice" } else { "completed unstarted" };
            self.say(Invariant::OneResult, item.turn, format!("{} {what}", item.id));
        }
        self.ended.insert(item.id);
    }

    fn turn(&mut self, turn: &Turn, now: Timestamp) {
        let told = self.turns.get(&turn.id).map(|seen| seen.state.name());
        if told != Some(turn.state.name()) {
            let detail = format!("it is {}, its log says {}", turn.state.name(), told.unwrap_or("nothing"));
            self.say(Invariant::Final, turn.id, detail);
        }
        if turn.tries > TRIES_MAX {
            self.say(Invariant::Bounded, turn.id, format!("{} tries, at most {TRIES_MAX}", turn.tries));
        }
        if let Some(lease) = turn.state.lease() {
            if lease.epoch != turn.epoch {
                let detail = format!("its lease has epoch {}, it has {}", lease.epoch, turn.epoch);
                self.say(Invariant::Fenced, turn.id, detail);
            }
            let lapsed = now.ms_since(lease.until);
            if lapsed > LAPSED_MAX_MS {
                self.say(Invariant::NoStall, turn.id, format!("its lease lapsed {} s ago", lapsed / 1000));
            }
        }
    }
}

/// Whose event it is; `None` for more of an item, which names its item only.
const fn turn_of(kind: &EventKind) -> Option<TurnId> {
    match kind {
        EventKind::ItemStarted { item } | EventKind::ItemCompleted { item } => Some(item.turn),
        EventKind::ItemUpdated { .. } => None,
        EventKind::State { turn, .. }
        | EventKind::Base { turn, .. }
        | EventKind::Usage { turn, .. }
        | EventKind::Context { turn, .. }
        | EventKind::Snapshot { turn, .. }
        | EventKind::Patch { turn, .. }
        | EventKind::Verdict { turn, .. }
        | EventKind::Artifact { turn, .. }
        | EventKind::Connection { turn, .. } => Some(*turn),
    }
}

/// Checks what one watcher of an attempt was sent, over all its connections.
#[derive(Debug, Default)]
pub struct StreamCheck {
    last: u64,
    found: Vec<Violation>,
}

impl StreamCheck {
    /// The watcher connects and says that it has everything up to `last_event_id`.
    pub fn connected(&mut self, last_event_id: u64) {
        self.last = last_event_id;
    }

    /// It was sent a message with this `id`, and with `seq` in its data.
    pub fn received(&mut self, id: u64, event: &Event) {
        if id != event.seq || id != self.last + 1 {
            let detail = format!("after {} came id {id} with event {}", self.last, event.seq);
            self.found.push(Violation::new(Invariant::Replay, event.attempt, detail));
        }
        self.last = id;
    }

    /// What was wrong.
    #[must_use]
    pub fn finish(self) -> Vec<Violation> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AttemptId, Ended, ItemBody, ItemStatus, Lease, LeaseId, Level, Outcome, Usage, Waiting, WorkerId,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const TURN: TurnId = TurnId::from_u128(1);

    fn lease(epoch: u64) -> Lease {
        Lease { id: LeaseId::from_u128(1), worker: WorkerId::from_u128(1), epoch, until: NOW }
    }

    fn state(state: State) -> EventKind {
        EventKind::State { turn: TURN, state }
    }

    fn item(n: u32, body: ItemBody) -> Item {
        let id = ItemId::new(n);
        Item { id, turn: TURN, status: ItemStatus::InProgress, started_at: NOW, ended_at: None, body }
    }

    fn notice() -> ItemBody {
        ItemBody::Notice { level: Level::Info, text: "x".into() }
    }

    fn question() -> ItemBody {
        ItemBody::Question { text: "Which?".into(), options: Vec::new(), answer: None }
    }

    fn finished(sentence: &str) -> State {
        State::Finished(Box::new(Ended::nothing(Outcome::NoChange, sentence, NOW)))
    }

    fn judge(kinds: Vec<EventKind>, state: State, epoch: u64) -> Vec<String> {
        let mut check = LogCheck::default();
        let count = kinds.len() as u64;
        for (seq, kind) in (1..).zip(kinds) {
            check.event(&Event { seq, at: NOW, attempt: AttemptId::from_u128(1), kind });
        }
        let turn = Turn {
            id: TURN,
            task: crate::TaskId::from_u128(1),
            attempt: AttemptId::from_u128(1),
            number: 1,
            input: String::new(),
            images: Vec::new(),
            created_at: NOW,
            epoch,
            tries: 1,
            cancel_requested_at: None,
            usage: Usage::default(),
            state,
        };
        let found = check.finish(&[turn], count, NOW.plus_ms(120_000));
        found.iter().map(|violation| violation.to_string().replace(&TURN.to_string(), "T")).collect()
    }

    #[test]
    fn a_good_log_breaks_nothing() {
        let parked = State::Parked { on: Waiting::Input, patch: None };
        let kinds = vec![
            state(State::Queued),
            state(State::Leased { lease: lease(1) }),
            state(State::Running { lease: lease(1) }),
            EventKind::ItemStarted { item: item(1, question()) },
            state(parked),
            EventKind::ItemCompleted { item: item(1, question()) },
            state(State::Queued),
            state(State::Leased { lease: lease(2) }),
            state(finished("Done.")),
        ];
        assert_eq!(judge(kinds, finished("Done."), 2), Vec::<String>::new());
    }

    #[test]
    fn every_broken_rule_is_named() {
        let kinds = vec![
            state(State::Queued),
            state(State::Leased { lease: lease(2) }),
            EventKind::ItemStarted { item: item(1, notice()) },
            EventKind::ItemStarted { item: item(1, notice()) },
            EventKind::ItemCompleted { item: item(2, notice()) },
            state(finished(" ")),
            EventKind::Usage { turn: TURN, usage: Usage::default() },
        ];
        insta::assert_snapshot!(judge(kinds, State::Running { lease: lease(1) }, 2).join("\n"), @r"
        I6 T: leased under epoch 2 where 1 was due
        I5 T: item_1 started twice
        I5 T: item_2 completed unstarted
        I5 T: finished but item_1 is open
        I8 T: it ended without a word
        I8 T: event 7 comes after its end
        I8 T: it is running, its log says finished
        I6 T: its lease has epoch 1, it has 2
        I9 T: its lease lapsed 120 s ago
        ");
    }

    #[test]
    fn a_stream_with_a_hole_or_a_repeat_is_seen() {
        let event = |seq| Event {
            seq,
            at: NOW,
            attempt: AttemptId::from_u128(1),
            kind: EventKind::Usage { turn: TURN, usage: Usage::default() },
        };
        let mut check = StreamCheck::default();
        check.connected(4);
        check.received(5, &event(5));
        check.connected(5);
        check.received(6, &event(6));
        check.received(6, &event(6));
        check.received(8, &event(8));
        assert_eq!(check.finish().len(), 2);
    }
}
