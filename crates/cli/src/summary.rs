//! The end of a task for a reader: the answer with its evidence, verdicts, price, and what to do next.

use legwork_domain::{ItemBody, Kind, Outcome, Precision, Proof, Task, TestClaim, Usage, Verdict, Waiting};

use crate::clean;
use crate::exit::Exit;
use crate::record::Record;
use crate::steps::line::{judgement, stat};
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, WARN, dollars, duration, pad, thousands};

/// Columns of a check's name in the table.
const NAME_COLUMNS: usize = 40;

/// The answer, held against the log.
#[must_use]
pub fn answer(record: &Record) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(answer) = record.answer() {
        lines.push(Line::default());
        lines.extend(clean::text(answer.trim()).lines().map(Line::of));
    }
    let claims = record.claims();
    if !claims.is_empty() {
        lines.push(Line::default());
        lines.push(Line::default().with(BOLD, "Evidence"));
        lines.extend(claims.iter().flat_map(claim));
    }
    lines
}

fn claim(claim: &TestClaim) -> Vec<Line> {
    match &claim.proof {
        Proof::Proven { items } => {
            let cited: Vec<String> = items.iter().map(|item| format!("step {}", item.number())).collect();
            let line = Line::default().with(GOOD, "  proven    ").with(PLAIN, &claim.sentence);
            vec![line.with(DIM, &format!("  ({} exited 0 after the last edit)", cited.join(", ")))]
        }
        Proof::Unproven { why } => vec![
            Line::default().with(WARN, "  unproven  ").with(PLAIN, &claim.sentence),
            Line::default().with(DIM, &format!("            {why}")),
        ],
    }
}

/// The checks' verdicts.
#[must_use]
pub fn verdicts(record: &Record) -> Vec<Line> {
    if record.verdicts.is_empty() {
        return Vec::new();
    }
    let heading =
        Line::default().with(BOLD, "Checks").with(DIM, " (each on clean sandboxes: base, then base + patch)");
    let width = |text: &str| Line::of(text).width();
    let names = record.verdicts.iter().map(|verdict| width(&verdict.check.name)).max().unwrap_or(0);
    let words = record.verdicts.iter().map(|verdict| judgement(verdict.judgement).width()).max().unwrap_or(0);
    let rows = record.verdicts.iter().map(|each| verdict(each, names.min(NAME_COLUMNS), words));
    [Line::default(), heading].into_iter().chain(rows).collect()
}

/// A row of the table, with columns for the check's name and the judgement.
fn verdict(verdict: &Verdict, names: usize, words: usize) -> Line {
    let codes = |runs: &[legwork_domain::CheckRun]| {
        let run = |run: &legwork_domain::CheckRun| {
            let code = run.exit_code.map_or_else(|| "killed".to_owned(), |code| format!("exit {code}"));
            format!("{code} (step {})", run.item.number())
        };
        runs.iter().map(run).collect::<Vec<_>>().join(", ")
    };
    let word = judgement(verdict.judgement);
    let blanks = " ".repeat(words.saturating_sub(word.width()));
    Line::of("  ")
        .with(PLAIN, &pad(&verdict.check.name, names))
        .with(PLAIN, "  ")
        .then(word)
        .with(PLAIN, &blanks)
        .with(DIM, &format!("   base {} → patch {}", codes(&verdict.base), codes(&verdict.patched)))
}

/// The outcome, the size of the patch, time, tokens and price.
#[must_use]
pub fn outcome(record: &Record) -> Vec<Line> {
    let Some(ended) = &record.ended else { return Vec::new() };
    let (style, word) = word_for(&ended.outcome);
    let mut head = Line::default().with(style, word);
    if let Some(patch) = &record.patch {
        head = head.with(DIM, " · ").then(stat(&patch.stat));
    }
    head.push(DIM, &format!(" · {}", duration(record.elapsed_ms())));
    let spent = spent(&record.usage());
    if !spent.is_empty() {
        head.push(DIM, &format!(" · {spent}"));
    }
    let mut lines = vec![Line::default(), head];
    lines.extend(clean::text(&ended.sentence).lines().map(Line::of));
    lines
}

/// A length of time that was waited.
#[must_use]
pub fn waited(time: std::time::Duration) -> String {
    duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The outcome as a word.
#[must_use]
pub fn word_for(outcome: &Outcome) -> (anstyle::Style, &'static str) {
    match outcome {
        Outcome::Succeeded => (GOOD.bold(), "Done"),
        Outcome::NoChange => (GOOD.bold(), "Done, no change"),
        Outcome::Failed { reason: legwork_domain::Failure::Verification } => {
            (BAD.bold(), "Verification failed")
        }
        Outcome::Failed { .. } => (BAD.bold(), "Failed"),
        Outcome::Cancelled => (WARN.bold(), "Cancelled"),
        Outcome::LimitReached { .. } => (WARN.bold(), "Limit reached"),
    }
}

/// `12,345 tokens (9,000 cached), $0.03`; estimates are marked.
#[must_use]
pub fn spent(usage: &Usage) -> String {
    if usage.tokens() == 0 {
        return String::new();
    }
    let mut text = format!("{} tokens", thousands(usage.tokens()));
    if usage.cached_tokens > 0 {
        text.push_str(&format!(" ({} cached)", thousands(usage.cached_tokens)));
    }
    if let Some(cost) = usage.cost_microusd {
        text.push_str(&format!(", {}", dollars(cost)));
    }
    if usage.precision == Precision::Estimated {
        text.push_str(" (estimated)");
    }
    text
}

/// What the task wants of a person before it goes on, with the command that gives it.
#[must_use]
pub fn needs(record: &Record, task: &Task) -> Vec<Line> {
    let Some(on) = record.parked else { return Vec::new() };
    let id = task.id;
    let mut lines = vec![Line::default(), Line::default().with(WARN, "It needs you.")];
    let command = |text: String| Line::default().with(DIM, "  → ").with(ACCENT, &text);
    for item in record.asked.values() {
        match &item.body {
            ItemBody::Question { text, options, .. } => {
                lines.extend(clean::text(text.trim()).lines().map(|line| Line::of("  ").with(BOLD, line)));
                lines.extend(
                    options.iter().map(|option| Line::default().with(DIM, "    · ").with(PLAIN, option)),
                );
                lines.push(command(format!("legwork task answer {id} \"…\"")));
            }
            ItemBody::Approval { action, reason, .. } => {
                lines.push(Line::of("  It wants to run ").with(BOLD, action));
                lines.push(Line::default().with(DIM, &format!("  {reason}")));
                lines.push(command(format!("legwork task answer {id} --approve   (or --deny)")));
            }
            ItemBody::Message { .. }
            | ItemBody::Reasoning { .. }
            | ItemBody::Command(_)
            | ItemBody::FileChange { .. }
            | ItemBody::ToolCall { .. }
            | ItemBody::Plan { .. }
            | ItemBody::Instructions { .. }
            | ItemBody::Notice { .. } => {}
        }
    }
    if on == Waiting::Budget {
        lines.push(Line::of("  Its budget is used up; a larger one lets it go on from there."));
        lines.push(command(format!("legwork task top-up {id} --cost DOLLARS")));
    }
    lines
}

/// Whether a patch is already on its way to where the user wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is kept until the user says more.
    Later,
    /// It is about to be applied or put on a branch.
    Now,
}

/// Exact commands for what a user may want next.
#[must_use]
pub fn next_steps(record: &Record, task: &Task, wanted: Wanted) -> Vec<Line> {
    let id = task.id;
    let mut steps: Vec<(&str, String)> = Vec::new();
    if record.patch.is_some() {
        let good = record.ended.as_ref().is_some_and(|ended| Exit::of(ended) == Exit::Done);
        let apply = if good { "apply the patch" } else { "apply the partial patch" };
        let remote = !task.request.source.repository.starts_with('/');
        let branch = if remote { " --branch NAME" } else { "" };
        if wanted == Wanted::Later || !good {
            steps.push((apply, format!("legwork task apply {id}{branch}")));
        }
        steps.push(("save the patch", format!("legwork task diff {id} > change.patch")));
    }
    if record.ended.is_some() {
        steps.push(("go on from here", format!("legwork task send {id} \"…\"")));
    }
    if task.request.kind == Kind::Code || !steps.is_empty() {
        steps.push(("read every step", format!("legwork task logs {id}")));
    }
    let line = |(what, command): &(&str, String)| {
        Line::default().with(DIM, &format!("  {} ", pad(what, 24))).with(ACCENT, command)
    };
    std::iter::once(Line::default()).chain(steps.iter().map(line)).collect()
}
