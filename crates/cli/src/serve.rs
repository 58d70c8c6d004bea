//! `legwork up`, `legwork server`, `legwork worker`: the parts of a service, each a process that stays in the foreground.
//!
//! `up` is the other two in one process, on one data directory. All of them stop the same way ([`stop`]): the first
//! signal gives the turns under way back in good order, a second one leaves at once. Leaving at once loses nothing
//! either, since nothing that counts is kept in memory alone; it only costs the time until leases lapse.

mod address;
mod seat;
pub mod server;
mod stop;
pub mod up;
pub mod worker;

pub use seat::Address;
pub(crate) use seat::Seat;

use std::path::Path;

use legwork_domain::LinkDraft;

use crate::config::{Config, Database};
use crate::exit::Trouble;
use crate::local::Host;
use crate::run::home;
use crate::text::{ACCENT, BOLD, DIM, Line, PLAIN};

/// How a server that has started says so.
struct Told<'a> {
    /// As one JSON object.
    json: bool,
    /// Who works for it.
    worker: &'a str,
    /// Where it keeps its tasks; `None`: in the data directory.
    database: Option<&'a Database>,
}

/// Says where the server listens: to commands on this machine by the seat, to a person or a program on standard output.
async fn announce(
    seat: Option<&mut Seat>,
    host: &Host,
    config: &Config,
    told: &Told<'_>,
) -> anyhow::Result<()> {
    let database = told.database.and_then(|database| database.told(&config.home));
    let address =
        Address { url: host.url.clone(), pid: std::process::id(), token: host.token.clone(), database };
    let mut first = false;
    if let Some(seat) = seat {
        first = seat.before().is_none();
        seat.announce(&address)?;
    }
    if told.json {
        let object = serde_json::json!({ "url": address.url, "pid": address.pid, "data": config.home });
        return Ok(crate::json::line(&mut std::io::stdout(), &object)?);
    }
    let row = |name: &str| Line::default().with(DIM, &format!("  {name:<9} "));
    let mut lines = vec![
        Line::default().with(BOLD, "Legwork listens at ").with(ACCENT, &address.url),
        row("data").with(PLAIN, &config.home.display().to_string()),
    ];
    lines.extend(address.database.iter().map(|database| row("database").with(PLAIN, database)));
    lines.extend([
        row("worker").with(PLAIN, told.worker),
        row("hand over")
            .with(ACCENT, "legwork task new \"…\"")
            .with(DIM, "  in another terminal; it finds this server"),
        row("token").with(ACCENT, "legwork token new NAME").with(DIM, "  for curl, other machines, workers"),
    ]);
    if first {
        let link = host.client.create_link(&LinkDraft { user: None }).await?;
        lines.push(
            row("log in").with(ACCENT, &link.url).with(DIM, "  with a browser, once, within 15 minutes"),
        );
    }
    lines.push(row("stop").with(PLAIN, "Ctrl-C; what is under way goes on at the next start"));
    home::write(&lines)?;
    Ok(())
}

/// The secret that a file holds.
pub(crate) fn secret_of(file: &Path) -> Result<String, Trouble> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let what = format!("The token file {} cannot be read: {error}.", file.display());
        Trouble::usage(what, "Name a file that holds the token and nothing else.")
    })?;
    let token = text.trim();
    if token.is_empty() {
        let what = format!("The token file {} is empty.", file.display());
        return Err(Trouble::usage(what, "Name a file that holds the token and nothing else."));
    }
    Ok(token.to_owned())
}
