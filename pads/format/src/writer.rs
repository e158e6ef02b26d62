//! Packing: a Pad is written as its data come, with one chunk in memory.

use std::io::{self, Write};

use zeroize::Zeroizing;

use crate::cipher::{Algorithm, Cipher, NONCE_BYTES, TAG_BYTES};
use crate::contents::{Contents, ContentsError};
use crate::keys::DataKey;
use crate::layout::{Lengths, MAX_DATA_BYTES, PadDigest, nonce};
use crate::metadata::{ChunkSize, CryptoInfo, Delegator, KeyId, Metadata, Salt};
use crate::uuid::PadId;

/// What is to become a Pad, but for its data.
pub struct Packing<'a> {
    /// Which Pad it is.
    pub pad_id: PadId,
    /// Who keeps its key.
    pub delegator: Delegator,
    /// By which algorithm it is sealed.
    pub algorithm: Algorithm,
    /// Under which id the delegator has its key.
    pub key_id: KeyId,
    /// The size of its chunks.
    pub chunk: ChunkSize,
    /// Its policies and attributes; its custodian is theirs.
    pub contents: &'a Contents,
}

/// Why no Pad is made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// the output failed
    #[error("the Pad could not be written: {0}")]
    Io(#[from] io::Error),
    /// policies and attributes that no reader accepts
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// more data than a Pad has
    #[error("a Pad has at most {MAX_DATA_BYTES} bytes of data; make several")]
    TooLarge,
    /// no randomness
    #[error("the operating system gave no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// a Pad that failed before
    #[error("the Pad failed to be written before, and cannot be continued")]
    Failed,
}

/// A Pad that is being written. Without [`PadWriter::finish`] it has no last chunk, and no reader
/// accepts it.
pub struct PadWriter<W> {
    out: W,
    metadata: Metadata,
    digest: PadDigest,
    cipher: Box<dyn Cipher>,
    /// Data that came and are not sealed yet: at most a chunk.
    plain: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
    /// The index of the next chunk.
    next: u64,
    data_bytes: u64,
    has_failed: bool,
}

impl<W: Write> PadWriter<W> {
    /// Seals policies and attributes and writes all that stands before the data.
    ///
    /// # Errors
    /// If no reader would accept them, there is no randomness, or the output fails.
    pub fn new(out: W, packing: &Packing<'_>, key: &DataKey) -> Result<Self, PackError> {
        Self::with_salt(out, packing, key, Salt::generate()?)
    }

    /// The same with a salt that is stated. Two sealings under one data key and one salt give away
    /// what both hold.
    ///
    /// # Errors
    /// As [`Self::new`].
    #[cfg(any(test, feature = "fixtures"))]
    pub fn danger_with_salt(
        out: W,
        packing: &Packing<'_>,
        key: &DataKey,
        salt: Salt,
    ) -> Result<Self, PackError> {
        Self::with_salt(out, packing, key, salt)
    }

    fn with_salt(
        out: W,
        packing: &Packing<'_>,
        key: &DataKey,
        salt: Salt,
    ) -> Result<Self, PackError> {
        let metadata = Metadata {
            pad_id: packing.pad_id,
            custodian: packing.contents.custodian.id(),
            delegator: packing.delegator.clone(),
            crypto: CryptoInfo {
                algorithm: packing.algorithm,
                key_id: packing.key_id.clone(),
                salt,
                chunk: packing.chunk,
            },
        };
        let contents = Zeroizing::new(packing.contents.to_bytes(&metadata)?);
        Self::begin(out, metadata, &contents, key)
    }

    /// Writes all that stands before the data, whatever the contents are.
    pub(crate) fn begin(
        mut out: W,
        metadata: Metadata,
        contents: &[u8],
        key: &DataKey,
    ) -> Result<Self, PackError> {
        let encoded = metadata.to_bytes();
        let sections = key.sections(&metadata.crypto, &encoded);
        let lengths = Lengths { metadata: encoded.len(), policies: contents.len() + TAG_BYTES };
        let mut head = [&lengths.to_bytes()[..], &encoded].concat();
        let mut policies = vec![0; lengths.policies];
        sections.policies.seal([0; NONCE_BYTES], &head, contents, &mut policies);
        head.extend_from_slice(&sections.commitment);
        head.extend_from_slice(&policies);
        out.write_all(&head)?;
        let size = metadata.crypto.chunk.bytes();
        Ok(Self {
            out,
            metadata,
            digest: PadDigest::of(&head),
            cipher: sections.data,
            plain: Zeroizing::new(Vec::with_capacity(size)),
            sealed: vec![0; size + TAG_BYTES],
            next: 0,
            data_bytes: 0,
            has_failed: false,
        })
    }

    /// The Pad's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Adds data.
    ///
    /// # Errors
    /// If there are too many, or the output fails or failed before.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        self.data_bytes = self.data_bytes.saturating_add(bytes.len() as u64);
        if self.data_bytes > MAX_DATA_BYTES {
            self.has_failed = true;
            return Err(PackError::TooLarge);
        }
        let size = self.metadata.crypto.chunk.bytes();
        while !bytes.is_empty() {
            if self.plain.is_empty() && bytes.len() > size {
                let chunk;
                (chunk, bytes) = bytes.split_at(size);
                self.seal(Some(chunk), false)?;
            } else if self.plain.len() == size {
                self.seal(None, false)?;
            } else {
                let chunk;
                (chunk, bytes) = bytes.split_at(bytes.len().min(size - self.plain.len()));
                self.plain.extend_from_slice(chunk);
            }
        }
        Ok(())
    }

    /// Writes the last chunk; gives the output back, and the digest that names the Pad where owners
    /// sign.
    ///
    /// # Errors
    /// If the output fails or failed before.
    pub fn finish(mut self) -> Result<(W, PadDigest), PackError> {
        self.seal(None, true)?;
        self.out.flush()?;
        Ok((self.out, self.digest))
    }

    /// Seals and writes a chunk: the one that is given, or what was kept.
    fn seal(&mut self, chunk: Option<&[u8]>, is_last: bool) -> Result<(), PackError> {
        if self.has_failed {
            return Err(PackError::Failed);
        }
        let plain = chunk.unwrap_or(&self.plain);
        let sealed = &mut self.sealed[..plain.len() + TAG_BYTES];
        let nonce = nonce(self.next, is_last);
        self.cipher.seal(nonce, self.digest.0.as_bytes(), plain, sealed);
        self.next += 1;
        // A part of the chunk may be written: another one behind it would be out of its place.
        let written = self.out.write_all(sealed);
        self.has_failed = written.is_err();
        self.plain.clear();
        Ok(written?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    /// Takes so many bytes, then none.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_same_pad_comes_of_data_in_any_pieces() {
        let data: Vec<u8> = (0..1500_u32).map(|number| number as u8).collect();
        let whole = fixtures::packed(&data);
        for piece in [1, 7, 255, 256, 257, 511, 512, 1499] {
            let mut writer = fixtures::writer(Vec::new());
            data.chunks(piece).for_each(|piece| writer.write(piece).unwrap());
            let (out, _) = writer.finish().unwrap();
            assert_eq!(out, whole, "{piece}");
        }
    }

    #[test]
    fn two_sealings_of_one_content_share_nothing_but_what_is_plain() {
        let contents = fixtures::contents();
        let packed = || {
            let packing = fixtures::packing(&contents);
            let mut writer = PadWriter::new(Vec::new(), &packing, &fixtures::data_key()).unwrap();
            writer.write(&[7; 300]).unwrap();
            writer.finish().unwrap().0
        };
        let (one, two) = (packed(), packed());
        assert_eq!(one.len(), two.len());
        let start = 16 + fixtures::metadata().to_bytes().len();
        let (one, two) = (&one[start..], &two[start..]);
        assert!(one.chunks(16).zip(two.chunks(16)).all(|(one, two)| one != two));
    }

    #[test]
    fn a_pad_whose_output_failed_is_not_continued() {
        let contents = fixtures::contents();
        let packing = fixtures::packing(&contents);
        let head = fixtures::packed(b"").len() - TAG_BYTES;
        let mut writer = PadWriter::new(Full(head + 100), &packing, &fixtures::data_key()).unwrap();
        assert!(matches!(writer.write(&[0; 1000]), Err(PackError::Io(_))));
        assert!(matches!(writer.write(&[0; 1000]), Err(PackError::Failed)));
        assert!(matches!(writer.finish(), Err(PackError::Failed)));
        assert!(PadWriter::new(Full(10), &packing, &fixtures::data_key()).is_err());
    }
}
