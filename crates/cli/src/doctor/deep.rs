//! `legwork doctor --deep`: what is kept, held against what must always be true.

use legwork_server::{Deep, Findings};

use super::Args;
use crate::config::{Config, Database, Vars};
use crate::exit::Exit;
use crate::run::home;
use crate::serve::Address;
use crate::text::{BAD, DIM, GOOD, Line, PLAIN};
use crate::{json, keys, models};

/// What a number means, and what to do.
const RULES: &str = "\"Invariants\" in ARCHITECTURE.md says what each number means. Keep a copy of the data directory for a report.";

pub(super) async fn run(args: Args, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let database = Database::here(args.database, config, vars)?.as_ref().map(Database::url);
    let keys = models::keys(config, vars).into_iter();
    let mut secrets: Vec<String> = keys.map(|(_, value)| value).collect();
    secrets.extend(Address::left_in(&config.home).map(|address| address.token));
    let key = keys::key(&config.server).await?;
    let deep = Deep { data: config.home.clone(), database, secrets, key };
    let findings = legwork_server::deep_look(deep).await?;
    if args.json {
        json::line(&mut std::io::stdout(), &findings)?;
    } else {
        home::write(&lines(&findings))?;
    }
    Ok(if findings.violations.is_empty() { Exit::Done } else { Exit::Failed })
}

fn lines(findings: &Findings) -> Vec<Line> {
    let Findings { attempts, events, blobs, orphaned_blobs, orphaned_bytes, violations } = findings;
    let mut lines: Vec<Line> =
        violations.iter().map(|violation| Line::default().with(PLAIN, &violation.to_string())).collect();
    let orphans = match orphaned_blobs {
        0 => String::new(),
        _ => format!(
            "; nothing names {orphaned_blobs} of the blobs ({orphaned_bytes} bytes), which does no harm"
        ),
    };
    let looked = format!("{attempts} attempts, {events} events and {blobs} blobs were read{orphans}.");
    if violations.is_empty() {
        lines.push(Line::default().with(GOOD, "All is as it must be. ").with(DIM, &looked));
        return lines;
    }
    let count = format!("Broken {} times. ", violations.len());
    lines.push(Line::default().with(BAD, &count).with(DIM, &looked));
    lines.push(Line::default().with(DIM, RULES));
    lines
}
