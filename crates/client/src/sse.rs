//! Server-sent events out of chunks of bytes (WHATWG HTML, section 9.2.6, as far as our server speaks it: lines end in a
//! line feed, perhaps after a carriage return; an id is a number, and `retry` is not needed).
//!
//! Made for long lines: each byte is looked at once however it was cut up, where a parser that begins again with each
//! chunk needs minutes for one event of some megabytes.

use bytes::{Buf, BytesMut};

/// A message may not be longer: twice the largest event that a server takes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A message; one without a name is an event of the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its place, if it says one.
    pub(crate) id: Option<u64>,
    pub(crate) name: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// What came and was not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    buffer: BytesMut,
    /// The part of the buffer that is known to hold no line feed.
    scanned: usize,
    message: Message,
}

/// The stream is not one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Messages {
    /// Takes in what came.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), TooLong> {
        if self.buffer.len() + self.message.data.len() + chunk.len() > MESSAGE_BYTES_MAX {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole message. `None`: more bytes are needed.
    pub(crate) fn next(&mut self) -> Option<Message> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                if message != Message::default() {
                    return Some(message);
                }
            } else {
                self.field(&line);
            }
        }
        None
    }

    fn line(&mut self) -> Option<BytesMut> {
        let Some(found) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.scanned + found);
        self.buffer.advance(1);
        self.scanned = 0;
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        Some(line)
    }

    /// A line without a colon, or one that begins with it (a comment), says nothing to us.
    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"id" => self.message.id = std::str::from_utf8(value).ok().and_then(|id| id.parse().ok()),
            b"event" => self.message.name = value.to_vec(),
            b"data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push(b'\n');
                }
                self.message.data.extend_from_slice(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: Option<u64>, name: &str, data: &str) -> Message {
        Message { id, name: name.into(), data: data.into() }
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let text =
            "id: 1\ndata: {\"a\": 1}\n\n:\n\nevent: end\r\ndata:{}\r\n\r\ndata: one\ndata: two\nretry\n\n";
        let whole =
            [message(Some(1), "", "{\"a\": 1}"), message(None, "end", "{}"), message(None, "", "one\ntwo")];
        for size in 1..text.len() {
            let (mut messages, mut seen) = (Messages::default(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                messages.push(chunk).unwrap();
                seen.extend(std::iter::from_fn(|| messages.next()));
            }
            assert_eq!(seen, whole, "in chunks of {size}");
        }
    }

    #[test]
    fn an_unfinished_message_is_none() {
        let mut messages = Messages::default();
        messages.push(b"data: x\n").unwrap();
        assert_eq!(messages.next(), None);
    }

    #[test]
    fn a_stream_without_an_end_is_not_kept() {
        let mut messages = Messages::default();
        let chunk = vec![b'x'; MESSAGE_BYTES_MAX / 2];
        messages.push(&chunk).unwrap();
        assert_eq!(messages.next(), None);
        messages.push(&chunk).unwrap();
        assert_eq!(messages.push(b"x"), Err(TooLong));
    }
}
