//! `legwork up`: server and worker in one process, on this machine's data directory.

use std::sync::Arc;

use legwork_model::Catalog;

use super::address::{self, ListenArgs};
use super::seat::Seat;
use super::stop::drained;
use super::worker::ShareArgs;
use super::{Told, announce};
use crate::config::{Config, Database, Vars};
use crate::exit::Exit;
use crate::local::{self, Host, Worker};
use crate::signals::Signals;
use crate::text::count;
use crate::{models, ready};

/// Starts a server and a worker in one process, and stays until it is told to stop.
///
/// Ctrl-C or SIGTERM gives turns under way back within 30 seconds; they go on at the next start. A second one stops at
/// once. Tasks, logs and patches are in the data directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    listen: ListenArgs,
    /// What the worker takes on.
    #[command(flatten)]
    share: ShareArgs,
    /// Write the address as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// What kept it from starting, or what it ended with.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    // Before anything starts, so that an early Ctrl-C is heard too.
    let mut signals = Signals::new()?;
    let listen = args.listen.over(&config.server)?;
    let share = args.share.over(&config.worker)?;
    ready::check(config).await?;
    let catalog = Arc::new(Catalog::new(models::settings(config, vars)?)?);
    let database = Database::chosen(None, config, vars)?;
    let mut seat = Seat::take(&config.home).await?;
    let served = legwork_server::Config {
        database: database.as_ref().map(Database::url),
        door: args.listen.door(&config.server, vars)?,
        ..local::served(config, seat.token()?).await?
    };
    let mut host = Host::on(address::bind(listen).await?, served, config)?;
    let slots = share.slots;
    let mut worker = Worker::start(config, host.client.clone(), catalog, share)?;
    host.ready().await?;
    let works = format!("{} at the same time", count(slots as u64, "turn"));
    let told = Told { json: args.json, worker: &works, database: database.as_ref() };
    announce(Some(&mut seat), &host, config, &told).await?;
    tokio::select! {
        () = signals.next() => {}
        error = worker.failure() => return Err(error),
        error = host.failure() => return Err(error),
    }
    let drain = async {
        worker.stop().await;
        host.stop().await
    };
    drained(&mut signals, drain).await
}
