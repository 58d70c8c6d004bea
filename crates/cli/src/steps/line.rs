//! One line, or a few, for each kind of step.

use legwork_domain::{
    Author, Change, ChangeKind, CommandRun, Connection, Decision, Item, ItemBody, ItemStatus, Judgement,
    LaidRepository, Level, Passage, Patch, Phase, PlanStep, PlanStepStatus, Timestamp, Verdict,
};

use super::Detail;
use crate::clean;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, WARN, count, duration};

/// Lines of a failed command's output that are shown; the end, where the reason stands.
const TAIL_LINES: usize = 4;
/// Files of one edit that are named.
const CHANGES_MAX: usize = 8;
/// Columns of a command or an argument that are shown; a timeline is read, a log is searched.
const COMMAND_COLUMNS: usize = 100;

/// The number column: models cite items by it, so every step shows its own.
fn number(item: &Item) -> Line {
    Line::default().with(DIM, &format!("{:>3} ", item.id.number()))
}

fn indent() -> Line {
    Line::of("    ")
}

/// A completed item.
pub(super) fn item(item: &Item, detail: Detail) -> Vec<Line> {
    match &item.body {
        ItemBody::Message { role: Author::User, .. } if item.id.number() == 1 => Vec::new(),
        ItemBody::Message { role, text, .. } => message(item, *role, text),
        ItemBody::Reasoning { text } => reasoning(item, text),
        ItemBody::Command(run) => command(item, run, detail),
        ItemBody::FileChange { changes, output } => file_change(item, changes, output),
        ItemBody::ToolCall { name, input, output } => {
            let head = number(item).with(PLAIN, name).with(DIM, &format!(" {}", short(input)));
            std::iter::once(head.then(ending(item))).chain(tool_output(item, output, detail)).collect()
        }
        ItemBody::Plan { steps } => vec![plan(item, steps)],
        ItemBody::Instructions { files } => {
            vec![number(item).with(DIM, "instructions ").with(PLAIN, &files.join(", "))]
        }
        ItemBody::Question { text, options, answer } => question(item, text, options, answer.as_deref()),
        ItemBody::Approval { action, reason, decision } => approval(item, action, reason, *decision),
        ItemBody::Notice { level, text } => notice(item, *level, text),
    }
}

fn message(item: &Item, role: Author, text: &str) -> Vec<Line> {
    let style = if role == Author::User { ACCENT } else { PLAIN };
    let rows = clean::text(text);
    let mut lines = rows.lines().filter(|row| !row.trim().is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    std::iter::once(number(item).with(style, &first))
        .chain(lines.map(|row| indent().with(style, row)))
        .collect()
}

fn question(item: &Item, text: &str, options: &[String], answer: Option<&str>) -> Vec<Line> {
    let asked = number(item).with(ACCENT, "asks ").with(PLAIN, &clean::text(text));
    let choices = options.iter().map(|option| indent().with(DIM, &format!("- {}", clean::text(option))));
    let said = answer.map(|answer| indent().with(ACCENT, &format!("> {}", clean::text(answer))));
    std::iter::once(asked).chain(choices).chain(said).collect()
}

fn approval(item: &Item, action: &str, reason: &str, decision: Option<Decision>) -> Vec<Line> {
    let asked = number(item).with(ACCENT, "wants to ").with(PLAIN, &clean::text(action));
    let said = match decision {
        Some(Decision::Approved) => Line::default().with(GOOD, "  approved"),
        Some(Decision::Denied) => Line::default().with(BAD, "  denied"),
        None => Line::default(),
    };
    vec![asked.then(said), indent().with(DIM, &clean::text(reason))]
}

fn reasoning(item: &Item, text: &str) -> Vec<Line> {
    let rows = clean::text(text);
    let first = rows.lines().find(|row| !row.trim().is_empty());
    first
        .map(|row| number(item).with(DIM, row.trim_matches(['*', '#', ' '])))
        .map(|line| line.cut(COMMAND_COLUMNS))
        .into_iter()
        .collect()
}

fn command(item: &Item, run: &CommandRun, detail: Detail) -> Vec<Line> {
    let phase = match run.phase {
        Phase::Agent => "$ ",
        Phase::Setup => "set-up $ ",
        Phase::Start => "services $ ",
        Phase::CheckBase => "check on the base $ ",
        Phase::CheckPatched => "check on the patch $ ",
    };
    let head = number(item).with(DIM, phase).with(PLAIN, &short(&run.command)).then(ending(item));
    let output = clean::lines(&run.output);
    let output = output.into_iter().filter(|line| !line.is_empty());
    let skipped = match detail {
        Detail::Whole => 0,
        // A check that fails on the base is what most tasks begin with.
        Detail::Tail if run.exit_code == Some(0) || run.phase == Phase::CheckBase => return vec![head],
        Detail::Tail => output.clone().count().saturating_sub(TAIL_LINES),
    };
    let mut lines = vec![head];
    if skipped > 0 {
        lines.push(indent().with(DIM, &format!("│ … {} above", count(skipped as u64, "line"))));
    }
    lines.extend(output.skip(skipped).map(|line| indent().with(DIM, "│ ").then(line)));
    lines
}

/// What a tool said: all of it in a log, else why it failed.
fn tool_output(item: &Item, output: &str, detail: Detail) -> Vec<Line> {
    let most = match (detail, item.status) {
        (Detail::Whole, _) => usize::MAX,
        (Detail::Tail, ItemStatus::Failed) => TAIL_LINES,
        (Detail::Tail, _) => 0,
    };
    let lines = clean::lines(output).into_iter().filter(|line| !line.is_empty());
    lines.take(most).map(|line| indent().with(DIM, "│ ").then(line)).collect()
}

/// How it ended and how long it took.
fn ending(item: &Item) -> Line {
    let (mut line, took) = (Line::of("  "), item.ended_at.map(|end| end.ms_since(item.started_at)));
    let (exit, ms) = if let ItemBody::Command(run) = &item.body {
        (run.exit_code, run.duration_ms.or(took))
    } else {
        (Some(0), took)
    };
    match (item.status, exit) {
        (ItemStatus::Completed, Some(0)) => line.push(GOOD, "✓"),
        (ItemStatus::Completed, Some(code)) => line.push(BAD, &format!("✗ exit {code}")),
        (ItemStatus::Completed, None) => line.push(BAD, "✗ killed"),
        (ItemStatus::Failed, _) => line.push(BAD, "✗ failed"),
        (ItemStatus::Cancelled, _) => line.push(WARN, "cancelled"),
        (ItemStatus::Interrupted, _) => line.push(WARN, "interrupted"),
        (ItemStatus::InProgress, _) => {}
    }
    if let Some(ms) = ms {
        line.push(DIM, &format!(" {}", duration(ms)));
    }
    line
}

fn file_change(item: &Item, changes: &[Change], output: &str) -> Vec<Line> {
    if item.status != ItemStatus::Completed {
        let first = clean::text(output).lines().next().unwrap_or_default().to_owned();
        return vec![
            number(item).with(PLAIN, "edit").then(ending(item)),
            indent().with(DIM, "│ ").with(PLAIN, &first),
        ];
    }
    let mut lines: Vec<Line> = changes.iter().take(CHANGES_MAX).map(change).collect();
    if changes.len() > CHANGES_MAX {
        let more = count((changes.len() - CHANGES_MAX) as u64, "more file");
        lines.push(Line::default().with(DIM, &format!("and {more}")));
    }
    let heads = std::iter::once(number(item)).chain(std::iter::repeat_with(indent));
    heads.zip(lines).map(|(head, line)| head.then(line)).collect()
}

fn change(change: &Change) -> Line {
    let verb = match change.kind {
        ChangeKind::Add => "add ",
        ChangeKind::Update => "edit ",
        ChangeKind::Delete => "delete ",
    };
    let mut line = Line::default().with(BOLD, verb).with(PLAIN, &change.path);
    if let Some(from) = &change.moved_from {
        line.push(DIM, &format!(" (was {from})"));
    }
    line
}

fn notice(item: &Item, level: Level, text: &str) -> Vec<Line> {
    let (style, mark) = match level {
        Level::Info => (DIM, ""),
        Level::Warning => (WARN, "warning: "),
        Level::Error => (BAD, "error: "),
    };
    let rows = clean::text(text);
    let mut rows = rows.lines();
    let first = number(item).with(style, mark).with(style, rows.next().unwrap_or_default());
    std::iter::once(first).chain(rows.map(|row| indent().with(style, row))).collect()
}

/// The plan on one line, for a view that cannot redraw: how far, and the current step.
fn plan(item: &Item, steps: &[PlanStep]) -> Line {
    let done = steps.iter().filter(|step| step.status == PlanStepStatus::Completed).count();
    let line = number(item).with(DIM, &format!("plan {done}/{} ", steps.len()));
    let now = steps.iter().find(|step| step.status != PlanStepStatus::Completed);
    line.with(PLAIN, now.map_or("done", |step| step.step.as_str()))
}

/// At most `most` steps of the plan, around the one in progress.
pub(super) fn plan_around_now(steps: &[PlanStep], most: usize) -> Vec<Line> {
    let current =
        steps.iter().position(|step| step.status != PlanStepStatus::Completed).unwrap_or(steps.len());
    let first = current.saturating_sub(most / 2).min(steps.len().saturating_sub(most));
    steps.iter().skip(first).take(most).map(plan_step).collect()
}

fn plan_step(step: &PlanStep) -> Line {
    let (mark, style, text) = match step.status {
        PlanStepStatus::Pending => ("  · ", DIM, DIM),
        PlanStepStatus::InProgress => ("  ▸ ", ACCENT, BOLD),
        PlanStepStatus::Completed => ("  ✓ ", GOOD, DIM),
    };
    Line::default().with(style, mark).with(text, &step.step)
}

/// A command under way.
pub(super) fn running(item: &Item, now: Timestamp) -> Line {
    let ItemBody::Command(run) = &item.body else { return Line::default() };
    number(item)
        .with(DIM, "$ ")
        .with(PLAIN, &short(&run.command))
        .with(DIM, &format!("  {}", duration(now.ms_since(item.started_at))))
}

/// The base that was checked out.
pub(super) fn base(commit: &str, name: Option<&str>) -> Line {
    let short: String = commit.chars().take(12).collect();
    let line = indent().with(DIM, "base ").with(PLAIN, &short);
    name.map_or(line.clone(), |name| line.with(DIM, &format!(" ({name})")))
}

/// What was laid beside it.
pub(super) fn beside(laid: &LaidRepository) -> Line {
    let short: String = laid.commit.chars().take(12).collect();
    let line = indent().with(DIM, "beside ").with(PLAIN, &clean::one_line(&laid.url));
    line.with(DIM, &format!(" at {short} in /repositories/{}", laid.path))
}

/// A patch that was saved.
pub(super) fn patch(patch: &Patch) -> Line {
    indent().with(DIM, "patch saved: ").then(stat(&patch.stat))
}

/// `2 files +3 −1`.
pub(crate) fn stat(stat: &legwork_domain::DiffStat) -> Line {
    Line::of(&count(stat.files.into(), "file"))
        .with(GOOD, &format!(" +{}", stat.added))
        .with(BAD, &format!(" −{}", stat.removed))
}

/// What was kept from leaving the sandbox, or came to nothing; `None`: it was let through, and `legwork task network` lists it.
pub(super) fn connection(connection: &Connection) -> Option<Line> {
    let (style, word) = match connection.outcome {
        Passage::Allowed => return None,
        Passage::Denied => (WARN, "blocked"),
        Passage::Failed => (BAD, "not reached"),
    };
    let line = indent().with(style, word).with(PLAIN, &format!(" {}", short(&connection.place())));
    let line = match connection.program() {
        Some(program) => line.with(DIM, ", wanted by ").with(PLAIN, &short(program)),
        None => line,
    };
    let times = if connection.count > 1 { format!(" ({} times)", connection.count) } else { String::new() };
    Some(line.with(DIM, &format!("{times}: {}", short(&connection.reason))))
}

/// A check that was judged.
pub(super) fn verdict(verdict: &Verdict) -> Line {
    indent()
        .with(DIM, "check ")
        .with(PLAIN, &short(&verdict.check.name))
        .with(DIM, ": ")
        .then(judgement(verdict.judgement))
}

/// The judgement's word in its colour.
pub(crate) fn judgement(judgement: Judgement) -> Line {
    let (style, word) = match judgement {
        Judgement::Fixed => (GOOD, "fixed"),
        Judgement::Passing => (GOOD, "passing"),
        Judgement::Broken => (BAD, "broken"),
        Judgement::StillFailing => (BAD, "still failing"),
        Judgement::Flaky => (WARN, "flaky"),
    };
    Line::default().with(style, word)
}

/// One line of at most [`COMMAND_COLUMNS`].
fn short(text: &str) -> String {
    let text = clean::text(text);
    let mut rows = text.trim().lines();
    let first = rows.next().unwrap_or_default();
    let more = if rows.next().is_some() { " …" } else { "" };
    Line::of(&format!("{first}{more}")).cut(COMMAND_COLUMNS).render(crate::text::Paint::Plain)
}
