//! Output of commands: captured within bounds, cut in the middle, said in the form that models know.

use std::collections::VecDeque;

use crate::history::TOKEN_BYTES;

/// Output with a bound: what is above is counted, the head half and the tail half are kept.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    omitted: u64,
}

impl Capture {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), half: bytes_max / 2, omitted: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = if self.omitted == 0 && self.tail.is_empty() { self.half - self.head.len() } else { 0 };
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        let lost = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.omitted += lost as u64;
        let from_tail = lost.min(self.tail.len());
        self.tail.drain(..from_tail);
        self.tail.extend(&rest[lost - from_tail..]);
    }

    /// Notes bytes that were cut out before they came here.
    pub(super) fn omit(&mut self, bytes: u64) {
        // What came before the gap is the head; the tail starts anew behind it.
        let room = self.half.saturating_sub(self.head.len());
        let kept: Vec<u8> = self.tail.drain(..).collect();
        let (head, lost) = kept.split_at(room.min(kept.len()));
        self.head.extend_from_slice(head);
        self.omitted += bytes + lost.len() as u64;
    }

    /// All bytes that came, kept or not.
    pub(super) fn total(&self) -> u64 {
        self.omitted + (self.head.len() + self.tail.len()) as u64
    }

    /// The text, invalid UTF-8 replaced, at most about `bytes_max` long, with a notice where something is missing.
    pub(super) fn text(&self, bytes_max: usize) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.omitted == 0 {
            let whole = [self.head.as_slice(), &tail].concat();
            return cut_middle(&String::from_utf8_lossy(&whole), bytes_max);
        }
        let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
        joined(start(&head, bytes_max / 2), end(&tail, bytes_max / 2), self.total())
    }
}

/// Cuts the middle out of a text that is too long.
pub(super) fn cut_middle(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    joined(start(text, bytes_max / 2), end(text, bytes_max / 2), text.len() as u64)
}

/// Cuts the end off a text that is too long.
pub(super) fn cut_end(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max { text.to_owned() } else { format!("{}…", start(text, bytes_max)) }
}

fn joined(head: &str, tail: &str, total: u64) -> String {
    let cut = total.saturating_sub((head.len() + tail.len()) as u64);
    format!(
        "{head}\n[… {cut} bytes (about {} tokens) cut here; the whole output had {total} bytes (about {} tokens) …]\n{tail}",
        cut.div_ceil(TOKEN_BYTES),
        total.div_ceil(TOKEN_BYTES)
    )
}

fn start(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn end(text: &str, bytes_max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes_max))..]
}

/// What can be said of `bytes` now: an unfinished character at the end stays for later.
pub(super) fn take_text(bytes: &mut Vec<u8>) -> String {
    let lead = (1..=bytes.len().min(3)).find(|back| bytes[bytes.len() - back] >= 0xC0).unwrap_or(0);
    let unfinished = &bytes[bytes.len() - lead..];
    let waits = std::str::from_utf8(unfinished).is_err_and(|error| error.error_len().is_none());
    let rest = bytes.split_off(bytes.len() - if waits { lead } else { 0 });
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_head_and_tail_and_counts_the_rest() {
        let mut capture = Capture::new(8);
        for chunk in ["abc", "def", "ghi", "jkl"] {
            capture.push(chunk.as_bytes());
        }
        insta::assert_snapshot!(capture.text(100), @r"
        abcd
        [… 4 bytes (about 1 tokens) cut here; the whole output had 12 bytes (about 3 tokens) …]
        ijkl
        ");
        let mut short = Capture::new(8);
        short.push(b"abcdefgh");
        assert_eq!(short.text(100), "abcdefgh");
    }

    #[test]
    fn bytes_cut_earlier_are_counted_at_their_place() {
        let mut capture = Capture::new(8);
        capture.push(b"ab");
        capture.omit(100);
        capture.push(b"yz");
        assert_eq!(capture.total(), 104);
        assert!(capture.text(100).starts_with("ab\n[… 100 bytes"), "{}", capture.text(100));
    }

    #[test]
    fn characters_are_not_cut_in_half() {
        assert_eq!(cut_end("aüb", 2), "a…");
        assert!(cut_middle(&"ü".repeat(100), 11).starts_with("üü\n[…"));
        let mut bytes = "aü€😀".as_bytes()[..8].to_vec();
        assert_eq!((take_text(&mut bytes), bytes.len()), ("aü€".to_owned(), 2));
        bytes.extend_from_slice(&"😀".as_bytes()[2..]);
        assert_eq!((take_text(&mut bytes), bytes.len()), ("😀".to_owned(), 0));
        let mut invalid = b"a\xff".to_vec();
        assert_eq!(take_text(&mut invalid), "a\u{fffd}");
    }
}
