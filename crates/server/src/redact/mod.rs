//! No registered secret in any event, log, error or artifact: the values are looked for at the server's door, in all that
//! comes in, so that no sink behind it needs to think of it.
//!
//! A text gets `[redacted:NAME]` in place of the value. Bytes under a digest cannot be changed, so a blob that holds a value
//! is refused. The values are in memory only, in one automaton that finds all of them in one pass; another server that
//! shares the database hears of a change within seconds ([`Redactor::refresh`]).

mod forms;
mod held;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use legwork_forms::in_json;
use legwork_store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::vault::{Key, KeyError};

pub(crate) use forms::{PIECE_BYTES_MIN, of as forms_of};
pub(crate) use held::Held;

/// Finds the values of secrets. Clones share what they know; one that knows nothing changes nothing.
///
/// The composition root may hold one and give it to the server ([`crate::Config::redactor`]): what it writes elsewhere (a
/// log, a terminal) then passes through the same knowledge.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Arc<Known>>>,
    /// What the process was given itself: names and values, which no reading of the records takes away.
    own: Arc<Mutex<Vec<(String, String)>>>,
}

/// Without what is known.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// The values at one revision.
#[derive(Default)]
pub(crate) struct Known {
    revision: Option<u64>,
    /// `None` where there is no secret.
    automaton: Option<AhoCorasick>,
    /// Finds those forms that a string of a document which is written as JSON holds otherwise, since their quotes and the
    /// like are escaped once more. `None` where there is none.
    escaped: Option<AhoCorasick>,
    /// The forms that are looked for, sorted, with the name of each one's secret.
    forms: Vec<(String, String)>,
    /// Length of the longest form.
    longest: usize,
}

/// Why the secrets could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Store(#[from] legwork_store::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the secrets are too many to look for")]
    TooMany(#[from] aho_corasick::BuildError),
}

impl Redactor {
    /// Looks for a value that no environment keeps, under a name that says what it is: a model's key, a token that the process
    /// was given. A value below 8 bytes would be found in ordinary text and is not looked for.
    ///
    /// # Errors
    /// [`crate::Error::Secrets`] if the values are too many.
    pub fn add(&self, name: &str, value: &str) -> Result<(), crate::Error> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let one = (name.to_owned(), value.to_owned());
        if own.contains(&one) {
            return Ok(());
        }
        own.push(one);
        let mut forms: BTreeMap<_, _> = known.forms.iter().cloned().collect();
        insert(&mut forms, name, value);
        let next = Known::with(forms, known.revision);
        *known = Arc::new(next.map_err(|error| crate::Error::Secrets(error.to_string()))?);
        Ok(())
    }

    /// The text without the values of secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.known().text(text)
    }

    /// The same for a whole document. What holds no value is given back as it came.
    pub(crate) fn document<T: Serialize + DeserializeOwned>(
        &self,
        document: T,
    ) -> Result<T, serde_json::Error> {
        let known = self.known();
        if known.automaton.is_none() || !known.are_in_document(&serde_json::to_string(&document)?) {
            return Ok(document);
        }
        let mut value = serde_json::to_value(&document)?;
        known.value(&mut value);
        serde_json::from_value(value)
    }

    /// What is known now; it stays as it is while somebody holds it.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secrets anew if one of them changed since.
    pub(crate) async fn refresh(&self, store: &Store, key: &Key) -> Result<(), RefreshError> {
        if self.known().revision == Some(store.secrets_revision().await?) {
            return Ok(());
        }
        let (revision, sealed) = store.secrets().await?;
        let mut values = Vec::with_capacity(sealed.len());
        for secret in &sealed {
            values.push((secret.name.clone(), key.open(secret)?));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        values.extend(self.own.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        *known = Arc::new(Known::of(values, Some(revision))?);
        Ok(())
    }
}

impl Known {
    /// From names and values.
    fn of(values: Vec<(String, String)>, revision: Option<u64>) -> Result<Self, RefreshError> {
        let mut forms = BTreeMap::new();
        for (name, value) in values {
            insert(&mut forms, &name, &value);
        }
        Self::with(forms, revision)
    }

    /// From forms with the names that they stand for.
    fn with(forms: BTreeMap<String, String>, revision: Option<u64>) -> Result<Self, RefreshError> {
        let forms: Vec<_> = forms.into_iter().collect();
        let longest = forms.iter().map(|(form, _)| form.len()).max().unwrap_or(0);
        let mut known = Self { revision, longest, ..Self::default() };
        if !forms.is_empty() {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::LeftmostLongest);
            known.automaton = Some(builder.build(forms.iter().map(|(form, _)| form))?);
            let written = forms.iter().map(|(form, _)| (form, in_json(form)));
            let escaped: Vec<String> =
                written.filter(|(form, written)| written != *form).map(|(_, written)| written).collect();
            known.escaped = if escaped.is_empty() { None } else { Some(AhoCorasick::new(escaped)?) };
        }
        Ok(Self { forms, ..known })
    }

    /// Length of the longest form.
    pub(crate) const fn longest(&self) -> usize {
        self.longest
    }

    /// The name of a secret whose value is in the bytes, and where it begins.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Option<(&str, usize)> {
        let found = self.automaton.as_ref()?.find(bytes)?;
        Some((&self.forms[found.pattern().as_usize()].1, found.start()))
    }

    fn are_in_document(&self, text: &str) -> bool {
        let finds =
            |automaton: &Option<AhoCorasick>| automaton.as_ref().is_some_and(|one| one.is_match(text));
        finds(&self.automaton) || finds(&self.escaped)
    }

    fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(automaton) = self.automaton.as_ref().filter(|automaton| automaton.is_match(text)) else {
            return Cow::Borrowed(text);
        };
        let mut clean = String::with_capacity(text.len());
        automaton.replace_all_with(text, &mut clean, |found, _, clean| {
            clean.push_str("[redacted:");
            clean.push_str(&self.forms[found.pattern().as_usize()].1);
            clean.push(']');
            true
        });
        Cow::Owned(clean)
    }

    /// Takes them out of all texts of a document.
    pub(crate) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (name, mut value) in old {
                    self.value(&mut value);
                    fields.insert(self.text(&name).into_owned(), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Two secrets with one value: the first name stands for both.
fn insert(forms: &mut BTreeMap<String, String>, name: &str, value: &str) {
    for form in forms::of(value) {
        forms.entry(form).or_insert_with(|| name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn knows(values: &[(&str, &str)]) -> Redactor {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let known = Known::of(values.collect(), Some(1)).unwrap();
        Redactor { known: Arc::new(RwLock::new(Arc::new(known))), own: Arc::default() }
    }

    #[test]
    fn a_value_gives_way_to_its_name_in_every_form() {
        let value = "p@ss \"word\"/é-1234";
        let redactor = knows(&[("TOKEN", value), ("OTHER", "another-value")]);
        for form in forms::of(value) {
            assert_eq!(redactor.text(&format!("a {form} b")), "a [redacted:TOKEN] b", "{form}");
        }
        let two = format!("{value}another-value");
        assert_eq!(redactor.text(&two), "[redacted:TOKEN][redacted:OTHER]");
        assert!(matches!(redactor.text("nothing here"), Cow::Borrowed("nothing here")));
    }

    #[test]
    fn a_document_is_searched_in_all_its_texts() {
        let value = "line\n\"quoted\"";
        let redactor = knows(&[("TOKEN", value)]);
        let document = json!({"a": [format!("x{value}y"), 5, null], value: {"b": value}});
        let clean = redactor.document(document).unwrap();
        assert_eq!(
            clean,
            json!({"a": ["x[redacted:TOKEN]y", 5, null], "[redacted:TOKEN]": {"b": "[redacted:TOKEN]"}})
        );
    }

    #[test]
    fn a_text_that_holds_json_itself_is_searched_too() {
        let redactor = knows(&[("TOKEN", "pass\"word\""), ("ACCOUNT", "{\n  \"key\": \"0123456789\\n\"\n}")]);
        // The whole in JSON, and a single line as it stands.
        for (text, clean) in [
            ("{\"token\":\"pass\\\"word\\\"\"}", "{\"token\":\"[redacted:TOKEN]\"}"),
            ("1:  \"key\": \"0123456789\\n\" ok", "1:  [redacted:ACCOUNT] ok"),
        ] {
            assert_eq!(redactor.document(json!({ "output": text })).unwrap(), json!({ "output": clean }));
        }
    }

    #[test]
    fn the_longer_of_two_values_that_begin_alike_is_taken() {
        let redactor = knows(&[("SHORT", "abcdefgh"), ("LONG", "abcdefgh-ijkl")]);
        assert_eq!(redactor.text("abcdefgh-ijkl abcdefgh"), "[redacted:LONG] [redacted:SHORT]");
    }

    #[test]
    fn what_the_process_was_given_is_looked_for_beside_the_records() {
        let redactor = knows(&[("TOKEN", "of-a-recipe")]);
        redactor.add("KEY", "of-the-process").unwrap();
        redactor.add("KEY", "of-the-process").unwrap();
        redactor.add("SHORT", "ordinar").unwrap();
        let text = redactor.text("of-a-recipe, of-the-process, ordinary").into_owned();
        assert_eq!(text, "[redacted:TOKEN], [redacted:KEY], ordinary");
    }

    #[test]
    fn who_knows_nothing_changes_nothing() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text("anything"), "anything");
        assert_eq!(redactor.document(json!({"a": 1})).unwrap(), json!({"a": 1}));
    }
}
