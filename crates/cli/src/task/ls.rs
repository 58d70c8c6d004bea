mod live;

use std::collections::BTreeMap;

use anstyle::Style;
use legwork_domain::{Archived, DiffStat, TaskId, TaskQuery, TaskRow, TaskState, Timestamp};
use legwork_git::Repository;

use super::{Call, Form};
use crate::exit::Exit;
use crate::people;
use crate::run::say;
use crate::table;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, WARN, dollars};

/// Columns of a terminal from which on patch, checks and cost are shown.
const FOR_DETAILS: usize = 90;
/// From which on the repository is.
const FOR_REPOSITORY: usize = 120;
/// From which on ids are shown whole.
const FOR_IDS: usize = 140;
/// Tasks of a page of the server's.
const PAGE_MAX: usize = 100;
/// Queued tasks of a list that are asked what they wait for: a call each, and a screen has hardly more rows.
const REASONS_MAX: usize = 20;
/// Characters of an id where they are not: its end tells tasks apart, since its start is the time.
const ID_CHARS: usize = 8;

/// Lists tasks, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many at most.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only in this state: queued, running, parked, succeeded, no_change, limit_reached, failed, cancelled.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<TaskState>,
    /// Only of this repository, as the tasks name it.
    #[arg(long, value_name = "PATH-OR-URL")]
    repo: Option<String>,
    /// Only handed over by this user, by name or id; me: by you.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only with these words in their titles.
    #[arg(long, value_name = "WORDS")]
    title: Option<String>,
    /// With the archived ones.
    #[arg(long, conflicts_with = "archived")]
    all: bool,
    /// Only the archived ones.
    #[arg(long)]
    archived: bool,
    /// Where the list before ended; it says so.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<TaskId>,
    /// Keep the list as it is on the screen, until Ctrl-C; with --json, a line for each change of any task that you see.
    #[arg(long, short = 'w', conflicts_with = "cursor")]
    watch: bool,
}

fn state(text: &str) -> Result<TaskState, String> {
    let states = [
        TaskState::Queued,
        TaskState::Running,
        TaskState::Parked,
        TaskState::Succeeded,
        TaskState::NoChange,
        TaskState::LimitReached,
        TaskState::Failed,
        TaskState::Cancelled,
    ];
    let names = states.map(TaskState::name).join(", ");
    states.into_iter().find(|state| state.name() == text).ok_or_else(|| format!("it is one of {names}"))
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let query = args.query(call).await?;
    if args.watch {
        return live::run(args, query, call).await;
    }
    let Tasks { tasks, next, .. } = Tasks::get(query, usize::from(args.limit), call).await?;
    if call.form == Form::Json {
        return call.list(&tasks, &[]);
    }
    if tasks.is_empty() {
        say(&args.none());
        return Ok(Exit::Done);
    }
    crate::run::home::write(&drawn(&tasks, call).await)?;
    if let Some(cursor) = next {
        say(&Line::default().with(DIM, "There are more: --cursor ").with(ACCENT, &cursor.to_string()));
    }
    Ok(Exit::Done)
}

/// The first tasks of a list.
struct Tasks {
    tasks: Vec<TaskRow>,
    /// Where there are more.
    next: Option<TaskId>,
    /// The last change that they may show.
    as_of: u64,
}

impl Tasks {
    async fn get(mut query: TaskQuery, limit: usize, call: &Call<'_>) -> anyhow::Result<Self> {
        let (mut tasks, mut as_of): (Vec<TaskRow>, _) = (Vec::new(), None);
        loop {
            query.limit = u32::try_from((limit - tasks.len()).min(PAGE_MAX)).ok();
            let page = call.client.tasks(&query).await?;
            tasks.extend(page.tasks);
            query.cursor = page.next;
            // Of the first page, so that what changed while the others were read is told.
            let as_of = *as_of.get_or_insert(page.as_of);
            if query.cursor.is_none() || tasks.len() >= limit {
                return Ok(Self { tasks, next: query.cursor, as_of });
            }
        }
    }
}

/// The table.
async fn drawn(tasks: &[TaskRow], call: &Call<'_>) -> Vec<Line> {
    let (now, columns) = (people::now(), table::columns());
    let waits = waits(tasks, call).await;
    let rows = tasks.iter().map(|task| row(task, waits.get(&task.id), now, columns)).collect();
    table::fitted(&heads(columns), rows, columns)
}

impl Args {
    async fn query(&self, call: &Call<'_>) -> anyhow::Result<TaskQuery> {
        let created_by = match self.user.as_deref() {
            None => None,
            Some("me") => Some(call.client.me().await?.user.id),
            Some(name) => Some(people::user(name, call.client).await?.id),
        };
        let archived = match (self.all, self.archived) {
            (true, _) => Archived::With,
            (false, true) => Archived::Only,
            (false, false) => Archived::Without,
        };
        Ok(TaskQuery {
            state: self.state,
            repository: self.repo.clone(),
            created_by,
            archived,
            title: self.title.clone(),
            cursor: self.cursor,
            ..TaskQuery::default()
        })
    }

    /// Whether only some tasks are asked for.
    const fn is_filtered(&self) -> bool {
        self.state.is_some()
            || self.repo.is_some()
            || self.user.is_some()
            || self.title.is_some()
            || self.archived
    }

    /// What is said instead of an empty table, which is a true answer and no failure.
    fn none(&self) -> Line {
        let (what, next) = if self.is_filtered() || self.cursor.is_some() {
            ("There are no such tasks. ", "List all of them: legwork task ls --all")
        } else {
            ("There are no tasks yet. ", "Start one: legwork run \"…\", or legwork demo")
        };
        Line::default().with(PLAIN, what).with(DIM, next)
    }
}

fn heads(columns: usize) -> Vec<&'static str> {
    let details = (columns >= FOR_DETAILS).then_some("PATCH, CHECKS, COST");
    let repository = (columns >= FOR_REPOSITORY).then_some("REPOSITORY");
    ["TASK", "STATE", "AGE", "TOOK"].into_iter().chain(details).chain(repository).chain(["TITLE"]).collect()
}

/// What the newest queued tasks of the list wait for. A task that starts or is gone meanwhile has no such word.
async fn waits(tasks: &[TaskRow], call: &Call<'_>) -> BTreeMap<TaskId, String> {
    let queued = tasks.iter().filter(|task| task.state == TaskState::Queued).take(REASONS_MAX);
    let asked = queued.map(|task| async {
        let view = call.client.task(task.id).await.ok()?;
        Some((task.id, view.queue.into_iter().next()?.reason))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

fn row(task: &TaskRow, waits: Option<&String>, now: Timestamp, columns: usize) -> Vec<Line> {
    let id = task.id.to_string();
    let shown = if columns >= FOR_IDS { id.len() } else { ID_CHARS };
    let (style, word) = word_for(task);
    let took = task.ended_at.map_or_else(String::new, |ended| people::span(ended.ms_since(task.created_at)));
    let mut cells = vec![
        Line::default().with(DIM, &id[id.len() - shown..]),
        Line::default().with(style, word),
        Line::default().with(DIM, &people::span(now.ms_since(task.created_at))),
        Line::default().with(DIM, &took),
    ];
    if columns >= FOR_DETAILS {
        let reason = waits.map(|reason| Line::default().with(DIM, reason));
        cells.push(reason.unwrap_or_else(|| details(task)));
    }
    if columns >= FOR_REPOSITORY {
        let path = repository(&task.repository);
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        cells.push(Line::default().with(DIM, &name));
    }
    // What nobody has looked at yet stands out.
    cells.push(Line::default().with(if task.unread { BOLD } else { PLAIN }, &task.title));
    cells
}

/// The repository without what may be secret in its URL.
pub(super) fn repository(text: &str) -> String {
    Repository::parse(text).map_or_else(|_| "(unreadable)".to_owned(), |repository| repository.public())
}

fn word_for(task: &TaskRow) -> (Style, &'static str) {
    match task.state {
        TaskState::Queued | TaskState::Running => (ACCENT, task.state.name()),
        TaskState::Parked => (WARN.bold(), "Needs you"),
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
