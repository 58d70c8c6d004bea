//! Streams of layers: gzip, zstd or plain, told by their first bytes. What comes out is hashed and bounded.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use crate::reference::Digest;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The most of its past that a frame of zstd may refer to, which is held in memory: `zstd --ultra` writes 128 MiB.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The content of a compressed or plain stream.
pub(crate) fn content<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    source.by_ref().take(4).read_to_end(&mut head)?;
    let (is_gzip, is_zstd) = (head.starts_with(&GZIP), head.starts_with(&ZSTD));
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(source));
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if is_zstd {
        Box::new(Frames::new(whole))
    } else {
        Box::new(whole)
    })
}

/// Frames of zstd one after the other, as `zstd:chunked` and `pzstd` write them; those that hold no data are skipped.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { source, decoder, is_inside: false }
    }

    /// Begins the next frame. `false` at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_inside && !self.begin()? {
                return Ok(0);
            }
            self.is_inside = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.is_inside = false,
                count => return Ok(count),
            }
        }
    }
}

/// Hashes what is read through it, and fails beyond a bound.
pub(crate) struct Measured<R> {
    source: R,
    hash: Sha256,
    left: u64,
}

/// That a stream holds more than it may.
#[derive(Debug, thiserror::Error)]
#[error("it holds more than is unpacked of one layer")]
pub(crate) struct TooMuch;

impl<R: Read> Measured<R> {
    pub(crate) fn new(source: R, bytes_max: u64) -> Self {
        Self { source, hash: Sha256::new(), left: bytes_max }
    }

    /// Reads to the end and gives the digest of all.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest::of(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(TooMuch))?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        content(bytes)?.read_to_end(&mut out).map(|_| out)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_form_reads_and_so_do_several_in_a_row() {
        let text = b"some text ".repeat(10_000);
        let twice = text.repeat(2);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text).repeat(2)).unwrap(), twice);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(read(&[zstd(&text), skipped, zstd(&text)].concat()).unwrap(), twice);
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn what_is_cut_off_or_bent_is_an_error() {
        let text = b"some text ".repeat(10_000);
        for whole in [gzip(&text), zstd(&text)] {
            assert!(read(&whole[..whole.len() / 2]).is_err());
            assert!(read(&[&whole[..], b"rest"].concat()).is_err());
        }
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let measured = Measured::new(content(&bomb[..]).unwrap(), 1 << 20);
        let error = measured.finish().unwrap_err();
        assert!(error.get_ref().is_some_and(|error| error.is::<TooMuch>()), "{error}");
        let exact = Measured::new(&b"abc"[..], 3).finish().unwrap();
        assert_eq!(exact.digits(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
