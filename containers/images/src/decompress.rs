//! A layer's archive out of its compressed form, hashed and counted as it streams.
//!
//! The compressed bytes were verified before; the decoders are pure Rust, because a verified bomb
//! or a crafted stream of a careless image must not become more than an error.

use std::io::{self, BufRead, BufReader, Read};

use compose::digest::ContentDigest;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use super::budget::LayerBudget;
use super::manifest::Compression;

/// Reads ahead this much of the compressed file.
const BUFFER_BYTES: usize = 128 << 10;

/// The archive in `compressed`, whatever its compression.
pub(super) fn decoder<'a>(
    compressed: impl Read + 'a,
    compression: Compression,
) -> Box<dyn Read + 'a> {
    let buffered = BufReader::with_capacity(BUFFER_BYTES, compressed);
    match compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(MultiGzDecoder::new(buffered)),
        Compression::Zstd => Box::new(ZstdFrames { source: buffered, frame: None }),
    }
}

/// Hashes and counts what passes through; the count ends a bomb.
pub(super) struct Metered<'a, R> {
    inner: R,
    hasher: Sha256,
    budget: LayerBudget<'a>,
}

impl<'a, R: Read> Metered<'a, R> {
    pub(super) fn new(inner: R, budget: LayerBudget<'a>) -> Self {
        Self { inner, hasher: Sha256::new(), budget }
    }

    /// The digest of all that was read.
    pub(super) fn digest(self) -> ContentDigest {
        ContentDigest::from_bytes(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.budget.bytes(count as u64).map_err(io::Error::other)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Zstandard frames one after the other, skippable ones skipped (RFC 8878, section 3.1).
struct ZstdFrames<R> {
    source: R,
    frame: Option<Box<FrameDecoder>>,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.frame = next_frame(&mut self.source)?;
                continue;
            };
            while frame.can_collect() == 0 && !frame.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(buffer.len());
                frame.decode_blocks(&mut self.source, some).map_err(bad_zstd)?;
            }
            let count = frame.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.frame = None;
        }
    }
}

/// Enters the frame that begins here, or skips it.
fn next_frame(source: &mut impl BufRead) -> io::Result<Option<Box<FrameDecoder>>> {
    let mut frame = Box::new(FrameDecoder::new());
    match frame.init(&mut *source) {
        Ok(()) => Ok(Some(frame)),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
            length,
            ..
        })) => {
            let skipped = io::copy(&mut source.take(length.into()), &mut io::sink())?;
            if skipped != u64::from(length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(None)
        }
        Err(error) => Err(bad_zstd(error)),
    }
}

fn bad_zstd(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_frames_follow_each_other() {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let mut stream = ruzstd::encoding::compress_to_vec(&b"one"[..], level);
        stream.extend_from_slice(&0x184d_2a50u32.to_le_bytes());
        stream.extend_from_slice(&[4, 0, 0, 0, 1, 2, 3, 4]);
        stream.extend(ruzstd::encoding::compress_to_vec(&[7; 500_000][..], level));
        let mut out = Vec::new();
        decoder(&stream[..], Compression::Zstd).read_to_end(&mut out).expect("stream");
        assert_eq!(out.len(), 500_003);
        assert!(out.starts_with(b"one\x07"));
        for cut in [2, 5, stream.len() - 9, stream.len() - 1] {
            let mut out = Vec::new();
            assert!(
                decoder(&stream[..cut], Compression::Zstd).read_to_end(&mut out).is_err(),
                "{cut}"
            );
        }
    }
}
