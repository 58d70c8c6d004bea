//! Server-sent events out of bytes (WHATWG HTML, section 9.2.6).
//!
//! Our own decoder, because a hostile or broken server must not fill memory: an event is bounded before it is whole, and
//! each byte is looked at once whatever the chunk sizes are.

use std::collections::VecDeque;

/// Longest event taken, as line or as sum of its data lines. The largest honest one is a `response.completed` that
/// repeats a whole answer with encrypted reasoning: below 1 MiB.
pub(crate) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` field, empty where there was none.
    pub(crate) name: String,
    /// The `data:` fields, joined by newlines.
    pub(crate) data: String,
}

/// An event grew beyond [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Turns chunks of any size into events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    name: String,
    data: String,
    /// The last byte was CR: an LF that follows belongs to the same line end.
    after_cr: bool,
    /// Past the first line, where a byte order mark may stand.
    begun: bool,
    ready: VecDeque<Event>,
}

impl Decoder {
    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = bytes.split_at(at);
            let (end, rest) = rest.split_at(1);
            bytes = rest;
            let second_half = line.is_empty() && end == b"\n" && self.after_cr;
            self.after_cr = end == b"\r";
            if !second_half {
                self.push(line)?;
                self.end_line();
            }
        }
        if !bytes.is_empty() {
            self.after_cr = false;
            self.push(bytes)?;
        }
        Ok(())
    }

    /// The next whole event. What was not closed by a blank line is never given out.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = if self.begun { &line } else { line.strip_prefix('\u{feff}').unwrap_or(&line) };
        self.begun = true;
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_some() {
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut decoder = Decoder::default();
        for chunk in chunks {
            decoder.feed(chunk).unwrap();
        }
        std::iter::from_fn(|| decoder.next()).collect()
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn fields_comments_and_line_ends_follow_the_standard() {
        let text = "\u{feff}: hi\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\nid: 7\n\ndata\n\nevent: lost\n\rdata: ü\r\rdata: open";
        let got = decode([text.as_bytes()]);
        assert_eq!(got, [event("a", "1\n2"), event("", ""), event("", "ü")]);
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_memory() {
        let mut decoder = Decoder::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let fed = (0..32).take_while(|_| decoder.feed(&chunk).is_ok()).count();
        assert_eq!(fed, 16);
    }

    #[test]
    fn endless_data_lines_are_refused_too() {
        let mut decoder = Decoder::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; 1024 * 1024], b"\n"].concat();
        let fed = (0..32).take_while(|_| decoder.feed(&line).is_ok()).count();
        assert_eq!(fed, 15);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(
            text in "((event|data|id): ?[a-zü€]{0,6}|: c)?(\r\n|\n|\r)((data: [a-zü€]{0,9})?(\r\n|\n|\r)){0,8}",
            cuts in proptest::collection::vec(1usize..7, 0..40),
        ) {
            let bytes = text.as_bytes();
            let mut chunks = Vec::new();
            let mut rest = bytes;
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(decode(chunks), decode([bytes]));
        }
    }
}
