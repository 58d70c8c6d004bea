//! Seeded changes to inputs, for where no fuzzer led by coverage can run.

use fastrand::Rng;

/// Longest input: beyond it a parser meets more of the same.
const BYTES_MAX: usize = 8 * 1024;

/// Most changes of one input.
const CHANGES_MAX: usize = 6;

/// Numbers at whose edges lengths and counts go wrong.
const EDGES: [&[u8]; 10] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"\r\n",
    b"\xf0\x9f\xa6\x80",
];

/// Makes inputs out of others.
pub struct Mutator<'a> {
    rng: Rng,
    corpus: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// The same for the same seed and corpus.
    #[must_use]
    pub fn new(seed: u64, corpus: &'a [Vec<u8>]) -> Self {
        Self { rng: Rng::with_seed(seed), corpus }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..self.rng.usize(1..=CHANGES_MAX) {
            self.change(&mut input);
            input.truncate(BYTES_MAX);
        }
        input
    }

    fn any(&mut self) -> &'a [u8] {
        self.rng.choice(self.corpus).map(Vec::as_slice).unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.usize(..=input.len());
        let end = (at + self.rng.usize(..=16)).min(input.len());
        match self.rng.u8(..8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, self.rng.u8(..)),
            3 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
            4 => {
                let edge = EDGES[self.rng.usize(..EDGES.len())];
                drop(input.splice(at..end, edge.iter().copied()));
            }
            5 => {
                // A piece of itself once more: what comes twice, or deeper.
                let from = self.rng.usize(..=at);
                let piece = input[from..at].to_vec();
                drop(input.splice(at..at, piece));
            }
            6 => {
                let other = self.any();
                let from = self.rng.usize(..=other.len());
                let to = self.rng.usize(from..=other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            _ => input[at..end].reverse(),
        }
    }
}
