use std::io::IsTerminal as _;

use legwork_domain::{DiffStat, TaskQuery, TaskRow, TaskState, Timestamp};
use legwork_git::Repository;

use super::{Call, Form};
use crate::exit::{Exit, Trouble};
use crate::run::home;
use crate::screen;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, WARN, dollars, pad};

/// Columns of a title that are worth having; below, the other columns give way.
const TITLE_MIN: usize = 16;
/// Columns where standard output is no terminal.
const COLUMNS_PIPED: usize = 160;

/// Lists tasks, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut tasks: Vec<TaskRow> = Vec::new();
    let mut query = TaskQuery { limit: Some(args.limit.into()), ..TaskQuery::default() };
    while tasks.len() < usize::from(args.limit) {
        let page = call.client.tasks(&query).await?;
        tasks.extend(page.tasks);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    tasks.truncate(args.limit.into());
    if call.form == Form::Json {
        let mut out = std::io::stdout().lock();
        tasks.iter().try_for_each(|task| crate::json::line(&mut out, task))?;
        return Ok(Exit::Done);
    }
    if tasks.is_empty() {
        return Err(Trouble::failed(
            "There are no tasks yet.",
            "Start one: legwork run \"…\", or legwork demo",
        )
        .into());
    }
    let columns = if std::io::stdout().is_terminal() { screen::size().0 } else { COLUMNS_PIPED };
    let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let mut lines = vec![Layout::of(columns).head()];
    lines.extend(tasks.iter().map(|task| Layout::of(columns).row(task, now).cut(columns)));
    home::write(&lines)?;
    Ok(Exit::Done)
}

/// Which columns there is room for.
#[derive(Clone, Copy)]
struct Layout {
    /// Characters of the id; its end tells tasks apart, since its start is the time.
    id: usize,
    repository: usize,
    details: bool,
    title: usize,
}

const STATE: usize = 20;
const AGE: usize = 5;
const DETAILS: usize = 36;

impl Layout {
    fn of(columns: usize) -> Self {
        let id = if columns >= 140 { 31 } else { 8 };
        let details = columns >= 90;
        let repository = if columns >= 120 { 20 } else { 0 };
        let used = id + 2 + STATE + 2 + AGE + 2 + if details { DETAILS + 2 } else { 0 } + repository + 2;
        Self { id, repository, details, title: columns.saturating_sub(used).max(TITLE_MIN) }
    }

    fn head(self) -> Line {
        let mut text = format!("{}  {}  {}  ", pad("TASK", self.id), pad("STATE", STATE), pad("AGE", AGE));
        if self.details {
            text.push_str(&format!("{}  ", pad("PATCH, CHECKS, COST", DETAILS)));
        }
        if self.repository > 0 {
            text.push_str(&format!("{}  ", pad("REPOSITORY", self.repository)));
        }
        Line::default().with(DIM, &format!("{text}TITLE"))
    }

    fn row(self, task: &TaskRow, now: Timestamp) -> Line {
        let id = task.id.to_string();
        let (style, word) = word_for_state(task);
        let mut line = Line::default()
            .with(DIM, &id[id.len() - self.id..])
            .with(style, &format!("  {}", pad(word, STATE)))
            .with(DIM, &format!("  {}  ", pad(&age(now.ms_since(task.created_at)), AGE)));
        if self.details {
            let details = details(task).cut(DETAILS);
            let blanks = " ".repeat(DETAILS + 2 - details.width());
            line = line.then(details).with(PLAIN, &blanks);
        }
        if self.repository > 0 {
            let path = repository(&task.repository);
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
            line.push(DIM, &format!("{}  ", pad(&name, self.repository)));
        }
        line.then(Line::default().with(BOLD, &task.title).cut(self.title))
    }
}

/// The repository without what may be secret in its URL.
pub(super) fn repository(text: &str) -> String {
    Repository::parse(text).map_or_else(|_| "(unreadable)".to_owned(), |repository| repository.public())
}

fn word_for_state(task: &TaskRow) -> (anstyle::Style, &'static str) {
    match task.state {
        TaskState::Queued | TaskState::Running | TaskState::Parked => (ACCENT, task.state.name()),
        TaskState::Succeeded => (GOOD.bold(), "Done"),
        TaskState::NoChange => (GOOD.bold(), "Done, no change"),
        TaskState::Failed if task.checks.broken + task.checks.still_failing + task.checks.flaky > 0 => {
            (BAD.bold(), "Verification failed")
        }
        TaskState::Failed => (BAD.bold(), "Failed"),
        TaskState::Cancelled => (WARN.bold(), "Cancelled"),
        TaskState::LimitReached => (WARN.bold(), "Limit reached"),
    }
}

fn details(task: &TaskRow) -> Line {
    let mut line = Line::default();
    if let Some(DiffStat { added, removed, .. }) = task.stat {
        line = line.with(GOOD, &format!("+{added}")).with(BAD, &format!(" −{removed}"));
    }
    for (judgement, count) in task.checks.each().into_iter().filter(|(_, count)| *count > 0) {
        let comma = if line.is_empty() { "" } else { ", " };
        let number = if count > 1 { format!("{count} ") } else { String::new() };
        line.push(DIM, &format!("{comma}{number}"));
        line = line.then(crate::steps::line::judgement(judgement));
    }
    if task.spent.cost_microusd > 0 {
        let comma = if line.is_empty() { "" } else { ", " };
        line.push(DIM, &format!("{comma}{}", dollars(task.spent.cost_microusd)));
    }
    line
}

/// `40s`, `5m`, `3h`, `12d`.
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
