//! The deep look of `legwork doctor --deep`: database and blobs, held against what must always be true.
//!
//! It needs no server and disturbs none: it reads in pages, beside one that lives or after one that died.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use legwork_domain::{BlobId, Invariant, TurnId, Violation};
use legwork_forms::in_json;
use legwork_store::{Look, Store};
use serde::Serialize;

use crate::blobs::{Blobs, Stored};
use crate::redact;
use crate::vault::{Key, KeyError};
use crate::{Error, now, open_kept};

/// Violations after which the look stops: one that is broken so often needs no longer list.
const VIOLATIONS_MAX: usize = 1000;

/// Shorter ones are in any text; no key of a provider and no token of ours is.
const SECRET_BYTES_MIN: usize = 8;

/// Where to look.
#[derive(Clone)]
pub struct Deep {
    /// As the server's.
    pub data: PathBuf,
    /// As the server's.
    pub database: Option<String>,
    /// What no event may hold; those below 8 bytes are passed over.
    pub secrets: Vec<String>,
    /// What opens the stored secrets, whose values no event may hold either; `None`: the key in `data`, if there is one.
    pub key: Option<Key>,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Attempts that were looked at.
    pub attempts: u64,
    /// Events of their logs.
    pub events: u64,
    /// Blobs that are stored.
    pub blobs: u64,
    /// Of these, the ones that nothing names: what a call stored that never came to its end. They take room only.
    pub orphaned_blobs: u64,
    /// Their bytes.
    pub orphaned_bytes: u64,
    /// What does not hold.
    pub violations: Vec<Violation>,
}

/// Looks at everything. A database of an older program is brought up to date first, as by a server's start.
///
/// # Errors
/// [`Error::Absent`] if there is no database; [`Error::Data`] if the blobs cannot be read; [`Error::Store`] if a row
/// cannot be read; [`Error::Key`] if the key cannot be read. Secrets that it does not open are among the findings.
pub async fn deep_look(deep: Deep) -> Result<Findings, Error> {
    let store = open_kept(&deep.data, deep.database.as_deref()).await?;
    let looked = async {
        let kept = stored(&store, &deep).await?;
        let seen = look(&store, &[&deep.secrets[..], &kept.forms].concat()).await.map_err(Error::Store)?;
        Ok((kept.sealed, seen))
    };
    let looked: Result<_, Error> = looked.await;
    store.close().await;
    let (mut violations, seen) = looked?;
    violations.extend(seen.violations);
    let mut findings =
        Findings { attempts: seen.attempts, events: seen.events, violations, ..Findings::default() };
    let data = deep.data.clone();
    let shelf = tokio::task::spawn_blocking(move || shelf(&data, &seen.blobs));
    // It cannot be cancelled, and a panic in it is the caller's.
    match shelf.await.map_err(std::io::Error::other).and_then(|shelf| shelf) {
        Ok(shelf) => shelf.add_to(&mut findings),
        Err(source) => return Err(Error::Data { path: deep.data, source }),
    }
    Ok(findings)
}

/// The stored secrets, as far as the key at hand opens them.
#[derive(Default)]
struct Kept {
    /// Their values, in every form in which they may come.
    forms: Vec<String>,
    /// Those that it does not open, which nobody who has this key can use.
    sealed: Vec<Violation>,
}

/// What the key opens. Where there is none, nothing is known of any value, and that is said.
async fn stored(store: &Store, deep: &Deep) -> Result<Kept, Error> {
    let key = match &deep.key {
        Some(key) => Some(key.clone()),
        None => Key::kept_in(&deep.data)?,
    };
    let mut kept = Kept::default();
    let (_, sealed) = store.secrets().await?;
    let Some(key) = key else {
        if let Some(first) = sealed.first() {
            let detail = format!(
                "there is no key, and {} secrets are sealed; logs were not searched for their values",
                sealed.len()
            );
            kept.sealed.push(Violation::new(Invariant::Accepted, first.environment, detail));
        }
        return Ok(kept);
    };
    for secret in &sealed {
        match key.open(secret) {
            Ok(value) => kept.forms.extend(redact::forms_of(&value)),
            Err(error @ KeyError::Other { .. }) => {
                let detail = format!("{error}, which does not open it; logs were not searched for its value");
                kept.sealed.push(Violation::new(Invariant::Accepted, secret.environment, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(kept)
}

async fn look(store: &Store, secrets: &[String]) -> Result<legwork_store::Seen, legwork_store::Error> {
    let long = secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    // As they would stand in a line of JSON.
    let secrets: Vec<String> = long.map(|secret| in_json(secret)).collect();
    store.look(&Look { now: now(), violations_max: VIOLATIONS_MAX, secrets: &secrets }).await
}

/// What the directory of the blobs showed.
#[derive(Default)]
struct Shelf {
    blobs: u64,
    orphaned_blobs: u64,
    orphaned_bytes: u64,
    violations: Vec<Violation>,
}

fn shelf(data: &Path, named: &BTreeMap<BlobId, TurnId>) -> std::io::Result<Shelf> {
    let mut shelf = Shelf::default();
    let mut missing = named.clone();
    for Stored { id, bytes, digest } in Blobs::stored(data)? {
        shelf.blobs += 1;
        let turn = missing.remove(&id);
        if turn.is_none() {
            shelf.orphaned_blobs += 1;
            shelf.orphaned_bytes += bytes;
        }
        if digest != id.as_str() {
            let subject = turn.map_or_else(|| id.to_string(), |turn| turn.to_string());
            let detail = format!("the bytes of blob {id} have the digest {digest}");
            shelf.violations.push(Violation::new(Invariant::Accepted, subject, detail));
        }
    }
    for (blob, turn) in missing {
        let detail = format!("it names blob {blob}, which is not stored");
        shelf.violations.push(Violation::new(Invariant::Accepted, turn, detail));
    }
    Ok(shelf)
}

impl Shelf {
    fn add_to(self, findings: &mut Findings) {
        findings.blobs = self.blobs;
        findings.orphaned_blobs = self.orphaned_blobs;
        findings.orphaned_bytes = self.orphaned_bytes;
        findings.violations.extend(self.violations);
    }
}
