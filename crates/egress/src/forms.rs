//! Finding texts in streams: as they are, and as common programs encode them.

use std::collections::BTreeMap;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::{Bytes, BytesMut};

use crate::Error;

/// Knows what is looked for, and what stands in for it.
#[derive(Clone, Default)]
pub(crate) struct Forms {
    finder: Option<Arc<AhoCorasick>>,
    forms: Arc<Vec<Vec<u8>>>,
    replacements: Arc<Vec<String>>,
}

impl Forms {
    /// Of pairs of a value and what stands in for it.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let all = |(value, replacement): (&'a str, &'a str)| {
            legwork_forms::of(value).into_iter().map(move |form| (form.into_bytes(), replacement.to_owned()))
        };
        // In order, so that what begins with a text is found without a look at all of them.
        let forms: BTreeMap<Vec<u8>, String> = values.into_iter().flat_map(all).collect();
        let (forms, replacements): (Vec<_>, Vec<_>) = forms.into_iter().unzip();
        let finder = match forms.is_empty() {
            true => None,
            false => {
                let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
                Some(Arc::new(built.map_err(|_| Error::Secrets)?))
            }
        };
        Ok(Self { finder, forms: Arc::new(forms), replacements: Arc::new(replacements) })
    }

    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_match(bytes))
    }

    /// A text without what is looked for.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = Stream::new(self.clone());
        let mut out = stream.push(bytes).to_vec();
        out.extend_from_slice(&stream.end());
        out
    }

    /// How many bytes at the end could be the beginning of something that is looked for.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let longest = self.forms.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1).min(bytes.len());
        (1..=longest)
            .rev()
            .find(|length| {
                let tail = &bytes[bytes.len() - length..];
                let longer = self.forms.partition_point(|form| form.as_slice() <= tail);
                self.forms.get(longer).is_some_and(|form| form.starts_with(tail))
            })
            .unwrap_or(0)
    }
}

/// Replaces in a stream, across its pieces.
pub(crate) struct Stream {
    forms: Forms,
    held: BytesMut,
}

impl Stream {
    pub(crate) fn new(forms: Forms) -> Self {
        Self { forms, held: BytesMut::new() }
    }

    /// The next bytes that may be passed on.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.held.extend_from_slice(bytes);
        let Some(finder) = self.forms.finder.clone() else { return self.held.split().freeze() };
        let mut out = BytesMut::new();
        let mut done = 0;
        let open = self.held.len() - self.forms.open_end(&self.held);
        for found in finder.find_iter(&self.held) {
            // A longer one may begin here and be whole with the next bytes: if not, this one is found again.
            if found.start() >= open {
                break;
            }
            out.extend_from_slice(&self.held[done..found.start()]);
            out.extend_from_slice(self.forms.replacements[found.pattern().as_usize()].as_bytes());
            done = found.end();
        }
        let until = open.max(done);
        out.extend_from_slice(&self.held[done..until]);
        let _ = self.held.split_to(until);
        out.freeze()
    }

    /// What was held back.
    pub(crate) fn end(&mut self) -> Bytes {
        let rest = self.held.split();
        let Some(finder) = &self.forms.finder else { return rest.freeze() };
        let mut out = Vec::new();
        finder.replace_all_with_bytes(&rest, &mut out, |matched, _, out| {
            out.extend_from_slice(self.forms.replacements[matched.pattern().as_usize()].as_bytes());
            true
        });
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use legwork_forms::in_url;

    use super::*;

    const VALUE: &str = "hunter2-hunter2?";

    fn cleaned(text: &str, piece: usize) -> String {
        let mut stream =
            Stream::new(Forms::new([(VALUE, "***"), ("hunter2-hunter2?-longer", "###")]).unwrap());
        let mut out: Vec<u8> =
            text.as_bytes().chunks(piece).flat_map(|piece| stream.push(piece).to_vec()).collect();
        out.extend_from_slice(&stream.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_is_found_however_it_is_cut_and_encoded() {
        let text = format!("a{VALUE}b {VALUE}-longer {} {} hunter2-hunt", in_url(VALUE), hex::encode(VALUE));
        for piece in 1..text.len() {
            assert_eq!(cleaned(&text, piece), "a***b ### *** *** hunter2-hunt", "{piece}");
        }
        for before in ["", "a", "ab", "user:"] {
            let encoded = STANDARD.encode(format!("{before}{VALUE}"));
            assert!(cleaned(&encoded, 3).contains("***"), "{before}");
        }
    }

    #[test]
    fn what_cannot_begin_a_value_is_not_held_back() {
        let mut stream = Stream::new(Forms::new([(VALUE, "***")]).unwrap());
        assert_eq!(&stream.push(b"data: 1\n\n")[..], b"data: 1\n\n");
        assert_eq!(&stream.push(b"xhunt")[..], b"x");
    }
}
