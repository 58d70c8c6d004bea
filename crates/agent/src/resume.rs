//! Taking up a turn that began under an earlier lease.
//!
//! The log says what was said and done. What is not known is what became of the calls that were under way, and what of the
//! files is there still; the model is told exactly that, so that it looks where it must and repeats nothing that is done.

use std::sync::Arc;

use legwork_domain::{
    ContextChange, Decision, EventKind, Item, ItemBody, ItemId, ItemStatus, Level, Message, MessageBody,
    Waiting,
};
use legwork_model::{CallInput, Entry, Part, Stop as ModelStop};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::calls::{Gate, Running};
use crate::history::{History, Mark, Origin, Record};
use crate::tools::{Approval, Call};
use crate::turn::Turn;
use crate::{Files, Stop};

/// Calls that a note names; of more only the number is told.
const NAMED_MAX: usize = 50;

/// Characters of a call in a note.
const CALL_CHARS_MAX: usize = 200;

/// The result of a call that was under way.
const INTERRUPTED: &str = "Interrupted: the machine was lost while this ran. Whether it came to its end, and what it did, is not known. Look before you repeat it.";

/// The result of a question of an earlier turn.
const UNANSWERED: &str = "Not answered: the turn ended before.";

/// What every start of a machine means for what ran on the one before.
const RESTARTED: &str =
    "(The machine was stopped and started again. Commands that still ran have ended, and /tmp is empty.";

/// What it means for the files that the machine is another one.
const CARRIED: &str = "(The work goes on on another machine. Commands that still ran have ended, and /tmp is empty. The repository was checked out and set up afresh, and your earlier changes were put onto it from their patch. It holds all files that git does not ignore. Gone are ignored files (build output, caches, downloads), what you installed or changed outside of the work tree, and your own commits, branches and stashes: look before you rely on any of these.";

/// Calls whose effects on files are lost: the beginning of each.
#[derive(Debug)]
pub(crate) struct Lost {
    calls: Vec<String>,
    /// The machine is another one.
    carried: bool,
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
            Files::AsOf(seen) | Files::Carried(seen) => seen,
        };
        let carried = matches!(files, Files::Carried(_)) && !history.is_empty();
        Self { calls: history.iter().skip(seen).filter_map(call).collect(), carried }
    }

    /// What the model must know of its files if some of its work on them is gone.
    pub(crate) fn note(&self) -> Option<Record> {
        (self.carried || !self.calls.is_empty()).then(|| self.restarted())
    }

    fn restarted(&self) -> Record {
        if self.carried {
            return Record::said(Origin::Note, format!("{CARRIED}{} Go on from here.)", self.later()));
        }
        Record::said(Origin::Note, format!("{RESTARTED} {} Go on from here.)", self.files()))
    }

    fn files(&self) -> String {
        if self.calls.is_empty() {
            return "All other files are as your commands left them.".to_owned();
        }
        format!(
            "All other files are as they were before the following calls, whose effects on files are lost; make them again as far as they are needed:{}",
            self.named()
        )
    }

    /// What a patch cannot know.
    fn later(&self) -> String {
        if self.calls.is_empty() {
            return String::new();
        }
        format!(
            " The effects of the following calls came after the patch and are lost too; make them again as far as they are needed:{}",
            self.named()
        )
    }

    /// The calls, a line each.
    fn named(&self) -> String {
        let named = self.calls[..self.calls.len().min(NAMED_MAX)].join("\n");
        let more = match self.calls.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!("\n- and {more} later ones"),
        };
        format!("\n{named}{more}\n")
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

    /// Goes on where the log ends; gives the end of the turn if the agent had come to it, or still waits for a person.
    pub(crate) async fn take_up(
        &mut self,
        lost: &Lost,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Option<Stop> {
        // What it said of work that is lost is not true any more.
        if lost.calls.is_empty()
            && let Some(stop) = self.history.last_word().and_then(stop)
        {
            self.hear(messages).await;
            if !self.unanswered {
                return Some(stop);
            }
        }
        self.count_untold_answer().await;
        let replies = self.replies(messages);
        if let Some(stop) = self.settle_open_calls(&replies).await {
            return Some(stop);
        }
        self.tell(vec![lost.restarted()]).await;
        self.scene.timeline.notice(Level::Info, "The turn goes on where it was interrupted.").await;
        None
    }

    /// What the answer cost that the lost worker was hearing was billed and is known to nobody, so it is estimated.
    async fn count_untold_answer(&mut self) {
        let (turn, counted) = (self.scene.timeline.turn(), self.budget.usage.model_requests);
        let Some(answer) = self.history.uncounted(turn, counted) else { return };
        let output: u64 = answer.iter().map(Record::tokens).sum();
        let is_call = |record: &&Record| matches!(record.entry, Entry::Call { .. });
        let calls = answer.iter().filter(is_call).count();
        let input = self.request_tokens().saturating_sub(output);
        self.budget.spend_untold(input, output, calls, self.model.info());
        let usage = self.budget.spent();
        self.scene.timeline.tell(EventKind::Usage { turn, usage }).await;
    }

    /// What people replied to what the agent asked; all else they said is heard once the open calls have their results.
    fn replies(&mut self, messages: &mut mpsc::Receiver<Message>) -> Vec<Message> {
        let mut replies = Vec::new();
        while let Ok(message) = messages.try_recv() {
            match message.body {
                MessageBody::Steer { .. } => self.early.push_back(message),
                MessageBody::Answer { .. } | MessageBody::Decision { .. } => replies.push(message),
            }
        }
        replies
    }

    /// Gives a result to every call that has none: a person's answer, what the call gives now that it is approved, or that
    /// it was interrupted. Ends the turn if one still waits for a person.
    async fn settle_open_calls(&mut self, replies: &[Message]) -> Option<Stop> {
        let (mut approved, mut gate, mut on) = (Vec::new(), Gate::default(), None);
        for call in self.history.open_calls() {
            let Some(item) = call.asked else {
                self.tell(vec![output(call.id, INTERRUPTED)]).await;
                continue;
            };
            let Some(reply) = replies.iter().find(|reply| asked_by(&reply.body) == Some(item.id)) else {
                on = on.or(Some(waits_for(&item)));
                continue;
            };
            match word(&item, &reply.body) {
                Word::Text(text) => self.tell(vec![output(call.id, &text)]).await,
                Word::Yes => {
                    let mark = Mark::Approved { call: call.id.clone() };
                    self.scene.timeline.context(ContextChange::Append, vec![mark.value()]).await;
                    self.history.mark(mark);
                    let (scene, cancel) = (Arc::clone(&self.scene), self.stop.child_token());
                    let tool = self.toolbox.find(&call.name);
                    let approval = Approval::Given;
                    let made = Call { name: call.name, input: call.input, scene, cancel, approval };
                    approved.push(Running::start(call.id, tool, made, &mut gate));
                }
            }
            self.scene.timeline.complete(answered(item, &reply.body), ItemStatus::Completed).await;
        }
        let (outcomes, _) = self.results_of(&mut approved).await;
        let lost = outcomes.into_iter().find_map(|outcome| outcome.lost);
        lost.map(|error| Stop::Sandbox(*error)).or(on.map(|on| Stop::Parked { on }))
    }

    /// Gives a result to every call that an earlier turn left without one.
    pub(crate) async fn close_open_calls(&mut self) {
        let text = |asked| if asked { UNANSWERED } else { INTERRUPTED };
        let open = self.history.open_calls().into_iter();
        self.tell(open.map(|call| output(call.id, text(call.asked.is_some()))).collect()).await;
    }

    /// Shows that a reply was heard whose call has its result already: a lost worker may have told the model alone.
    pub(crate) async fn hear_again(&self, message: &Message) {
        let item = asked_by(&message.body).and_then(|id| self.history.question(id)).cloned();
        if let Some(item) = item {
            self.scene.timeline.complete(answered(item, &message.body), ItemStatus::Completed).await;
        }
    }
}

fn output(id: String, text: &str) -> Record {
    Record::output(id, vec![Part::Text(text.to_owned())])
}

/// What a turn that asks this waits for.
pub(crate) const fn waits_for(item: &Item) -> Waiting {
    if matches!(item.body, ItemBody::Approval { .. }) { Waiting::Approval } else { Waiting::Input }
}

const fn asked_by(body: &MessageBody) -> Option<ItemId> {
    match body {
        MessageBody::Steer { .. } => None,
        MessageBody::Answer { item, .. } | MessageBody::Decision { item, .. } => Some(*item),
    }
}

/// What a reply means for the call that asked.
enum Word {
    /// Its result.
    Text(String),
    /// It is to be made.
    Yes,
}

fn word(item: &Item, reply: &MessageBody) -> Word {
    let is_approval = matches!(item.body, ItemBody::Approval { .. });
    let text = match reply {
        MessageBody::Decision { decision: Decision::Approved, .. } if is_approval => return Word::Yes,
        MessageBody::Decision { decision: Decision::Denied, .. } if is_approval => {
            "The user denies this; it was not run. Do not try it in another way; go on without it, or say in the final message what is left to do.".to_owned()
        }
        MessageBody::Answer { text, .. } if is_approval => format!("It was not run. The user says: {text}"),
        MessageBody::Decision { decision: Decision::Approved, .. } => "The user says yes.".to_owned(),
        MessageBody::Decision { decision: Decision::Denied, .. } => "The user says no.".to_owned(),
        MessageBody::Answer { text, .. } | MessageBody::Steer { text } => format!("The user answers: {text}"),
    };
    Word::Text(text)
}

/// The item with the reply in it.
fn answered(item: Item, reply: &MessageBody) -> Item {
    let body = match (item.body, reply) {
        (ItemBody::Question { text, options, .. }, MessageBody::Answer { text: answer, .. }) => {
            ItemBody::Question { text, options, answer: Some(answer.clone()) }
        }
        (ItemBody::Approval { action, reason, .. }, MessageBody::Decision { decision, .. }) => {
            ItemBody::Approval { action, reason, decision: Some(*decision) }
        }
        (body, _) => body,
    };
    Item { body, ..item }
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
        insta::assert_snapshot!(
            "on_another_machine",
            [told(Files::Carried(2)), told(Files::Carried(3))].join("\n---\n")
        );
        assert!(Lost::of(&history(), Files::Carried(3)).note().is_some());
        assert!(Lost::of(&[], Files::Carried(0)).note().is_none(), "nothing to look back on");
        assert!(Lost::of(&history(), Files::Kept).note().is_none());
        assert!(Lost::of(&history(), Files::AsOf(3)).note().is_none());
        assert!(text(Lost::of(&history(), Files::AsOf(0)).note().unwrap()).contains("\"cmd\":\"one\""));
    }
}
