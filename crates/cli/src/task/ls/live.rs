//! The list that stays on the screen. The server says when something changed; nobody asks in vain.

use std::io::{IsTerminal as _, Write as _};
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use legwork_client::Error;
use legwork_domain::{ListChange, TaskQuery, TaskRow};

use super::{Args, Tasks, drawn};
use crate::call::{Call, Form};
use crate::exit::{Exit, Trouble};
use crate::screen::{self, Redrawn};
use crate::signals::Signals;
use crate::text::Paint;

/// How long changes are gathered before the list is drawn anew: a burst of them costs one look.
const GATHERED: Duration = Duration::from_millis(200);

/// Ages grow also where nothing changes.
const AGED: Duration = Duration::from_secs(10);

type Changes = Pin<Box<dyn Stream<Item = Result<ListChange, Error>> + Send>>;

pub(super) async fn run(args: &Args, query: TaskQuery, call: &Call<'_>) -> anyhow::Result<Exit> {
    let signals = Signals::new()?;
    match call.form {
        Form::Json if args.is_filtered() || args.all => Err(Trouble::usage(
            "With --json, --watch tells the changes of all tasks that you see; it cannot be narrowed.",
            "Leave the other options out and choose among the lines.",
        )
        .into()),
        Form::Json => lines(query, call, signals).await,
        Form::Words if std::io::stdout().is_terminal() => screen(args, query, call, signals).await,
        Form::Words => Err(Trouble::usage(
            "A list that stays needs a terminal, and standard output is none.",
            "For programs: legwork task ls --watch --json",
        )
        .into()),
    }
}

/// The tasks that there are, then each change, as it comes; oldest first.
async fn lines(query: TaskQuery, call: &Call<'_>, mut signals: Signals) -> anyhow::Result<Exit> {
    let tell = |change: &ListChange| {
        let mut out = std::io::stdout().lock();
        crate::json::line(&mut out, change)?;
        out.flush()
    };
    let mut changes = None;
    loop {
        let following: &mut Changes = match &mut changes {
            Some(changes) => changes,
            None => {
                let (tasks, follow) = look(&query, usize::MAX, call).await?;
                for row in tasks.into_iter().rev() {
                    tell(&ListChange::Task { row: Box::new(row) })?;
                }
                changes.insert(follow)
            }
        };
        let change = tokio::select! {
            () = signals.next() => return Ok(Exit::Done),
            change = following.next() => change,
        };
        let Some(change) = change.transpose()? else { return Ok(Exit::Done) };
        tell(&change)?;
        if change == ListChange::Reset {
            changes = None;
        }
    }
}

/// The table, drawn anew when something changed.
async fn screen(
    args: &Args,
    query: TaskQuery,
    call: &Call<'_>,
    mut signals: Signals,
) -> anyhow::Result<Exit> {
    let mut stdout = std::io::stdout();
    let paint = Paint::of(&stdout);
    let mut table = Redrawn::default();
    let (mut tasks, mut changes) = look(&query, usize::from(args.limit), call).await?;
    loop {
        let lines = if tasks.is_empty() { vec![args.none()] } else { drawn(&tasks, call).await };
        let rows = screen::size().1.saturating_sub(1);
        table.draw(&mut stdout, paint, lines.into_iter().take(rows).collect())?;
        tokio::select! {
            () = signals.next() => break,
            () = tokio::time::sleep(AGED) => {}
            change = changes.next() => {
                let Some(_) = change.transpose()? else { break };
                tokio::time::sleep(GATHERED).await;
                (tasks, changes) = look(&query, usize::from(args.limit), call).await?;
            }
        }
    }
    writeln!(stdout)?;
    Ok(Exit::Done)
}

/// The tasks, and what changes after them.
async fn look(query: &TaskQuery, limit: usize, call: &Call<'_>) -> anyhow::Result<(Vec<TaskRow>, Changes)> {
    let Tasks { tasks, as_of, .. } = Tasks::get(query.clone(), limit, call).await?;
    Ok((tasks, Box::pin(call.client.changes(as_of))))
}
