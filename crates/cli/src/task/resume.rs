use std::sync::Arc;

use legwork_model::Catalog;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::run::{self, Attended, Shown};
use crate::signals::Signals;
use crate::{models, ready};

/// Takes up a task whose command was killed. Its turns are queued again once their leases have lapsed, half a minute
/// after the last sign of life; of one that lives, only the events are shown.
pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let signals = Signals::new()?;
    let view = find::task(which, call.client).await?;
    if view
        .attempts
        .iter()
        .filter_map(|attempt| attempt.turns.last())
        .all(|turn| turn.state.ended().is_some())
    {
        let what = format!("{} is over; there is nothing to take up.", view.task.id);
        return Err(
            Trouble::usage(what, format!("See its result: legwork task show {}", view.task.id)).into()
        );
    }
    let Some(host) = call.host else {
        let what = "The server's workers take it up by themselves.";
        return Err(Trouble::usage(what, format!("Follow it: legwork task watch {}", view.task.id)).into());
    };
    ready::check(call.config).await?;
    let catalog = Arc::new(Catalog::new(models::settings(call.config, call.vars)?)?);
    run::see_through(host, &view, call.config, Attended { shown: Shown::default(), catalog, signals }).await
}
