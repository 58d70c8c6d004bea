use std::io::IsTerminal as _;

use legwork_domain::{DiffStat, Ended, TaskView, Timestamp, Turn};
use legwork_git::Repository;

use super::{Call, Form};
use crate::exit::{Exit, Trouble};
use crate::run::home;
use crate::screen;
use crate::summary::word_for;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, dollars, pad};

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
    let mut tasks: Vec<TaskView> = Vec::new();
    let mut cursor = None;
    while tasks.len() < usize::from(args.limit) {
        let page = call.client.tasks(cursor.as_deref()).await?;
        tasks.extend(page.tasks);
        cursor = page.next;
        if cursor.is_none() {
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
    lines.extend(tasks.iter().map(|view| Layout::of(columns).row(view, now).cut(columns)));
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

    fn row(self, view: &TaskView, now: Timestamp) -> Line {
        let id = view.task.id.to_string();
        let turns: Vec<&Turn> = view.attempts.iter().filter_map(|attempt| attempt.turns.last()).collect();
        let best = best(&turns);
        let (style, word) = best.map_or_else(|| (ACCENT, live(&turns)), |ended| word_for(&ended.outcome));
        let mut line = Line::default()
            .with(DIM, &id[id.len() - self.id..])
            .with(style, &format!("  {}", pad(word, STATE)))
            .with(DIM, &format!("  {}  ", pad(&age(now.ms_since(view.task.created_at)), AGE)));
        if self.details {
            let details = best.map(details).unwrap_or_default().cut(DETAILS);
            let blanks = " ".repeat(DETAILS + 2 - details.width());
            line = line.then(details).with(PLAIN, &blanks);
        }
        if self.repository > 0 {
            let path = repository(&view.task.request.source.repository);
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
            line.push(DIM, &format!("{}  ", pad(&name, self.repository)));
        }
        line.then(Line::default().with(BOLD, &view.task.title).cut(self.title))
    }
}

/// The repository without what may be secret in its URL.
pub(super) fn repository(text: &str) -> String {
    Repository::parse(text).map_or_else(|_| "(unreadable)".to_owned(), |repository| repository.public())
}

fn live(turns: &[&Turn]) -> &'static str {
    turns.iter().find(|turn| turn.state.ended().is_none()).map_or("unknown", |turn| turn.state.name())
}

/// The end of the best attempt, once all are over.
fn best<'a>(turns: &[&'a Turn]) -> Option<&'a Ended> {
    if turns.iter().any(|turn| turn.state.ended().is_none()) {
        return None;
    }
    turns.iter().filter_map(|turn| turn.state.ended()).min_by_key(|ended| Exit::of(ended))
}

fn details(ended: &Ended) -> Line {
    let mut line = Line::default();
    if let Some(patch) = &ended.patch {
        let DiffStat { added, removed, .. } = patch.stat;
        line = line.with(GOOD, &format!("+{added}")).with(BAD, &format!(" −{removed}"));
    }
    for verdict in &ended.verdicts {
        line.push(DIM, if line.is_empty() { "" } else { ", " });
        line = line.then(crate::steps::line::judgement(verdict.judgement));
    }
    if let Some(cost) = ended.usage.cost_microusd.filter(|cost| *cost > 0) {
        line.push(DIM, &format!("{}{}", if line.is_empty() { "" } else { ", " }, dollars(cost)));
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
