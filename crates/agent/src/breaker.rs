//! The loop breaker: ends a turn that does the same again and again.
//!
//! The state of the tree is known without reading it: a digest of what our own tools wrote to each path, so that an edit
//! and its undoing come back to the same state. A step is *stale* if each of its calls was made before in the same state
//! with the same result; it is *stuck* if each of them failed in the same state as one before did, whatever the input.
//! Commands may change files unseen, but a command that makes a difference shows it in its own or in another's output,
//! and that counts as progress. Digits are ignored in results, since times and process numbers differ on every run.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use legwork_domain::Limit;

use crate::Stop;

/// Failing steps that bring nothing new. Models recover from two or three; six in a row was never followed by success.
const STUCK_STEPS_MAX: u32 = 6;
/// Steps of any kind that bring nothing new: far above an honest re-reading of a file or a repeated `git status`.
const STALE_STEPS_MAX: u32 = 30;

/// What a call did, as far as progress is concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    /// The tool and its input.
    pub(crate) call: String,
    /// What came out, without what differs on every run.
    pub(crate) result: String,
    /// Whether it went wrong.
    pub(crate) failed: bool,
    /// Whether it waits for something that is still under way; such a call proves nothing.
    pub(crate) pending: bool,
    /// Files written, with a digest of the new contents; `None`: removed.
    pub(crate) writes: Vec<(String, Option<u64>)>,
}

/// Remembers what was done in which state.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    tree: BTreeMap<String, Option<u64>>,
    /// By state, call and result: the step.
    seen: HashMap<u64, u32>,
    /// By state and failing result: the step.
    failures: HashMap<u64, u32>,
    step: u32,
    stale: u32,
    stuck: u32,
}

/// What a call's fingerprints were before this step.
struct Before {
    stale: Option<u32>,
    stuck: Option<u32>,
}

impl Breaker {
    /// Takes a step's calls; [`Stop::Limit`] if the turn moves in a circle.
    pub(crate) fn step(&mut self, traces: &[Trace]) -> Result<(), Stop> {
        self.step += 1;
        let before: Vec<Before> = traces.iter().map(|trace| self.note(trace)).collect();
        let counts = !traces.is_empty() && traces.iter().all(|trace| !trace.pending);
        self.stale = if counts && before.iter().all(|b| b.stale.is_some()) { self.stale + 1 } else { 0 };
        self.stuck = if counts && before.iter().all(|b| b.stuck.is_some()) { self.stuck + 1 } else { 0 };
        let (Some(trace), Some(first)) = (traces.last(), before.last()) else { return Ok(()) };
        if self.stuck + 1 >= STUCK_STEPS_MAX {
            return Err(self.stop(trace, first.stuck, self.stuck + 1));
        }
        if self.stale + 1 >= STALE_STEPS_MAX {
            return Err(self.stop(trace, first.stale, self.stale + 1));
        }
        Ok(())
    }

    fn note(&mut self, trace: &Trace) -> Before {
        let result = without_digits(&trace.result);
        let state = self.state();
        let stale = self.seen.insert(digest(&(state, &trace.call, &result)), self.step);
        let stuck =
            trace.failed.then(|| self.failures.insert(digest(&(state, &result)), self.step)).flatten();
        self.tree.extend(trace.writes.iter().cloned());
        Before { stale, stuck }
    }

    fn state(&self) -> u64 {
        digest(&self.tree)
    }

    fn stop(&self, trace: &Trace, first: Option<u32>, steps: u32) -> Stop {
        let state = format!("{:08x}", self.state() >> 32);
        let detail = format!(
            "{steps} steps in a row brought nothing new. Before (step {}): tree state {state}, `{}` gave: {}. Now (step {}): tree state {state}, the same again.",
            first.unwrap_or(self.step),
            shortened(&trace.call),
            shortened(&trace.result),
            self.step,
        );
        Stop::Limit { limit: Limit::NoProgress, detail }
    }
}

/// A digest that is the same within a process.
pub(crate) fn digest(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|char| !char.is_ascii_digit()).collect()
}

/// The last words, since a failure is told at the end.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 240;
    let text = text.trim();
    match text.char_indices().nth_back(CHARS_MAX) {
        Some((index, _)) => format!("…{}", &text[index..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(call: &str, result: &str) -> Trace {
        Trace { call: call.into(), result: result.into(), failed: true, ..Trace::default() }
    }

    fn write(path: &str, contents: u64) -> Trace {
        Trace {
            call: format!("write {path} {contents}"),
            result: "ok".into(),
            writes: vec![(path.into(), Some(contents))],
            ..Trace::default()
        }
    }

    /// The step that ends it.
    fn ends(steps: impl IntoIterator<Item = Trace>) -> Option<usize> {
        let mut breaker = Breaker::default();
        steps.into_iter().position(|trace| breaker.step(&[trace]).is_err()).map(|index| index + 1)
    }

    #[test]
    fn the_same_failure_in_the_same_state_ends_the_turn() {
        assert_eq!(ends((0..20).map(|n| failing("cargo test", &format!("1 failed in {n} ms")))), Some(6));
        assert_eq!(ends((0..20).map(|n| failing(&format!("try {n}"), "no such tool"))), Some(6));
    }

    #[test]
    fn a_change_between_failures_is_progress() {
        let steps = (0..40).map(|n| if n % 2 == 0 { failing("test", "1 failed") } else { write("a", n) });
        assert_eq!(ends(steps), None);
    }

    #[test]
    fn an_edit_and_its_undoing_are_a_circle() {
        let steps = (0..80).map(|n| match n % 4 {
            0 | 2 => failing("test", if n % 4 == 0 { "a fails" } else { "b fails" }),
            other => write("a", other),
        });
        assert!(ends(steps).is_some_and(|step| step <= 36));
    }

    #[test]
    fn new_output_and_waiting_are_no_circle() {
        let look = |n: char| Trace { call: "look".into(), result: n.into(), ..Trace::default() };
        assert_eq!(ends(('a'..='z').chain('A'..='Z').map(look)), None);
        let wait = Trace { call: "wait".into(), pending: true, ..Trace::default() };
        assert_eq!(ends(std::iter::repeat_n(wait, 100)), None);
    }

    #[test]
    fn both_states_are_shown() {
        let mut breaker = Breaker::default();
        let stop = (0..9).find_map(|_| breaker.step(&[failing("cargo test", "1 failed")]).err());
        let Some(Stop::Limit { detail, .. }) = stop else { panic!("{stop:?}") };
        let state = format!("{:08x}", breaker.state() >> 32);
        insta::assert_snapshot!(detail.replace(&state, "STATE"), @"6 steps in a row brought nothing new. Before (step 5): tree state STATE, `cargo test` gave: 1 failed. Now (step 6): tree state STATE, the same again.");
    }
}
