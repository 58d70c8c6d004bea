//! Text that comes in pieces: a value that is cut in two by them must not pass in two events.
//!
//! The end of a piece that could be the beginning of a value is held back and goes out with the next piece of the same item.
//! When the item completes, its whole text comes anyway, so what is held then is dropped. A batch that is sent again begins
//! from what was held before it came the first time. All of this is in memory: a server that dies loses at most the held
//! characters of the live view, and the completed item has them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use legwork_domain::{EventBatch, EventKind, ItemId, NewEvent, TurnId};

use super::Known;

/// Turns that are kept in mind: more than any server has live ones. Beyond it those that were not heard of are forgotten.
const TURNS_MAX: usize = 10_000;

/// What is held back of each live turn.
#[derive(Default)]
pub(crate) struct Held {
    turns: Mutex<HashMap<TurnId, Turn>>,
}

#[derive(Default)]
struct Turn {
    epoch: u64,
    /// The number of the first event of the last batch, and what was held before it.
    last: u64,
    before: HashMap<ItemId, String>,
    after: HashMap<ItemId, String>,
}

impl Held {
    /// The batch, with the pieces cut so that no value passes in two of them.
    pub(crate) fn pass(&self, known: &Known, turn: TurnId, batch: EventBatch) -> EventBatch {
        if known.longest() == 0 || batch.events.is_empty() {
            return batch;
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= TURNS_MAX && !turns.contains_key(&turn) {
            turns.clear();
        }
        let state = turns.entry(turn).or_default();
        if state.epoch != batch.epoch {
            *state = Turn { epoch: batch.epoch, ..Turn::default() };
        }
        if batch.first == state.last {
            state.after.clone_from(&state.before);
        } else {
            state.before.clone_from(&state.after);
            state.last = batch.first;
        }
        let held = &mut state.after;
        let events = batch.events.into_iter().map(|event| cut(known, held, event)).collect();
        EventBatch { events, ..batch }
    }

    /// Forgets a turn that has ended.
    pub(crate) fn forget(&self, turn: TurnId) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&turn);
    }
}

fn cut(known: &Known, held: &mut HashMap<ItemId, String>, mut event: NewEvent) -> NewEvent {
    if let EventKind::ItemCompleted { item } = &event.kind {
        held.remove(&item.id);
    }
    if let EventKind::ItemUpdated { item, delta } = &mut event.kind {
        let whole = held.remove(item).unwrap_or_default() + delta;
        let mut clean = known.text(&whole).into_owned();
        let rest = clean.split_off(known.safe_end(&clean));
        if !rest.is_empty() {
            held.insert(*item, rest);
        }
        *delta = clean;
    }
    event
}

impl Known {
    /// Where the end of the text begins that could be the beginning of a value; its length if it could not.
    fn safe_end(&self, text: &str) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let places = text.char_indices().map(|(place, _)| place).skip_while(|place| *place < from);
        places.into_iter().find(|place| self.begins_with(&text[*place..])).unwrap_or(text.len())
    }

    /// Whether a form begins with this.
    fn begins_with(&self, text: &str) -> bool {
        let place = self.forms.partition_point(|(form, _)| form.as_str() < text);
        self.forms.get(place).is_some_and(|(form, _)| form.starts_with(text))
    }
}

#[cfg(test)]
mod tests {
    use legwork_domain::Timestamp;

    use super::super::tests::knows;
    use super::*;

    const TURN: TurnId = TurnId::from_u128(1);

    fn batch(first: u64, pieces: &[&str]) -> EventBatch {
        let event = |piece: &&str| NewEvent {
            at: Timestamp::from_micros(0),
            kind: EventKind::ItemUpdated { item: ItemId::new(1), delta: (*piece).to_owned() },
        };
        EventBatch {
            epoch: 1,
            lease: None,
            first,
            events: pieces.iter().map(event).collect(),
            transition: None,
        }
    }

    fn pieces(batch: &EventBatch) -> Vec<&str> {
        let mut pieces = Vec::new();
        for event in &batch.events {
            if let EventKind::ItemUpdated { delta, .. } = &event.kind {
                pieces.push(delta.as_str());
            }
        }
        pieces
    }

    #[test]
    fn a_value_that_is_cut_anywhere_passes_in_no_pieces() {
        let value = "s3cret-välue-42";
        let known = knows(&[("TOKEN", value)]).known();
        let cuts: Vec<usize> = value.char_indices().map(|(place, _)| place).skip(1).collect();
        for cut in cuts {
            for together in [true, false] {
                let held = Held::default();
                let (one, two) = (format!("a {}", &value[..cut]), format!("{} b", &value[cut..]));
                let out = if together {
                    vec![held.pass(&known, TURN, batch(0, &[&one, &two]))]
                } else {
                    vec![
                        held.pass(&known, TURN, batch(0, &[&one])),
                        held.pass(&known, TURN, batch(1, &[&two])),
                    ]
                };
                let text: Vec<&str> = out.iter().flat_map(pieces).collect();
                assert_eq!(text.concat(), "a [redacted:TOKEN] b", "cut at {cut}: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_value_after_all_passes_whole_and_once() {
        let known = knows(&[("TOKEN", "abcdefghij")]).known();
        let held = Held::default();
        let first = held.pass(&known, TURN, batch(0, &["x abcde"]));
        assert_eq!(pieces(&first), ["x "]);
        // Sent again, since its answer was lost.
        assert_eq!(held.pass(&known, TURN, batch(0, &["x abcde"])), first);
        assert_eq!(pieces(&held.pass(&known, TURN, batch(1, &["f!", ""]))), ["abcdef!", ""]);
        held.forget(TURN);
        assert_eq!(pieces(&held.pass(&known, TURN, batch(3, &["ghij"]))), ["ghij"]);
    }
}
