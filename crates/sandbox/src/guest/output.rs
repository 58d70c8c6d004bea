//! How much of a command's output is passed on: its first half at once, its last half at the end.
//!
//! A model reads the beginning of an output (what ran) and its end (what failed); the middle of a flood is noise. The
//! head is passed on live; what comes after is kept in a bounded ring, of which the oldest bytes are dropped and counted.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::protocol::{CHUNK_BYTES, Stream};

/// Changes between the two outputs that the tail remembers: each costs 16 bytes, so a flood of single bytes that
/// alternate costs 64 KiB.
const RUNS_MAX: usize = 4096;

/// One command's output on its way.
#[derive(Debug)]
pub(super) struct Retention {
    head_left: u64,
    tail_max: u64,
    tail: VecDeque<u8>,
    runs: VecDeque<(Stream, usize)>,
    omitted: u64,
}

impl Retention {
    /// Passes on so many bytes: half as head, the rest as tail.
    pub(super) fn new(bytes_max: u64) -> Self {
        let head_left = bytes_max.div_ceil(2);
        let tail_max = bytes_max - head_left;
        Self { head_left, tail_max, tail: VecDeque::new(), runs: VecDeque::new(), omitted: 0 }
    }

    /// Whether output is still passed on as it comes.
    pub(super) fn is_live(&self) -> bool {
        self.head_left > 0
    }

    /// Takes output and gives back what is to be passed on at once.
    pub(super) fn take<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> &'a [u8] {
        let head = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(head);
        self.head_left -= head as u64;
        if !later.is_empty() {
            self.keep(stream, later);
        }
        now
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        self.tail.extend(bytes);
        match self.runs.back_mut() {
            Some((last, length)) if *last == stream => *length += bytes.len(),
            _ => self.runs.push_back((stream, bytes.len())),
        }
        while self.tail.len() as u64 > self.tail_max || self.runs.len() > RUNS_MAX {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, length)) = self.runs.front_mut() else { return };
        let excess = usize::try_from(self.tail.len() as u64 - self.tail_max.min(self.tail.len() as u64));
        let count = (*length).min(excess.unwrap_or(usize::MAX).max(1));
        *length -= count;
        if *length == 0 {
            self.runs.pop_front();
        }
        self.tail.drain(..count);
        self.omitted += count as u64;
    }

    /// What was cut out, and then the tail in pieces; leaves nothing behind.
    pub(super) fn finish(&mut self) -> (u64, VecDeque<(Stream, Bytes)>) {
        let mut pieces = VecDeque::new();
        for (stream, length) in std::mem::take(&mut self.runs) {
            let run: Vec<u8> = self.tail.drain(..length).collect();
            pieces.extend(run.chunks(CHUNK_BYTES).map(|piece| (stream, Bytes::copy_from_slice(piece))));
        }
        self.tail = VecDeque::new();
        (std::mem::take(&mut self.omitted), pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes_max: u64, pieces: &[(Stream, &str)]) -> (String, u64, String) {
        let mut retention = Retention::new(bytes_max);
        let mut head = String::new();
        for (stream, piece) in pieces {
            head.push_str(std::str::from_utf8(retention.take(*stream, piece.as_bytes())).unwrap());
        }
        let (omitted, tail) = retention.finish();
        let tail = tail.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
        (head, omitted, tail)
    }

    #[test]
    fn short_output_is_whole() {
        assert_eq!(
            run(10, &[(Stream::Out, "hello"), (Stream::Err, "world")]),
            ("hello".into(), 0, "world".into())
        );
    }

    #[test]
    fn the_middle_is_cut_and_counted() {
        assert_eq!(run(4, &[(Stream::Out, "abc"), (Stream::Out, "defgh")]), ("ab".into(), 4, "gh".into()));
        assert_eq!(run(0, &[(Stream::Out, "abc")]), (String::new(), 3, String::new()));
        assert_eq!(run(1, &[(Stream::Out, "abc")]), ("a".into(), 2, String::new()));
    }

    #[test]
    fn both_outputs_keep_their_order_in_the_tail() {
        let mut retention = Retention::new(8);
        retention.take(Stream::Out, b"1234");
        retention.take(Stream::Out, b"xxa");
        retention.take(Stream::Err, b"b");
        retention.take(Stream::Out, b"cc");
        let (omitted, tail) = retention.finish();
        assert_eq!(omitted, 2);
        let expected: [(Stream, &[u8]); 3] = [(Stream::Out, b"a"), (Stream::Err, b"b"), (Stream::Out, b"cc")];
        assert_eq!(tail, expected.map(|(stream, bytes)| (stream, Bytes::from_static(bytes))));
    }

    #[test]
    fn single_bytes_that_alternate_cost_bounded_memory() {
        let mut retention = Retention::new(1 << 20);
        retention.take(Stream::Out, &[0; 1 << 19]);
        for _ in 0..20_000 {
            retention.take(Stream::Out, b"o");
            retention.take(Stream::Err, b"e");
        }
        assert!(retention.runs.len() <= RUNS_MAX);
        let (omitted, tail) = retention.finish();
        assert_eq!(omitted + tail.len() as u64, 40_000);
    }
}
