use std::io::{IsTerminal as _, Write as _};

use legwork_client::Client;

use super::{Which, find};
use crate::diff;
use crate::exit::{Exit, Trouble};
use crate::run::home;

/// On a terminal coloured and paged; else the exact bytes, for `git apply`.
pub(super) async fn run(which: &Which, client: &Client) -> anyhow::Result<Exit> {
    let view = find::task(which, client).await?;
    let records = find::records(&view, client).await?;
    let number = find::attempt(which, &records)?;
    let Some(patch) = home::fetch(client, &records[&number]).await? else {
        let what = format!("Attempt {number} of {} left no patch.", view.task.id);
        return Err(
            Trouble::failed(what, format!("See what it did: legwork task logs {}", view.task.id)).into()
        );
    };
    let mut stdout = std::io::stdout();
    if stdout.is_terminal() {
        diff::show(&patch, "legwork task diff > change.patch")?;
    } else {
        stdout.write_all(&patch)?;
        stdout.flush()?;
    }
    Ok(Exit::Done)
}
