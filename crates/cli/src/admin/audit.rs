use std::collections::BTreeMap;

use legwork_domain::{AuditEntry, Timestamp};

use crate::call::{Call, Form};
use crate::clean;
use crate::exit::{Exit, Trouble};
use crate::table;
use crate::text::{DIM, GOOD, Line, count};

/// The columns of the list.
const HEADS: [&str; 5] = ["SEQ", "AT", "BY", "ACTION", "ON"];

/// Columns of a name or an id: with the others they make a line of 80, also at a million entries.
const NAME_COLUMNS: usize = 14;

/// Letters of an id that tell it from its neighbours; the first ones are its time.
const ID_LETTERS: usize = 8;

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
    let names: BTreeMap<String, String> = match call.form {
        Form::Json => BTreeMap::new(),
        Form::Words => {
            let users = call.client.users().await?.users;
            users.into_iter().map(|user| (user.id.to_string(), user.name)).collect()
        }
    };
    let rows = entries.iter().map(|entry| row(entry, &names)).collect();
    call.list(&entries, &table::fitted(&HEADS, rows, table::columns()))
}

fn row(entry: &AuditEntry, names: &BTreeMap<String, String>) -> Vec<Line> {
    vec![
        Line::default().with(DIM, &entry.seq.to_string()),
        Line::of(&at(entry.at)),
        Line::of(&called(&entry.actor.user.to_string(), names)).cut(NAME_COLUMNS),
        Line::of(&entry.action),
        Line::of(&called(&entry.target, names)).cut(NAME_COLUMNS),
    ]
}

/// A user's name; of what has none the kind and the last letters of its id, by which other commands find it.
fn called(id: &str, names: &BTreeMap<String, String>) -> String {
    if let Some(name) = names.get(id) {
        return clean::text(name);
    }
    match id.split_once('_') {
        Some((kind, letters)) if letters.len() > ID_LETTERS && letters.is_ascii() => {
            format!("{kind}_…{}", &letters[letters.len() - ID_LETTERS..])
        }
        _ => clean::text(id),
    }
}

/// To the second, in UTC.
fn at(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.micros())
        .map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use legwork_domain::{Actor, EnvironmentId, TokenId, UserId};

    use super::*;
    use crate::text::Paint;

    #[test]
    fn a_line_says_all_in_eighty_columns() {
        let (ada, new) = (UserId::from_u128(u128::MAX / 7), UserId::from_u128(u128::MAX / 5));
        let entry = |seq, user, action: &str, target: String| AuditEntry {
            seq,
            at: Timestamp::from_micros(1_796_000_000_000_000),
            actor: Actor { user, ..Actor::PROCESS },
            action: action.to_owned(),
            target,
            before: None,
            after: None,
            previous: String::new(),
        };
        let entries = [
            entry(123_456, ada, "environment.remove", EnvironmentId::from_u128(u128::MAX / 3).to_string()),
            entry(7, UserId::LOCAL, "token.create", TokenId::from_u128(u128::MAX / 11).to_string()),
            entry(6, new, "user.create", ada.to_string()),
        ];
        let names = BTreeMap::from([(ada.to_string(), "ada lovelace".to_owned())]);
        let rows: Vec<_> = entries.iter().map(|entry| row(entry, &names)).collect();
        let table = |columns| -> Vec<String> {
            let lines = table::fitted(&HEADS, rows.clone(), columns);
            lines.iter().map(|line| line.render(Paint::Plain)).collect()
        };
        assert_eq!(table(80), table(1000), "nothing is cut away for lack of room");
        insta::assert_snapshot!(table(80).join("\n"), @r"
        SEQ     AT                    BY             ACTION              ON
        123456  2026-11-30 00:53:20Z  ada lovelace   environment.remove  env_…anananan
        7       2026-11-30 00:53:20Z  usr_…00000000  token.create        tok_…8q8q8q8q
        6       2026-11-30 00:53:20Z  usr_…6csk6csk  user.create         ada lovelace
        ");
    }
}
