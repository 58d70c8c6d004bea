//! A decoy: a text that looks like a secret and is none, so that whoever takes it somewhere has looked for secrets.
//!
//! One tripwire is stretched across all ways out of a task: the proxies of its sandboxes, and what their holder sees go by on
//! ways of its own. Where it is touched first is remembered, and from then on none of the proxies lets anything pass.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use tokio::sync::Notify;

use crate::Error;

/// A decoy that is looked for.
pub struct Tripwire {
    finder: AhoCorasick,
    /// The longest form, in bytes.
    longest: usize,
    place: OnceLock<String>,
    touched: Notify,
}

impl Tripwire {
    /// Looks for `decoy` as it is and as common programs encode it, in either case, and broken into lines or groups.
    ///
    /// # Errors
    /// [`Error::Secrets`].
    pub fn new(decoy: &str) -> Result<Arc<Self>, Error> {
        let mut forms = legwork_forms::of(decoy);
        forms.push(decoy.chars().rev().collect());
        let built = AhoCorasick::builder().ascii_case_insensitive(true).build(&forms);
        Ok(Arc::new(Self {
            finder: built.map_err(|_| Error::Secrets)?,
            longest: forms.iter().map(String::len).max().unwrap_or(0),
            place: OnceLock::new(),
            touched: Notify::new(),
        }))
    }

    /// Whether the decoy is in these bytes. `place` says where they stand, for people; the first place stays.
    pub fn looks_at(&self, bytes: &[u8], place: impl Display) -> bool {
        let found = self.find(bytes).is_some();
        if found {
            // Only the first place counts, which is what `set` does.
            let _ = self.place.set(place.to_string());
            self.touched.notify_waiters();
        }
        found
    }

    /// A stream to be looked through.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watch {
        Watch { tripwire: Arc::clone(self), tail: Vec::new() }
    }

    /// Where the decoy was seen first.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.get().map(String::as_str)
    }

    /// Returns once the decoy was seen.
    pub async fn touched(&self) {
        loop {
            let touched = self.touched.notified();
            if self.place().is_some() {
                return;
            }
            touched.await;
        }
    }

    /// Where the decoy begins in these bytes; that is no touch yet.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<u64> {
        if let Some(found) = self.finder.find(bytes) {
            return Some(found.start() as u64);
        }
        // `base64`, `xxd` and `fold` break a line in the middle of it, so it is looked for without blanks too.
        let solid = || bytes.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
        let text: Vec<u8> = solid().map(|(_, byte)| *byte).collect();
        let found = self.finder.find(&text).filter(|_| text.len() < bytes.len())?;
        solid().nth(found.start()).map(|(at, _)| at as u64)
    }
}

/// Looks for a decoy in a stream, across its pieces.
pub struct Watch {
    tripwire: Arc<Tripwire>,
    /// The end of what went by, without blanks: the decoy may begin there.
    tail: Vec<u8>,
}

impl Watch {
    /// Whether the decoy is in the stream so far, as [`Tripwire::looks_at`] has it.
    pub fn looks_at(&mut self, bytes: &[u8], place: impl Display) -> bool {
        self.tail.extend(bytes.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let found = self.tripwire.looks_at(&self.tail, place);
        let past = self.tail.len().saturating_sub(self.tripwire.longest);
        self.tail.drain(..past);
        found
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const DECOY: &str = "deploy_5f1d2c3b4a59687786958473625140aa";

    fn seen(pieces: &[&str]) -> bool {
        let tripwire = Tripwire::new(DECOY).unwrap();
        let mut watch = tripwire.watch();
        pieces.iter().any(|piece| watch.looks_at(piece.as_bytes(), "here"))
    }

    fn folded(text: &str, width: usize, between: &str) -> String {
        let lines: Vec<_> = text.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line)).collect();
        lines.join(between)
    }

    #[test]
    fn a_decoy_is_seen_as_programs_print_it() {
        let file = format!("# deploy credentials\ntoken = {DECOY}\n");
        for (program, said) in [
            ("cat", file.clone()),
            ("base64", folded(&STANDARD.encode(&file), 76, "\n")),
            ("xxd -p", folded(&hex::encode(&file), 60, "\n")),
            ("od -An -tx1", folded(&hex::encode(&file), 2, " ")),
            ("fold -w 8", folded(&file, 8, "\n")),
            ("rev", file.lines().map(|line| line.chars().rev().collect::<String>() + "\n").collect()),
            ("tr a-z A-Z", file.to_uppercase()),
        ] {
            assert!(seen(&[&said]), "{program}: {said}");
        }
        assert!(!seen(&["deploy_5f1d2c3b4a596877", " and the rest is not here"]));
    }

    #[test]
    fn a_decoy_is_seen_however_its_stream_is_cut() {
        for cut in 1..DECOY.len() {
            let (start, end) = DECOY.split_at(cut);
            assert!(seen(&["before ", start, end, " after"]), "{cut}");
        }
    }

    #[tokio::test]
    async fn who_waits_hears_of_it_and_the_first_place_stays() {
        let tripwire = Tripwire::new(DECOY).unwrap();
        let waits = tokio::spawn({
            let tripwire = Arc::clone(&tripwire);
            async move { tripwire.touched().await }
        });
        assert!(!tripwire.looks_at(b"nothing", "nowhere") && tripwire.place().is_none());
        assert!(
            tripwire.looks_at(DECOY.as_bytes(), "the first")
                && tripwire.looks_at(DECOY.as_bytes(), "a second")
        );
        waits.await.unwrap();
        assert_eq!(tripwire.place(), Some("the first"));
    }
}
