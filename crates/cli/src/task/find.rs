//! Finding the task and the attempt that the user means.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use legwork_client::Client;
use legwork_domain::{Archived, AttemptId, AttemptView, Event, TaskId, TaskQuery, TaskView};

use super::{Call, Which};
use crate::choice;
use crate::exit::Trouble;
use crate::record::Record;
use crate::run::say;
use crate::text::count;
use crate::text::{ACCENT, DIM, Line, WARN};

/// Fewest characters of an id that are taken for it.
const CHARS_MIN: usize = 4;
/// Characters of an id that are shown where it is shortened.
const CHARS_SHOWN: usize = 8;
/// Most pages of tasks that are looked through for an id.
const PAGES_MAX: usize = 100;

/// The task that is meant.
pub(super) async fn task(which: &Which, client: &Client) -> anyhow::Result<TaskView> {
    let wanted = which.task.as_deref();
    if let Some(id) = wanted.and_then(|text| text.parse().ok()) {
        return Ok(client.task(id).await?);
    }
    if wanted.is_some_and(|text| text.len() < CHARS_MIN) {
        let what = format!("{:?} is too short to name a task.", wanted.unwrap_or_default());
        return Err(Trouble::usage(
            what,
            format!("Give at least its last {CHARS_MIN} characters: legwork task ls"),
        )
        .into());
    }
    let mut found: Vec<TaskId> = Vec::new();
    let mut query = TaskQuery { archived: Archived::With, limit: Some(100), ..TaskQuery::default() };
    for _ in 0..PAGES_MAX {
        let page = client.tasks(&query).await?;
        found.extend(
            page.tasks
                .into_iter()
                .map(|row| row.id)
                .filter(|id| wanted.is_none_or(|suffix| id.to_string().ends_with(suffix))),
        );
        query.cursor = page.next;
        if query.cursor.is_none() || (wanted.is_none() && !found.is_empty()) {
            break;
        }
    }
    match (wanted, found.len()) {
        (None, 1..) | (Some(_), 1) => Ok(client.task(found[0]).await?),
        (None, _) => {
            Err(Trouble::usage("There are no tasks yet.", "Start one: legwork run \"…\", or legwork demo")
                .into())
        }
        (Some(text), 0) => {
            Err(Trouble::usage(format!("There is no task {text}."), "List them: legwork task ls").into())
        }
        (Some(text), n) => {
            Err(Trouble::usage(format!("{n} tasks end with {text}."), "Give more characters of its id.")
                .into())
        }
    }
}

/// The end of an id, which is enough to name a task.
pub(super) fn short(id: TaskId) -> String {
    let text = id.to_string();
    text[text.len() - CHARS_SHOWN..].to_owned()
}

/// Tells on standard error how to follow what was handed over, or that nobody works on it yet.
pub(super) fn tell_who_works(id: TaskId, call: &Call<'_>) {
    let id = short(id);
    say(&match call.served {
        Some(_) => Line::default().with(DIM, "Follow it: ").with(ACCENT, &format!("legwork task watch {id}")),
        None => Line::default()
            .with(WARN, "No server works on this data directory, so it waits for one. ")
            .with(DIM, "Start it: ")
            .with(ACCENT, "legwork up")
            .with(DIM, ", or do this one task: ")
            .with(ACCENT, &format!("legwork task resume {id}")),
    });
}

/// The id of the attempt with that number.
pub(super) fn id_of(view: &TaskView, number: u8) -> anyhow::Result<AttemptId> {
    let found = view.attempts.iter().find(|view| view.attempt.number == number);
    found.map(|view| view.attempt.id).ok_or_else(|| no_attempt(view, number).into())
}

/// Whether none of the attempt's turns is to run.
pub(super) fn is_over(attempt: &AttemptView) -> bool {
    attempt.turns.iter().all(|turn| turn.state.ended().is_some())
}

fn no_attempt(view: &TaskView, number: u8) -> Trouble {
    let what =
        format!("The task has {} attempts, so there is no attempt {number}.", view.task.request.attempts);
    Trouble::usage(what, "See legwork task show.")
}

/// Fails unless the task has an attempt left to look at.
pub(super) fn some_attempt(view: &TaskView, number: u8) -> anyhow::Result<()> {
    if view.attempts.is_empty() {
        return Err(no_attempt(view, number).into());
    }
    Ok(())
}

/// The log of an attempt as far as it is written.
pub(super) async fn log(view: &AttemptView, client: &Client) -> anyhow::Result<Vec<Event>> {
    Ok(client.events_so_far(view.attempt.id).try_collect().await?)
}

/// Every attempt's record.
pub(super) async fn records(view: &TaskView, client: &Client) -> anyhow::Result<BTreeMap<u8, Record>> {
    let mut records = BTreeMap::new();
    for attempt in &view.attempts {
        let mut record = Record::default();
        log(attempt, client).await?.iter().for_each(|event| record.take(event));
        records.insert(attempt.attempt.number, record);
    }
    Ok(records)
}

/// The attempt that is meant: the one named, else the best.
pub(super) fn attempt(which: &Which, records: &BTreeMap<u8, Record>) -> anyhow::Result<u8> {
    let number = which.attempt.or_else(|| choice::best(records).map(|choice| choice.number)).unwrap_or(1);
    if records.contains_key(&number) {
        return Ok(number);
    }
    let all = count(records.len() as u64, "attempt");
    let what = format!("The task has {all}, so there is no attempt {number}.");
    Err(Trouble::usage(what, "See legwork task show.").into())
}
