//! `legwork server`: the API without a worker.

use super::address::{self, ListenArgs};
use super::seat::Seat;
use super::stop::drained;
use super::{Told, announce};
use crate::config::Config;
use crate::exit::Exit;
use crate::local::Host;
use crate::signals::Signals;

/// Serves the API, without a worker, and stays until it is told to stop.
///
/// Workers come from anywhere: legwork worker --server URL. On one database of Postgres any number of servers may work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    listen: ListenArgs,
    /// Write the address as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// What kept it from starting, or what it ended with.
pub async fn run(args: Args, config: &Config) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let listen = args.listen.over(&config.server)?;
    config.make_home()?;
    let mut seat = Seat::take(&config.home).await?;
    let mut host = Host::on(address::bind(listen).await?, config)?;
    let works = format!("none here: legwork worker --server {}", host.url);
    announce(&mut seat, &host, config, &Told { json: args.json, worker: &works })?;
    tokio::select! {
        () = signals.next() => {}
        error = host.failure() => return Err(error),
    }
    drained(&mut signals, host.stop()).await
}
