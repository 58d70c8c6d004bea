//! `legwork server`: the API without a worker.

use std::path::PathBuf;

use super::address::{self, ListenArgs};
use super::seat::Seat;
use super::stop::drained;
use super::{Told, announce};
use crate::config::{Config, Database, Vars};
use crate::exit::Exit;
use crate::local::{self, Host};
use crate::signals::Signals;

/// Serves the API, without a worker, and stays until it is told to stop.
///
/// Workers come from anywhere: legwork worker --server URL. On one database of Postgres any number of servers may work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[command(flatten)]
    listen: ListenArgs,
    /// Where tasks and logs are kept: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE. LEGWORK_DATABASE says it without
    /// showing it to other users of this machine. Default: a file in the data directory.
    #[arg(long, value_name = "URL")]
    database: Option<Database>,
    /// A file with a token that opens everything: for the first steps on a machine without a data directory to read. Default: a
    /// new one, in the data directory.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write the address as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// What kept it from starting, or what it ended with.
pub async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let listen = args.listen.over(&config.server)?;
    let database = Database::chosen(args.database, config, vars)?;
    config.make_home()?;
    let taken = Seat::take(&config.home).await;
    let mut seat = match &database {
        // Its servers are many; the first on a machine is the one that commands there use.
        Some(Database::Postgres(_)) => taken.ok(),
        Some(Database::Sqlite(_)) | None => Some(taken?),
    };
    let token = match &args.token_file {
        Some(file) => super::secret_of(file)?,
        None => seat.as_mut().map_or_else(local::token, Seat::token)?,
    };
    let served = legwork_server::Config {
        database: database.as_ref().map(Database::url),
        door: args.listen.door(&config.server, vars)?,
        ..local::served(config, token).await?
    };
    let mut host = Host::on(address::bind(listen).await?, served, config)?;
    host.ready().await?;
    let works = format!("none here: legwork worker --server {}", host.url);
    let told = Told { json: args.json, worker: &works, database: database.as_ref() };
    announce(seat.as_mut(), &host, config, &told).await?;
    tokio::select! {
        () = signals.next() => {}
        error = host.failure() => return Err(error),
    }
    drained(&mut signals, host.stop()).await
}
