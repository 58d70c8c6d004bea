//! `legwork env reset`: the next set-up starts from nothing.

use anyhow::Context as _;
use legwork_domain::RepositoryId;

use crate::call::Call;
use crate::config::Config;
use crate::exit::Exit;
use crate::run::home;
use crate::text::{DIM, GOOD, Line};

/// What workers remember of set-ups, below the data directory. The files themselves are removed with all that nothing uses.
const INDEXES: [&str; 2] = ["setups", "detections"];

/// Runs the verb. Turns that run keep what they stand on.
///
/// # Errors
/// If the directory cannot be changed.
pub(super) fn run(config: &Config) -> anyhow::Result<Exit> {
    let mut forgotten = 0;
    for index in INDEXES {
        let directory = config.home.join(index);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read.", directory.display()));
            }
        };
        // Locks stay: a set-up that runs now holds one.
        let known = entries.flatten().map(|entry| entry.path());
        for path in known.filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
            std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed.", path.display()))?;
            forgotten += usize::from(index == INDEXES[0]);
        }
    }
    let told = format!("{forgotten} set-ups of this machine are forgotten; ");
    home::write(&[Line::default().with(GOOD, &told).with(DIM, "the next task of each starts anew.")])?;
    Ok(Exit::Done)
}

/// The same for a repository and all workers of a server.
///
/// # Errors
/// What the server says.
pub(super) async fn at_server(repository: RepositoryId, call: &Call<'_>) -> anyhow::Result<Exit> {
    call.client.reset_repository(repository).await?;
    let told = Line::default().with(GOOD, "What workers keep of the repository is not used any more; ");
    call.answer(&repository, &[told.with(DIM, "its next task starts anew.")])
}
