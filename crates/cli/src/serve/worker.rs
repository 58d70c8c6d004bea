//! `legwork worker`: runs turns for a server elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use legwork_client::Client;
use legwork_domain::{LABEL_BYTES_MAX, LABELS_MAX};
use legwork_model::{Catalog, Scripts, Settings};
use legwork_worker::{LocalRepositories, Reach};

use super::stop::drained;
use crate::config::{Config, Vars, WorkerFile};
use crate::exit::{Exit, Trouble};
use crate::local::{Share, Worker};
use crate::run::home;
use crate::signals::Signals;
use crate::text::{ACCENT, BOLD, DIM, Line, PLAIN, count};
use crate::{models, ready};

/// Most turns at the same time: each is a sandbox with processes, memory and disk of its own.
const SLOTS_MAX: u16 = 256;
/// Turns at the same time where the processors cannot be counted.
const SLOTS: u16 = 2;

/// Runs turns for a server, and stays until it is told to stop.
///
/// The worker's token is read from --token-file or from LEGWORK_WORKER_TOKEN. Keys of models are read from this
/// machine's environment and never leave it. Ctrl-C or SIGTERM gives turns under way back within 30 seconds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server's URL.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// A file with the worker's token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What it takes on.
    #[command(flatten)]
    share: ShareArgs,
}

/// What a worker takes on.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ShareArgs {
    /// Turns at the same time. Default: one a processor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(SLOTS_MAX)))]
    slots: Option<u16>,
    /// What this worker has: it gets only tasks whose labels are all among these. May be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
}

impl ShareArgs {
    /// With what the file says where the command does not.
    ///
    /// # Errors
    /// If a label cannot be one.
    pub(super) fn over(self, file: &WorkerFile) -> Result<Share, Trouble> {
        let processors =
            || std::thread::available_parallelism().ok().and_then(|n| u16::try_from(n.get()).ok());
        let slots = self.slots.or(file.slots).or_else(processors).unwrap_or(SLOTS).clamp(1, SLOTS_MAX);
        let labels = if self.labels.is_empty() { file.labels.clone() } else { self.labels };
        let wrong = |label: &&String| label.is_empty() || label.len() > LABEL_BYTES_MAX;
        if let Some(label) = labels.iter().find(wrong) {
            let what = format!("The label {label:?} is empty or longer than {LABEL_BYTES_MAX} bytes.");
            return Err(Trouble::usage(what, "Give it a short word, such as gpu."));
        }
        if labels.len() > LABELS_MAX {
            let what = format!("{} labels were named; a worker has at most {LABELS_MAX}.", labels.len());
            return Err(Trouble::usage(what, "Leave some out."));
        }
        // Those who may hand tasks over to a service need not own its machine.
        let reach = Reach::Public(file.git.opened()?);
        Ok(Share { slots, task: None, labels, local: LocalRepositories::Any, reach })
    }
}

/// Runs the verb.
///
/// # Errors
/// What kept it from starting, or what it ended with.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let Some(server) = args.server.or_else(|| config.worker.server.clone()) else {
        let what = "A worker needs a server to work for, and none was named.";
        return Err(Trouble::usage(
            what,
            "Name it with --server URL or as `server` under [worker] of the configuration; legwork up has a worker of its own.",
        )
        .into());
    };
    let token = token(args.token_file.as_deref(), vars)?;
    config.redactor.add("WORKER_TOKEN", &token)?;
    ready::check(config).await?;
    // Its server's callers need not be this machine's users.
    let scripts = Scripts::Below(config.worker.scripts.clone());
    let catalog = Arc::new(Catalog::new(Settings { scripts, ..models::settings(config, vars)? })?);
    let local = LocalRepositories::Below(config.worker.local_repositories.clone());
    let share = Share { local, ..args.share.over(&config.worker)? };
    home::write(&[Line::default()
        .with(BOLD, "Legwork works for ")
        .with(ACCENT, &server)
        .with(DIM, ": ")
        .with(PLAIN, &format!("{} at the same time", count(share.slots as u64, "turn")))])?;
    let mut worker = Worker::start(config, Client::new(&server, &token)?, catalog, share)?;
    tokio::select! {
        () = signals.next() => {}
        error = worker.failure() => return Err(error),
    }
    drained(&mut signals, async {
        worker.stop().await;
        Ok(())
    })
    .await
}

fn token(file: Option<&Path>, vars: Vars<'_>) -> anyhow::Result<String> {
    if let Some(file) = file {
        return Ok(super::secret_of(file)?);
    }
    vars("LEGWORK_WORKER_TOKEN").ok_or_else(|| {
        Trouble::usage(
            "A worker shows its server a token, and there is none.",
            "Name a file that holds it with --token-file, or set LEGWORK_WORKER_TOKEN.",
        )
        .into()
    })
}
