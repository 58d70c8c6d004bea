//! Taking up a turn that began under an earlier lease.
//!
//! The log says what was said and done. What is not known is what became of the calls that were under way, and what of the
//! files is there still; the model is told exactly that, so that it looks where it must and repeats nothing that is done.

use legwork_domain::{Level, Message};
use legwork_model::{CallInput, Entry, Part, Stop as ModelStop};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::history::{History, Origin, Record};
use crate::turn::Turn;
use crate::{Files, Stop};

/// Calls that a note names; of more only the number is told.
const NAMED_MAX: usize = 50;

/// Characters of a call in a note.
const CALL_CHARS_MAX: usize = 200;

/// The result of a call that was under way.
const INTERRUPTED: &str = "Interrupted: the machine was lost while this ran. Whether it came to its end, and what it did, is not known. Look before you repeat it.";

/// What every start of a machine means for what ran on the one before.
const RESTARTED: &str =
    "(The machine was stopped and started again. Commands that still ran have ended, and /tmp is empty.";

/// Calls whose effects on files are lost: the beginning of each.
#[derive(Debug)]
pub(crate) struct Lost {
    calls: Vec<String>,
}

impl Lost {
    /// None of the history's calls if the files are as these left them.
    fn of(history: &[Value], files: Files) -> Self {
        let call = |value: &Value| match serde_json::from_value::<Record>(value.clone()).ok()?.entry {
            Entry::Call { name, input: CallInput::Json(input) | CallInput::Text(input), .. } => {
                Some(format!("- {name} {input}").chars().take(CALL_CHARS_MAX).collect())
            }
            Entry::User { .. } | Entry::Assistant { .. } | Entry::Reasoning { .. } | Entry::Output { .. } => {
                None
            }
        };
        let seen = match files {
            Files::Kept => history.len(),
            Files::AsOf(seen) => seen,
        };
        Self { calls: history.iter().skip(seen).filter_map(call).collect() }
    }

    /// What the model must know of its files if some of its work on them is gone.
    pub(crate) fn note(&self) -> Option<Record> {
        (!self.calls.is_empty()).then(|| self.restarted())
    }

    fn restarted(&self) -> Record {
        Record::said(Origin::Note, format!("{RESTARTED} {} Go on from here.)", self.files()))
    }

    fn files(&self) -> String {
        if self.calls.is_empty() {
            return "All other files are as your commands left them.".to_owned();
        }
        let named = self.calls[..self.calls.len().min(NAMED_MAX)].join("\n");
        let more = match self.calls.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!("\n- and {more} later ones"),
        };
        format!(
            "All other files are as they were before the following calls, whose effects on files are lost; make them again as far as they are needed:\n{named}{more}\n"
        )
    }
}

impl Turn {
    /// Reads the history.
    pub(crate) async fn read(&mut self, values: Vec<Value>, files: Files) -> Lost {
        let lost = Lost::of(&values, files);
        let (history, skipped) = History::read(values);
        self.history = history;
        if skipped > 0 {
            let text =
                format!("{skipped} entries of the earlier context could not be read and are left out.");
            self.scene.timeline.notice(Level::Warning, text).await;
        }
        lost
    }

    /// Goes on where the log ends; gives the end of the turn if the agent had come to it.
    pub(crate) async fn take_up(
        &mut self,
        lost: &Lost,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Option<Stop> {
        if let Some(stop) = self.history.last_word().and_then(stop) {
            self.hear(messages).await;
            if !self.unanswered {
                return Some(stop);
            }
        }
        self.close_open_calls().await;
        self.tell(vec![lost.restarted()]).await;
        self.scene.timeline.notice(Level::Info, "The turn goes on where it was interrupted.").await;
        None
    }

    /// Gives a result to every call that a lost worker left without one.
    pub(crate) async fn close_open_calls(&mut self) {
        let open = self.history.open_calls().into_iter();
        let output = |id| Record::output(id, vec![Part::Text(INTERRUPTED.to_owned())]);
        self.tell(open.map(output).collect()).await;
    }
}

/// How the last word ends a turn; one that is empty or cut off does not.
fn stop((stop, answer): (ModelStop, String)) -> Option<Stop> {
    match stop {
        ModelStop::EndTurn if !answer.trim().is_empty() => Some(Stop::EndTurn { answer }),
        ModelStop::Refusal => Some(Stop::Refusal { answer }),
        ModelStop::EndTurn | ModelStop::MaxTokens => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Vec<Value> {
        let call = |id: &str, cmd: &str| {
            let input = CallInput::Json(format!("{{\"cmd\":\"{cmd}\"}}"));
            Record::model(Entry::Call { id: id.into(), name: "exec_command".into(), input }).value()
        };
        vec![call("a", "one"), Record::output("a".into(), Vec::new()).value(), call("b", "two")]
    }

    fn text(record: Record) -> String {
        let Entry::User { mut parts } = record.entry else { panic!("a note is said to the model") };
        let Some(Part::Text(text)) = parts.pop() else { panic!("a note is text") };
        text
    }

    #[test]
    fn the_model_is_told_what_is_lost() {
        let told = |files| text(Lost::of(&history(), files).restarted());
        let said = [told(Files::Kept), told(Files::AsOf(2)), told(Files::AsOf(3))].join("\n---\n");
        insta::assert_snapshot!(said);
        assert!(Lost::of(&history(), Files::Kept).note().is_none());
        assert!(Lost::of(&history(), Files::AsOf(3)).note().is_none());
        assert!(text(Lost::of(&history(), Files::AsOf(0)).note().unwrap()).contains("\"cmd\":\"one\""));
    }
}
