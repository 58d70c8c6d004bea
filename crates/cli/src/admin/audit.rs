use legwork_domain::{AuditEntry, Timestamp};

use crate::call::Call;
use crate::exit::{Exit, Trouble};
use crate::table;
use crate::text::{DIM, GOOD, Line, count};

/// What can be done with the audit log.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Checks that no entry was changed, taken out or put in.
    Verify,
    /// Lists entries, newest first.
    Ls {
        /// How many at most.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

pub(super) async fn run(verb: &Verb, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Verb::Verify => verify(call).await,
        Verb::Ls { limit } => list(*limit, call).await,
    }
}

async fn verify(call: &Call<'_>) -> anyhow::Result<Exit> {
    let verdict = call.client.verify_audit().await?;
    let Some(fault) = &verdict.fault else {
        let whole = format!(
            "The audit log is whole: {}.",
            count(verdict.entries, "entry").replace("entrys", "entries")
        );
        let head = format!("  Keep its head elsewhere, to compare later: {}", verdict.head);
        return call
            .answer(&verdict, &[Line::default().with(GOOD, &whole), Line::default().with(DIM, &head)]);
    };
    call.answer(&verdict, &[])?;
    let what = format!("The audit log was changed at entry {}: {}.", fault.seq, fault.what);
    Err(Trouble::failed(
        what,
        "Compare with a backup from before, and find out who could write to the database.",
    )
    .into())
}

async fn list(limit: u16, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    let mut before = None;
    while entries.len() < usize::from(limit) {
        let page = call.client.audit(before).await?;
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    entries.truncate(limit.into());
    let rows = entries.iter().map(row).collect();
    call.list(&entries, &table::fitted(&["SEQ", "AT", "BY", "ACTION", "ON"], rows, table::columns()))
}

fn row(entry: &AuditEntry) -> Vec<Line> {
    vec![
        Line::default().with(DIM, &entry.seq.to_string()),
        Line::of(&at(entry.at)),
        Line::of(&entry.actor.user.to_string()),
        Line::of(&entry.action),
        Line::of(&entry.target),
    ]
}

/// To the second, in UTC.
fn at(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.micros())
        .map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
