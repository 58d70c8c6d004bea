use std::io::{IsTerminal as _, Write as _};

use bytes::Bytes;
use legwork_domain::Patch;
use serde::Serialize;

use super::{Call, Form, Which, find};
use crate::diff;
use crate::exit::{Exit, Trouble};
use crate::run::home;

/// A patch as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    attempt: u8,
    patch: &'a Patch,
    /// The unified diff; invalid UTF-8 is replaced, so apply the bytes that the command writes without `--json`.
    diff: &'a str,
}

/// On a terminal coloured and paged; else the exact bytes, for `git apply`.
pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let Found { number, patch, contents, .. } = found(which, call).await?;
    let mut stdout = std::io::stdout();
    if call.form == Form::Json {
        let diff = String::from_utf8_lossy(&contents);
        crate::json::line(&mut stdout, &Shown { attempt: number, patch: &patch, diff: &diff })?;
    } else if stdout.is_terminal() {
        diff::show(&contents, "legwork task diff > change.patch")?;
    } else {
        stdout.write_all(&contents)?;
        stdout.flush()?;
    }
    Ok(Exit::Done)
}

/// The patch that is meant.
pub(super) struct Found {
    pub(super) task: legwork_domain::Task,
    pub(super) number: u8,
    pub(super) patch: Patch,
    pub(super) contents: Bytes,
}

/// Finds it and fetches its bytes.
pub(super) async fn found(which: &Which, call: &Call<'_>) -> anyhow::Result<Found> {
    let view = find::task(which, call.client).await?;
    let records = find::records(&view, call.client).await?;
    let number = find::attempt(which, &records)?;
    let record = &records[&number];
    let (Some(patch), Some(contents)) = (&record.patch, home::fetch(call.client, record).await?) else {
        let what = format!("Attempt {number} of {} left no patch.", view.task.id);
        return Err(
            Trouble::failed(what, format!("See what it did: legwork task logs {}", view.task.id)).into()
        );
    };
    Ok(Found { number, patch: patch.clone(), contents, task: view.task })
}
