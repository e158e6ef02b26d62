//! Opening: policies and attributes first, without any data; then data at any offset.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use zeroize::{Zeroize as _, Zeroizing};

use crate::cipher::{Cipher, NONCE_BYTES, NotAuthentic, TAG_BYTES};
use crate::contents::{Contents, ContentsError};
use crate::keys::{COMMITMENT_BYTES, DataKey};
use crate::layout::{Chunks, FIXED_BYTES, LayoutError, Lengths, PadDigest};
use crate::metadata::{Metadata, MetadataError};

/// Why bytes are no Pad, or not the Pad that was sealed.
#[derive(Debug, thiserror::Error)]
pub enum PadError {
    /// the input failed
    #[error("the Pad could not be read: {0}")]
    Io(io::Error),
    /// an input that ends inside of what stands before the data
    #[error("the Pad ends inside its {0}")]
    Truncated(&'static str),
    /// another layout
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// metadata that are none
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// another key, or other metadata
    #[error("the key is not this Pad's, or its metadata were changed")]
    Key,
    /// policies and attributes that are not those that were sealed
    #[error("the Pad's policies and attributes were changed")]
    Policies,
    /// policies and attributes that no writer makes
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// a chunk that was changed, moved, taken from elsewhere, or is not the last one as its place
    /// says
    #[error(
        "chunk {index} of {count} is not the one that was sealed here: it was changed or moved, or the data were cut"
    )]
    Chunk {
        /// Its index, from 0.
        index: u64,
        /// How many there would be by the length of the Pad.
        count: u64,
    },
    /// a Pad that was refused before
    #[error("the Pad was refused before")]
    Refused,
}

/// What somebody sent as a Pad: nothing of it is known to be true.
pub struct SealedPad<R> {
    source: R,
    metadata: Metadata,
    /// Fixed bytes, metadata, key commitment and sealed policies.
    head: Vec<u8>,
    /// Where the key commitment stands in them.
    commitment_at: usize,
}

impl<R: Read + Seek> SealedPad<R> {
    /// Reads what stands before the data of the Pad that begins where the source does.
    ///
    /// # Errors
    /// If it is no Pad, or the source fails.
    pub fn read(mut source: R) -> Result<Self, PadError> {
        source.rewind().map_err(PadError::Io)?;
        let mut fixed = [0; FIXED_BYTES];
        fill(&mut source, &mut fixed, "first bytes")?;
        let lengths = Lengths::parse(&fixed)?;
        let commitment_at = FIXED_BYTES + lengths.metadata;
        let mut head = fixed.to_vec();
        head.resize(commitment_at + COMMITMENT_BYTES + lengths.policies, 0);
        fill(&mut source, &mut head[FIXED_BYTES..commitment_at], "metadata")?;
        let metadata = Metadata::parse(&head[FIXED_BYTES..commitment_at])?;
        fill(&mut source, &mut head[commitment_at..], "sealed policies")?;
        Ok(Self { source, metadata, head, commitment_at })
    }

    /// The metadata as they are claimed.
    pub fn claimed(&self) -> &Metadata {
        &self.metadata
    }

    /// The digest that names the Pad with its policies where owners sign.
    pub fn digest(&self) -> PadDigest {
        PadDigest::of(&self.head)
    }

    /// Opens policies and attributes; the data stay sealed.
    ///
    /// # Errors
    /// If the key is another one, or anything before the data was changed.
    pub fn open(self, key: &DataKey) -> Result<OpenedPad<R>, PadError> {
        let digest = self.digest();
        let (head, rest) = self.head.split_at(self.commitment_at);
        let (commitment, policies) = rest.split_at(COMMITMENT_BYTES);
        let sections = key.sections(&self.metadata.crypto, &head[FIXED_BYTES..]);
        if sections.commitment != *commitment {
            return Err(PadError::Key);
        }
        let mut contents = Zeroizing::new(vec![0; policies.len() - TAG_BYTES]);
        let opened = sections.policies.open([0; NONCE_BYTES], head, policies, &mut contents);
        opened.map_err(|NotAuthentic| PadError::Policies)?;
        Ok(OpenedPad {
            contents: Contents::parse(&contents, &self.metadata)?,
            metadata: self.metadata,
            digest,
            cipher: sections.data,
            source: self.source,
            data_at: self.head.len() as u64,
        })
    }
}

/// A Pad whose metadata, policies and attributes were opened.
///
/// Holding one proves: whoever had the data key sealed this metadata with these policies and
/// attributes, and attributes that say so were signed by the custodian that the metadata name. The
/// data are not looked at yet.
pub struct OpenedPad<R> {
    source: R,
    metadata: Metadata,
    contents: Contents,
    digest: PadDigest,
    cipher: Box<dyn Cipher>,
    data_at: u64,
}

impl<R: Read + Seek> OpenedPad<R> {
    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Policies and attributes.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The digest that names the Pad with its policies where owners sign.
    pub fn digest(&self) -> PadDigest {
        self.digest
    }

    /// Goes on to the data. The last chunk is opened at once, by which their length is known to be
    /// the one that was sealed.
    ///
    /// # Errors
    /// If the data were cut or extended, or the source fails.
    pub fn into_data(mut self) -> Result<DataReader<R>, PadError> {
        let end = self.source.seek(SeekFrom::End(0)).map_err(PadError::Io)?;
        let size = self.metadata.crypto.chunk;
        let chunks = Chunks::claimed(size, end.saturating_sub(self.data_at))?;
        // Of a small Pad no more memory is touched than it has data.
        let most =
            usize::try_from(chunks.data_bytes()).map_or(size.bytes(), |all| all.min(size.bytes()));
        let mut reader = DataReader {
            source: self.source,
            data_at: self.data_at,
            section: Section { cipher: self.cipher, digest: self.digest, chunks },
            plain: Zeroizing::new(vec![0; most]),
            in_plain: None,
            sealed: vec![0; most + TAG_BYTES],
            was_refused: false,
        };
        reader.keep(chunks.last())?;
        Ok(reader)
    }
}

/// The data of an opened Pad. It gives what was sealed in it at the offset asked for, or an error;
/// after the first error it gives nothing more.
pub struct DataReader<R> {
    source: R,
    data_at: u64,
    section: Section,
    /// The data of one chunk.
    plain: Zeroizing<Vec<u8>>,
    /// Which chunk that is, and how long.
    in_plain: Option<(u64, usize)>,
    sealed: Vec<u8>,
    was_refused: bool,
}

impl<R: Read + Seek> DataReader<R> {
    /// Bytes of data.
    pub fn data_bytes(&self) -> u64 {
        self.section.chunks.data_bytes()
    }

    /// Reads the data at this offset, and gives how many bytes there were: fewer than asked for at
    /// the end alone.
    ///
    /// # Errors
    /// If a chunk is not the one that was sealed, the source fails, or either happened before;
    /// `buffer` is all zero then.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, PadError> {
        let read = self.read_chunks(offset, buffer);
        if read.is_err() {
            self.was_refused = true;
            self.in_plain = None;
            self.plain.zeroize();
            buffer.zeroize();
        }
        read
    }

    fn read_chunks(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, PadError> {
        if self.was_refused {
            return Err(PadError::Refused);
        }
        let left = self.data_bytes().saturating_sub(offset);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut done = 0;
        while done < wanted {
            let (index, within) = self.section.chunks.at(offset + done as u64);
            let length = self.section.chunks.sealed(index).1 - TAG_BYTES;
            let rest = &mut buffer[done..wanted];
            let is_kept = self.in_plain.is_some_and(|(kept, _)| kept == index);
            done += if !is_kept && within == 0 && rest.len() >= length {
                // A whole chunk goes to where it is wanted.
                self.load(index)?;
                self.section.open(index, &self.sealed, &mut rest[..length])?;
                length
            } else {
                let plain = self.keep(index)?;
                let taken = rest.len().min(length - within);
                rest[..taken].copy_from_slice(&plain[within..within + taken]);
                taken
            };
        }
        Ok(done)
    }

    /// The data of a chunk, of which one is kept.
    fn keep(&mut self, index: u64) -> Result<&[u8], PadError> {
        let length = match self.in_plain {
            Some((kept, length)) if kept == index => length,
            _ => {
                self.in_plain = None;
                let length = self.load(index)? - TAG_BYTES;
                let plain = &mut self.plain[..length];
                self.section.open(index, &self.sealed, plain)?;
                self.in_plain = Some((index, length));
                length
            }
        };
        Ok(&self.plain[..length])
    }

    /// Reads a sealed chunk and gives its length.
    fn load(&mut self, index: u64) -> Result<usize, PadError> {
        let (start, length) = self.section.chunks.sealed(index);
        self.source.seek(SeekFrom::Start(self.data_at + start)).map_err(PadError::Io)?;
        fill(&mut self.source, &mut self.sealed[..length], "data")?;
        Ok(length)
    }
}

/// The sealed data as a whole.
struct Section {
    cipher: Box<dyn Cipher>,
    digest: PadDigest,
    chunks: Chunks,
}

impl Section {
    /// Opens a chunk, which is as long as `plain` with a tag.
    fn open(&self, index: u64, sealed: &[u8], plain: &mut [u8]) -> Result<(), PadError> {
        let sealed = &sealed[..plain.len() + TAG_BYTES];
        let nonce = self.chunks.nonce(index);
        let opened = self.cipher.open(nonce, self.digest.0.as_bytes(), sealed, plain);
        opened.map_err(|NotAuthentic| PadError::Chunk { index, count: self.chunks.last() + 1 })
    }
}

fn fill(source: &mut impl Read, bytes: &mut [u8], part: &'static str) -> Result<(), PadError> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => PadError::Truncated(part),
        _ => PadError::Io(error),
    })
}
