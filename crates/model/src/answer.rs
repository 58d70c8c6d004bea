//! What one try has told so far, whatever the wire.
//!
//! Models and servers number calls carelessly: empty ids, the same id twice, ids that the next provider refuses. Each id
//! is made good here, once, so that the context never holds a call that its output cannot name.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use crate::{CallInput, Delta, Entry, Request, ToolInput};

/// Longest id that every provider takes (OpenAI: 64 characters).
const ID_BYTES_MAX: usize = 64;

/// The name of the one parameter of a function that stands for a tool with a grammar.
pub(crate) const FREEFORM_PARAMETER: &str = "input";

/// Deltas under way, and what is needed to make calls good.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    ready: VecDeque<Delta>,
    ids: HashSet<String>,
    grammars: HashSet<String>,
    held: Vec<(String, String, String)>,
    entries: usize,
    bytes: u64,
}

impl Answer {
    /// An empty answer to `request`.
    pub(crate) fn to(request: &Request) -> Self {
        let ids = request.entries.iter().filter_map(|entry| match entry {
            Entry::Call { id, .. } => Some(id.clone()),
            Entry::User { .. } | Entry::Assistant { .. } | Entry::Reasoning { .. } | Entry::Output { .. } => {
                None
            }
        });
        let grammars = request.tools.iter().filter(|tool| matches!(tool.input, ToolInput::Grammar(_)));
        Self {
            ids: ids.collect(),
            grammars: grammars.map(|tool| tool.name.clone()).collect(),
            ..Self::default()
        }
    }

    /// The next delta to give out.
    pub(crate) fn next(&mut self) -> Option<Delta> {
        self.ready.pop_front()
    }

    /// How many entries were given out.
    pub(crate) const fn entries(&self) -> usize {
        self.entries
    }

    /// The size of all text and calls so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// More text.
    pub(crate) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.bytes += text.len() as u64;
            self.ready.push_back(Delta::Text(text.to_owned()));
        }
    }

    /// More reasoning.
    pub(crate) fn reasoning(&mut self, text: &str) {
        if !text.is_empty() {
            self.bytes += text.len() as u64;
            self.ready.push_back(Delta::Reasoning(text.to_owned()));
        }
    }

    /// A finished entry that is not a call. An empty message is none.
    pub(crate) fn entry(&mut self, entry: Entry) {
        if !matches!(&entry, Entry::Assistant { text } if text.is_empty()) {
            self.entries += 1;
            self.ready.push_back(Delta::Entry(entry));
        }
    }

    /// A finished call of a function. No arguments are an empty object.
    pub(crate) fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let input = self.unwrapped(name, arguments).unwrap_or_else(|| CallInput::Json(arguments.to_owned()));
        self.push_call(id, name, input);
    }

    /// A finished call of a tool with a grammar.
    pub(crate) fn freeform_call(&mut self, id: &str, name: &str, input: &str) {
        self.push_call(id, name, CallInput::Text(input.to_owned()));
    }

    /// A call that may be cut off: if its arguments do not parse it waits for [`Answer::release`] or
    /// [`Answer::drop_held`], which the reason of the stop decides.
    pub(crate) fn call_or_hold(&mut self, id: &str, name: &str, arguments: &str) {
        let whole = arguments.trim().is_empty() || serde_json::from_str::<Value>(arguments).is_ok();
        if whole {
            self.call(id, name, arguments);
        } else {
            self.held.push((id.to_owned(), name.to_owned(), arguments.to_owned()));
        }
    }

    /// Gives out calls with invalid arguments: the model wrote them so and must be told.
    pub(crate) fn release(&mut self) {
        for (id, name, arguments) in std::mem::take(&mut self.held) {
            self.call(&id, &name, &arguments);
        }
    }

    /// Forgets calls with invalid arguments: the answer reached its limit in the middle of them.
    pub(crate) fn drop_held(&mut self) {
        self.held.clear();
    }

    /// The answer broke off: words that were not given out yet are, for whoever watches; entries are not, since a call
    /// of a void answer should not even start.
    pub(crate) fn void(&mut self) {
        self.ready.retain(|delta| matches!(delta, Delta::Text(_) | Delta::Reasoning(_)));
    }

    fn push_call(&mut self, id: &str, name: &str, input: CallInput) {
        let (CallInput::Json(text) | CallInput::Text(text)) = &input;
        self.bytes += text.len() as u64;
        let id = self.unique(id);
        self.entry(Entry::Call { id, name: name.to_owned(), input });
    }

    /// The text inside `{"input": "…"}` for a tool that has a grammar, sent as a function on this wire.
    fn unwrapped(&self, name: &str, arguments: &str) -> Option<CallInput> {
        if !self.grammars.contains(name) {
            return None;
        }
        let arguments: Value = serde_json::from_str(arguments).ok()?;
        Some(CallInput::Text(arguments.get(FREEFORM_PARAMETER)?.as_str()?.to_owned()))
    }

    fn unique(&mut self, id: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let good = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.chars().all(allowed);
        let mut candidate = if good { id.to_owned() } else { "call_1".to_owned() };
        let stem = if good && id.len() <= ID_BYTES_MAX - 8 { id } else { "call" };
        let mut number = 1_usize;
        while self.ids.contains(&candidate) {
            number += 1;
            candidate = format!("{stem}_{number}");
        }
        self.ids.insert(candidate.clone());
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tool;

    fn ids(answer: &mut Answer) -> Vec<String> {
        std::iter::from_fn(|| answer.next())
            .map(|delta| {
                let Delta::Entry(Entry::Call { id, .. }) = delta else { panic!("{delta:?}") };
                id
            })
            .collect()
    }

    #[test]
    fn ids_are_unique_and_fit_every_provider() {
        let old = Entry::Call { id: "a".into(), name: "t".into(), input: CallInput::Json("{}".into()) };
        let mut answer = Answer::to(&Request { entries: vec![old], ..Request::default() });
        for id in ["a", "b", "b", "", "", "functions.exec:0", &"x".repeat(65)] {
            answer.call(id, "t", "");
        }
        assert_eq!(ids(&mut answer), ["a_2", "b", "b_2", "call_1", "call_2", "call_3", "call_4"]);
    }

    #[test]
    fn a_grammar_tools_function_call_is_text_again() {
        let tool =
            Tool { name: "p".into(), description: String::new(), input: ToolInput::Grammar("x".into()) };
        let mut answer = Answer::to(&Request { tools: vec![tool], ..Request::default() });
        answer.call("1", "p", r#"{"input":"*** Begin"}"#);
        answer.call("2", "p", r#"{"patch":1}"#);
        let inputs: Vec<_> = std::iter::from_fn(|| answer.next())
            .map(|delta| {
                let Delta::Entry(Entry::Call { input, .. }) = delta else { panic!("{delta:?}") };
                input
            })
            .collect();
        assert_eq!(inputs, [CallInput::Text("*** Begin".into()), CallInput::Json(r#"{"patch":1}"#.into())]);
    }
}
