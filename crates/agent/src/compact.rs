//! Compaction: near the end of the window, the history is replaced by what matters of it.
//!
//! Kept verbatim: the opening, the goal with its acceptance, and the newest words of the user up to a bound. All else
//! becomes a summary that the model itself writes. The new history is told to the log as a replacement, so that a turn
//! that is taken up again starts from it.

use std::collections::HashSet;

use legwork_domain::Level;
use legwork_model::{Entry, Part, Request};

use crate::Stop;
use crate::answer::{Answer, Ending};
use crate::history::{Origin, Record, text_tokens};
use crate::turn::Turn;

/// Of the window, in hundredths: a compaction comes before the next request would be above.
const WINDOW_PERCENT: u64 = 90;
/// Newest words of the user that are kept beside the goal.
const USER_TOKENS_MAX: u64 = 20_000;
/// How often the oldest half is left out of the request for a summary that does not fit either.
const HALVINGS_MAX: u32 = 4;

const ASK: &str = "The context is nearly full and will be replaced by a summary that you write now. Do not call tools. Write down all that you need to finish the task without reading the history again: what is done and where (files, functions), what was found out, which commands matter and what they showed (with their item numbers), what failed and why, and what is left to do, in order. The task and its acceptance are kept verbatim; do not repeat them.";
const HEADING: &str = "The earlier part of this conversation was replaced by this summary of yours:";

impl Turn {
    /// Compacts if the next request would come near the window's end, unless that was just done.
    pub(crate) async fn make_room(&mut self) -> Result<(), Stop> {
        let usable = self.model.info().context_window * WINDOW_PERCENT / 100;
        let last = self.history.records().last().map(|record| record.origin);
        match last {
            Some(Origin::Goal { .. } | Origin::Summary) | None => Ok(()),
            Some(_) if self.request_tokens() < usable => Ok(()),
            Some(_) => self.compact().await,
        }
    }

    /// Replaces the history.
    pub(crate) async fn compact(&mut self) -> Result<(), Stop> {
        self.scene
            .timeline
            .notice(Level::Info, "The context is nearly full; it is replaced by a summary.")
            .await;
        let summary = self.summary().await?;
        self.history.replace(compacted(self.history.records(), &summary));
        self.retell().await;
        Ok(())
    }

    async fn summary(&mut self) -> Result<String, Stop> {
        let mut records = self.history.records().to_vec();
        for _ in 0..=HALVINGS_MAX {
            let mut asked: Vec<Entry> = records.iter().map(|record| record.entry.clone()).collect();
            asked.push(Entry::User { parts: vec![Part::Text(ASK.to_owned())] });
            let tokens = self.fixed_tokens() + records.iter().map(Record::tokens).sum::<u64>();
            let room = self.reserve(tokens).await?;
            let request = Request { output_max: room, ..self.request(asked) };
            let answer = self.answer(request).await;
            self.spend(&answer).await;
            match self.summary_of(answer).await? {
                Some(summary) => return Ok(summary),
                None => records = newer_half(records),
            }
        }
        Ok("(no summary could be made; look at the files again)".to_owned())
    }

    /// The text; `None` if the context was too long even for this.
    async fn summary_of(&mut self, mut answer: Answer) -> Result<Option<String>, Stop> {
        // Calls were not asked for; they are ended and leave nothing in the context.
        self.drop_calls(&mut answer).await;
        match answer.ending {
            Ending::Done(_) if answer.text.trim().is_empty() => Ok(None),
            Ending::Done(_) => Ok(Some(answer.text)),
            Ending::Cancelled => Err(self.ended()),
            Ending::Failed(legwork_model::Error::ContextOverflow { .. }) => Ok(None),
            Ending::Failed(error) => Err(Stop::Model(error)),
        }
    }
}

/// The history after a compaction: what was asked first and last is kept whole, whatever its size.
fn compacted(records: &[Record], summary: &str) -> Vec<Record> {
    let goals: Vec<usize> = (0..records.len()).filter(|index| is_goal(&records[*index])).collect();
    let whole = |index: usize| goals.first() == Some(&index) || goals.last() == Some(&index);
    let mut room = USER_TOKENS_MAX;
    let mut kept: Vec<Record> = Vec::new();
    for (index, record) in records.iter().enumerate().rev() {
        match record.origin {
            Origin::Context => kept.push(record.clone()),
            Origin::Goal { .. } if whole(index) => kept.push(record.clone()),
            Origin::Goal { .. } | Origin::User { .. } => match room.checked_sub(record.tokens()) {
                Some(left) => {
                    room = left;
                    kept.push(record.clone());
                }
                // Older ones are left out too, so that no gap is taken for the whole.
                None => room = 0,
            },
            Origin::Note | Origin::Model { .. } | Origin::Tool | Origin::Summary => {}
        }
    }
    kept.reverse();
    kept.push(Record::said(Origin::Summary, format!("{HEADING}\n\n{}", cut(summary))));
    kept
}

const fn is_goal(record: &Record) -> bool {
    matches!(record.origin, Origin::Goal { .. })
}

/// A summary has the same bound as the words that it stands beside.
fn cut(summary: &str) -> &str {
    let over = text_tokens(summary) > USER_TOKENS_MAX;
    let most = usize::try_from(USER_TOKENS_MAX * crate::history::TOKEN_BYTES).unwrap_or(usize::MAX);
    if over { &summary[..summary.floor_char_boundary(most)] } else { summary }
}

/// The opening, the goals and the newer half of the rest, without results of calls that are gone.
fn newer_half(records: Vec<Record>) -> Vec<Record> {
    let fixed = |record: &Record| matches!(record.origin, Origin::Context) || is_goal(record);
    let rest = records.iter().filter(|record| !fixed(record)).count();
    let mut older = rest.div_ceil(2);
    let mut calls = HashSet::new();
    let mut keep = |record: &Record| {
        if fixed(record) {
            return true;
        }
        if older > 0 {
            older -= 1;
            return false;
        }
        match &record.entry {
            Entry::Call { id, .. } => calls.insert(id.clone()),
            Entry::Output { id, .. } => calls.contains(id),
            Entry::User { .. } | Entry::Assistant { .. } => true,
            // Thinking whose consequences may be gone is refused by providers.
            Entry::Reasoning { .. } => false,
        }
    };
    records.into_iter().filter(|record| keep(record)).collect()
}

#[cfg(test)]
mod tests {
    use legwork_domain::{MessageId, TurnId};

    use super::*;

    const GOAL: Origin = Origin::Goal { turn: TurnId::from_u128(1) };

    #[test]
    fn goal_and_newest_words_survive_verbatim() {
        let user = |text: &str| Record::said(Origin::User { message: MessageId::from_u128(1) }, text);
        let records = vec![
            Record::said(Origin::Context, "facts"),
            Record::said(GOAL, "g".repeat(200_000)),
            user(&"old".repeat(30_000)),
            Record::model(Entry::Assistant { text: "thinking".into() }),
            user("newer"),
            Record::said(Origin::Note, "gone"),
            user("newest"),
        ];
        let after = compacted(&records, "all good");
        let expected = [&records[0], &records[1], &records[4], &records[6]];
        assert_eq!(after[..4].iter().collect::<Vec<_>>(), expected);
        assert_eq!(after[4], Record::said(Origin::Summary, format!("{HEADING}\n\nall good")));
    }

    #[test]
    fn the_input_of_this_turn_survives_whatever_its_size() {
        let goal = |text: &str| Record::said(GOAL, text.repeat(100_000));
        let records = vec![
            goal("a"),
            goal("b"),
            Record::said(Origin::User { message: MessageId::from_u128(2) }, "mid"),
            goal("c"),
        ];
        let after = compacted(&records, "s");
        let expected = [&records[0], &records[2], &records[3]];
        assert_eq!(after[..3].iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_newer_half_has_no_result_without_its_call() {
        let call = |id: &str| {
            let input = legwork_model::CallInput::Json("{}".into());
            Record::model(Entry::Call { id: id.into(), name: "t".into(), input })
        };
        let output = |id: &str| Record::output(id.into(), Vec::new());
        let goal = Record::said(GOAL, "do it");
        let records =
            vec![goal.clone(), call("a"), call("b"), output("a"), output("b"), call("c"), output("c")];
        assert_eq!(newer_half(records), [goal, call("c"), output("c")]);
    }
}
