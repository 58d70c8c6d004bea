//! The model's context as records that the event log can keep and give back.
//!
//! A record is an entry of the model's context with where it came from, which compaction needs to know: it keeps what
//! people said and drops what tools said. The history only grows, so that prompt caches hold; its replacements are a
//! compaction, and an answer of which something was told before it turned out to be void. What a crash left open is closed
//! by new records, never by changing old ones.
//!
//! The log is ahead of what is done: a call stands in it before it is made, so that a worker that takes the turn up knows
//! every call that may have had an effect.

use std::collections::HashSet;

use legwork_domain::{Item, ItemId, MessageId, TurnId};
use legwork_model::{CallInput, Entry, Part, Stop, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What vendors count for an image of ordinary size; its bytes say nothing.
const IMAGE_TOKENS: u64 = 1500;
/// Bytes a token, as `reference/agent-loop` and the tools count them.
pub(crate) const TOKEN_BYTES: u64 = 4;

/// Where an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Ours, at the start: facts and instruction files.
    Context,
    /// What the user asked at the start of a turn; the first with what must hold in the end.
    Goal {
        /// Which turn.
        turn: TurnId,
    },
    /// What the user said while a turn ran.
    User {
        /// Which message it is, so that it is heard once.
        message: MessageId,
    },
    /// Ours, on the way.
    Note,
    /// The model's.
    Model {
        /// On the last entry of a whole answer that is not a call: why the model stopped there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<Stop>,
    },
    /// A tool's result.
    Tool,
    /// The model's, of what a compaction dropped.
    Summary,
}

/// An entry and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// From where.
    #[serde(flatten)]
    pub(crate) origin: Origin,
    /// What.
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

impl Record {
    /// Something said to the model.
    pub(crate) fn said(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin, entry: Entry::User { parts: vec![Part::Text(text.into())] } }
    }

    /// Something that the model said.
    pub(crate) const fn model(entry: Entry) -> Self {
        Self { origin: Origin::Model { stop: None }, entry }
    }

    /// The result of a call.
    pub(crate) const fn output(id: String, parts: Vec<Part>) -> Self {
        Self { origin: Origin::Tool, entry: Entry::Output { id, parts } }
    }

    /// About how many tokens it is.
    pub(crate) fn tokens(&self) -> u64 {
        match &self.entry {
            Entry::User { parts } | Entry::Output { parts, .. } => parts.iter().map(part_tokens).sum(),
            Entry::Assistant { text } => text_tokens(text),
            Entry::Reasoning { raw, .. } => text_tokens(&raw.to_string()),
            Entry::Call { name, input: CallInput::Json(text) | CallInput::Text(text), .. } => {
                text_tokens(name) + text_tokens(text)
            }
        }
    }

    /// Its form in the log.
    pub(crate) fn value(&self) -> Value {
        // A record is strings and JSON values, which always serialise; a null would be skipped when read.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

fn part_tokens(part: &Part) -> u64 {
    match part {
        Part::Text(text) => text_tokens(text),
        Part::Image(_) => IMAGE_TOKENS,
    }
}

/// Four bytes a token, rounded up.
pub(crate) fn text_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(TOKEN_BYTES)
}

/// What is known of a call beside its entry. It is kept among the records and is nothing for the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub(crate) enum Mark {
    /// A person was asked before it is made or answered.
    Asked {
        /// The call's id.
        call: String,
        /// What asks.
        item: Item,
    },
    /// A person said yes, and it is made now.
    Approved {
        /// The call's id.
        call: String,
    },
}

impl Mark {
    /// Its form in the log.
    pub(crate) fn value(&self) -> Value {
        // As for a record.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// A line of the log's context.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Record(Record),
    Mark(Mark),
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Open {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: CallInput,
    /// What a person was asked and has not answered.
    pub(crate) asked: Option<Item>,
}

/// The context so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: Vec<Record>,
    marks: Vec<Mark>,
    call_ids: HashSet<String>,
    /// What the provider counted at the last answer, which all before is in.
    counted: u64,
    /// Our estimate of what came after.
    since: u64,
}

impl History {
    /// Reads what the log kept; also says how many records it could not read.
    pub(crate) fn read(values: Vec<Value>) -> (Self, usize) {
        let (mut history, mut skipped) = (Self::default(), 0);
        for value in values {
            match serde_json::from_value(value) {
                Ok(Kept::Record(record)) => history.append(vec![record]),
                Ok(Kept::Mark(mark)) => history.mark(mark),
                Err(_) => skipped += 1,
            }
        }
        (history, skipped)
    }

    /// All of it in the log's form.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.records.iter().map(Record::value).chain(self.marks.iter().map(Mark::value)).collect()
    }

    /// Whether this turn's goal was told.
    pub(crate) fn has_begun(&self, turn: TurnId) -> bool {
        self.records.iter().any(|record| record.origin == Origin::Goal { turn })
    }

    /// Whether this message was told.
    pub(crate) fn has_heard(&self, message: MessageId) -> bool {
        self.records.iter().any(|record| record.origin == Origin::User { message })
    }

    /// Why the model stopped and what it said then, if a whole answer without calls is the last thing in it.
    pub(crate) fn last_word(&self) -> Option<(Stop, String)> {
        let Origin::Model { stop: Some(stop) } = self.records.last()?.origin else { return None };
        let mut said = Vec::new();
        for record in self.records.iter().rev() {
            match (&record.origin, &record.entry) {
                (Origin::Model { .. }, Entry::Call { .. }) => return None,
                (Origin::Model { .. }, Entry::Assistant { text }) => said.push(text.as_str()),
                (Origin::Model { .. }, _) => {}
                _ => break,
            }
        }
        said.reverse();
        Some((stop, said.join("\n\n")))
    }

    /// The last answer, if this turn's answers are more than the `counted` requests whose cost was told: its worker was lost
    /// between its first call and its end. A failed request or a compaction since may hide it, never make one up.
    pub(crate) fn uncounted(&self, turn: TurnId, counted: u32) -> Option<&[Record]> {
        let goal = self.records.iter().rposition(|record| record.origin == Origin::Goal { turn })?;
        let is_models = |record: &Record| matches!(record.origin, Origin::Model { .. });
        let answers = self.records[goal..].chunk_by(|one, next| is_models(one) && is_models(next));
        let answers: Vec<_> = answers.filter(|chunk| chunk.iter().all(is_models)).collect();
        answers.last().filter(|_| answers.len() > counted as usize).copied()
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The entries for a request.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.records.iter().map(|record| record.entry.clone()).collect()
    }

    pub(crate) fn append(&mut self, records: Vec<Record>) {
        self.since += records.iter().map(Record::tokens).sum::<u64>();
        for record in &records {
            if let Entry::Call { id, .. } = &record.entry {
                self.call_ids.insert(id.clone());
            }
        }
        self.records.extend(records);
    }

    pub(crate) fn replace(&mut self, records: Vec<Record>) {
        *self = Self::default();
        self.append(records);
    }

    /// Takes the provider's own count, if there is one; call it after the answer was appended.
    pub(crate) const fn count(&mut self, usage: &Usage) {
        let counted = usage.input_tokens.saturating_add(usage.output_tokens);
        if counted > 0 {
            self.counted = counted;
            self.since = 0;
        }
    }

    /// Whether a provider counted a request with the beginning of this context.
    pub(crate) const fn is_counted(&self) -> bool {
        self.counted > 0
    }

    /// About how many tokens this context has; a provider's count holds what else the request had, too.
    pub(crate) const fn tokens(&self) -> u64 {
        self.counted + self.since
    }

    /// An id for a call that no earlier call has: providers refuse a context with two.
    pub(crate) fn fresh_id(&self, id: String, answer: &[Record]) -> String {
        let taken = |id: &str| {
            self.call_ids.contains(id)
                || answer
                    .iter()
                    .any(|record| matches!(&record.entry, Entry::Call { id: other, .. } if other == id))
        };
        if !id.is_empty() && !taken(&id) {
            return id;
        }
        let first = self.call_ids.len() + answer.len();
        (first..).map(|number| format!("call_{number}")).find(|id| !taken(id)).unwrap_or(id)
    }

    /// Notes what is known of a call.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// The item that asks for this call, if a person was asked.
    fn asked(&self, id: &str) -> Option<&Item> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::Asked { call, item } if call == id => Some(item),
            Mark::Asked { .. } | Mark::Approved { .. } => None,
        })
    }

    fn is_approved(&self, id: &str) -> bool {
        self.marks.iter().any(|mark| matches!(mark, Mark::Approved { call } if call == id))
    }

    /// What the item of this number asked.
    pub(crate) fn question(&self, id: ItemId) -> Option<&Item> {
        self.marks.iter().find_map(|mark| match mark {
            Mark::Asked { item, .. } if item.id == id => Some(item),
            Mark::Asked { .. } | Mark::Approved { .. } => None,
        })
    }

    /// Calls that have no result, in order: what a crash or a question left open.
    pub(crate) fn open_calls(&self) -> Vec<Open> {
        let answered: HashSet<&str> = self
            .records
            .iter()
            .filter_map(|record| match &record.entry {
                Entry::Output { id, .. } => Some(id.as_str()),
                Entry::User { .. }
                | Entry::Assistant { .. }
                | Entry::Reasoning { .. }
                | Entry::Call { .. } => None,
            })
            .collect();
        let open = self.records.iter().filter_map(|record| match &record.entry {
            Entry::Call { id, name, input } if !answered.contains(id.as_str()) => Some((id, name, input)),
            Entry::Call { .. }
            | Entry::User { .. }
            | Entry::Assistant { .. }
            | Entry::Reasoning { .. }
            | Entry::Output { .. } => None,
        });
        open.map(|(id, name, input)| Open {
            id: id.clone(),
            name: name.clone(),
            input: input.clone(),
            asked: self.asked(id).filter(|_| !self.is_approved(id)).cloned(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: TurnId = TurnId::from_u128(1);

    fn last(stop: Stop, text: &str) -> Record {
        let entry = Entry::Assistant { text: text.into() };
        Record { origin: Origin::Model { stop: Some(stop) }, entry }
    }

    fn call(id: &str) -> Record {
        Record::model(Entry::Call { id: id.into(), name: "t".into(), input: CallInput::Json("{}".into()) })
    }

    #[test]
    fn a_history_reads_back_equal_and_skips_what_it_does_not_know() {
        let reasoning =
            Record::model(Entry::Reasoning { wire: "responses".into(), raw: serde_json::json!({"id": 1}) });
        let records = vec![
            Record::said(Origin::Goal { turn: TURN }, "do it"),
            reasoning,
            call("a"),
            Record::output("a".into(), vec![]),
            Record::said(Origin::User { message: MessageId::from_u128(2) }, "and this"),
            last(Stop::EndTurn, "done"),
        ];
        let mut values: Vec<Value> = records.iter().map(Record::value).collect();
        values.push(serde_json::json!({"origin": "dream", "entry": "user"}));
        let (history, skipped) = History::read(values);
        assert_eq!((history.records(), skipped), (records.as_slice(), 1));
    }

    #[test]
    fn only_a_whole_answer_without_calls_is_the_last_word() {
        let text = |text: &str| Record::model(Entry::Assistant { text: text.into() });
        let word = |records: Vec<Record>| {
            let mut history = History::default();
            history.append(records);
            history.last_word()
        };
        let goal = || Record::said(Origin::Goal { turn: TURN }, "do it");
        let said = Some((Stop::EndTurn, "a\n\nb".to_owned()));
        assert_eq!(word(vec![goal(), text("a"), last(Stop::EndTurn, "b")]), said);
        assert_eq!(word(vec![goal(), text("cut off by a crash")]), None);
        assert_eq!(word(vec![goal(), call("c"), last(Stop::EndTurn, "b")]), None);
        assert_eq!(word(vec![last(Stop::EndTurn, "b"), goal()]), None);
    }

    #[test]
    fn an_answer_whose_cost_was_not_told_is_found() {
        let mut history = History::default();
        let goal = || Record::said(Origin::Goal { turn: TURN }, "do it");
        history.append(vec![
            call("before"),
            goal(),
            call("a"),
            call("b"),
            Record::output("a".into(), vec![]),
        ]);
        assert_eq!(history.uncounted(TURN, 1), None);
        assert_eq!(history.uncounted(TURN, 0), Some([call("a"), call("b")].as_slice()));
        history.append(vec![Record::output("b".into(), vec![]), call("c")]);
        assert_eq!(history.uncounted(TURN, 1), Some([call("c")].as_slice()));
        assert_eq!(history.uncounted(TURN, 3), None, "a request failed or made a summary");
        assert_eq!(history.uncounted(TurnId::from_u128(9), 0), None);
    }

    #[test]
    fn open_calls_are_those_without_a_result() {
        let mut history = History::default();
        history.append(vec![call("a"), call("b"), Record::output("a".into(), vec![])]);
        let open: Vec<_> = history.open_calls().into_iter().map(|call| call.id).collect();
        assert_eq!(open, ["b"]);
    }

    #[test]
    fn an_id_is_given_once() {
        let mut history = History::default();
        history.append(vec![call("a"), call("call_2")]);
        assert_eq!(history.fresh_id("b".into(), &[]), "b");
        assert_eq!(history.fresh_id("a".into(), &[]), "call_3");
        assert_eq!(history.fresh_id("b".into(), &[call("b")]), "call_3");
        assert_eq!(history.fresh_id(String::new(), &[]), "call_3");
    }

    #[test]
    fn the_form_in_the_log() {
        insta::assert_snapshot!(Record::said(Origin::Note, "hi").value(), @r#"{"entry":"user","origin":"note","parts":[{"text":"hi"}]}"#);
    }
}
