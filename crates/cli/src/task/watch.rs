use super::{Call, Form, Which, find};
use crate::exit::Exit;
use crate::run::{self, OnSignal, Shown, Watcher, home};
use crate::signals::Signals;

/// Any number of watchers may follow a task; none of them is needed for it to go on.
pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut view = find::task(which, call.client).await?;
    if let Some(number) = which.attempt {
        view.attempts.retain(|attempt| attempt.attempt.number == number);
        find::some_attempt(&view, number)?;
    }
    let shown = Shown { json: call.form == Form::Json, ..Shown::default() };
    let mut screen = run::screen(&view, shown.json);
    let watcher = Watcher {
        client: call.client,
        view: &view,
        signals: &mut signals,
        worker: None,
        on_signal: OnSignal::Leave,
    };
    let ends = run::follow(watcher, &mut screen).await?;
    let exit = home::bring(call.client, &view.task, &ends, &shown, call.config).await?;
    // How the task ended does not change with what a list shows as new.
    if let Err(error) = call.client.see(view.task.id).await {
        tracing::warn!(%error, "the task still counts as not seen");
    }
    Ok(exit)
}
