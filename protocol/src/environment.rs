//! The encrypted environment of an app: what an envelope holds, what its signer signs, and the
//! bounds of its content. `docs/environment.md` is the specification.
//!
//! The host hands the envelope over, and anybody can seal one, because HPKE authenticates no
//! sender. An envelope therefore names the app, the measured file and a counter, which the
//! encryption authenticates as associated data and which the signature covers; the KMS of the app
//! decides whose signature counts and that the counter does not go back. Nothing here encrypts or
//! holds a key.

use sha2::{Digest as _, Sha256};

use crate::digest::{AppId, ComposeHash, Ed25519Key, Sha256Digest};
use crate::reader::{ReadError, Reader};

/// First bytes of an envelope.
pub const MAGIC: [u8; 8] = *b"DSTYXENV";
/// The only version.
pub const VERSION: u16 = 1;
/// HPKE's `info`: an encryption under another label opens nothing here.
pub const INFO: &[u8] = b"dstyx environment 1";
/// First bytes of what is signed, with a final NUL: a signature under another label is none here.
pub const SIGNATURE_LABEL: &[u8] = b"dstyx environment signature 1\0";
/// Bytes of a header: magic, version, suite, app id, compose hash, counter.
pub const HEADER_BYTES: usize = 8 + 2 + 2 + 20 + 32 + 8;
/// Bytes of the tag at a ciphertext's end.
pub const TAG_BYTES: usize = 16;
/// Largest content: a few certificates and keys beside the variables of a large app.
pub const MAX_CONTENT_BYTES: usize = 64 * 1024;
/// Most variables of one environment; apps in the field have some dozen.
pub const MAX_VARIABLES: usize = 256;
/// Longest name of a variable.
pub const MAX_NAME_BYTES: usize = 128;
/// Largest envelope, of either form.
pub const MAX_BYTES: usize = MAX_CONTENT_BYTES + 1024;

/// How an environment is encrypted: HPKE (RFC 9180) in base mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Suite {
    /// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    X25519Sha256Aes256Gcm = 1,
}

/// What an environment is for; host and network see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How it is encrypted.
    pub suite: Suite,
    /// The app.
    pub app_id: AppId,
    /// The app's measured file.
    pub compose_hash: ComposeHash,
    /// The version: a KMS takes none below the highest one that it accepted for the app.
    pub counter: u64,
}

/// An environment as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it is for.
    pub header: Header,
    /// HPKE's encapsulated key.
    pub encapsulated: [u8; 32],
    /// The content, encrypted, with its tag.
    pub ciphertext: Vec<u8>,
    /// The sender's signature; `None` for an environment that anybody can have sealed.
    pub signature: Option<Signature>,
}

/// Who says that an environment is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key; whether it counts, the policy of the KMS says.
    pub signer: Ed25519Key,
    /// Ed25519 over [`Header::signed_bytes`].
    pub signature: [u8; 64],
}

/// Why bytes are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// an envelope beyond its budget
    #[error("the envelope of the environment has {0} bytes, at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// bytes that end too early or too late
    #[error("the envelope of the environment: {0}")]
    Read(#[from] ReadError),
    /// something else
    #[error("not an envelope of an environment: it begins with {0:02x?}, expected {MAGIC:02x?}")]
    Magic([u8; 8]),
    /// a value that is not known
    #[error("the envelope of the environment: {field} is {found}, expected {expected}")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u16,
        /// What is legal.
        expected: &'static str,
    },
    /// a ciphertext that holds nothing, or too much
    #[error(
        "the envelope of the environment: a ciphertext of {0} bytes, expected {TAG_BYTES} to {max}",
        max = MAX_CONTENT_BYTES + TAG_BYTES
    )]
    Ciphertext(usize),
}

impl Suite {
    fn read(reader: &mut Reader<'_>) -> Result<Self, EnvelopeError> {
        let code = reader.u16("suite")?;
        Self::from_code(code).ok_or(EnvelopeError::Unknown {
            field: "suite",
            found: code,
            expected: "1",
        })
    }

    /// The suite with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        (code == Self::X25519Sha256Aes256Gcm as u16).then_some(Self::X25519Sha256Aes256Gcm)
    }
}

impl Header {
    /// The first bytes of an envelope, which are HPKE's associated data.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(self.suite as u16).to_le_bytes());
        bytes[12..32].copy_from_slice(&self.app_id.0);
        bytes[32..64].copy_from_slice(&self.compose_hash.0);
        bytes[64..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// What the signer of an environment signs; `digest` is [`Envelope::digest`].
    pub fn signed_bytes(self, digest: &Sha256Digest) -> Vec<u8> {
        [SIGNATURE_LABEL, &self.to_bytes(), digest.as_bytes()].concat()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EnvelopeError> {
        let magic = reader.array("magic")?;
        if magic != MAGIC {
            return Err(EnvelopeError::Magic(magic));
        }
        match reader.u16("version")? {
            VERSION => {}
            found => {
                return Err(EnvelopeError::Unknown { field: "version", found, expected: "1" });
            }
        }
        Ok(Self {
            suite: Suite::read(reader)?,
            app_id: AppId(reader.array("app id")?),
            compose_hash: ComposeHash(reader.array("compose hash")?),
            counter: reader.u64("counter")?,
        })
    }
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// If the bytes are more or less than one envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_BYTES {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let encapsulated = reader.array("encapsulated key")?;
        let length = reader.u32("ciphertext length")? as usize;
        if !(TAG_BYTES..=MAX_CONTENT_BYTES + TAG_BYTES).contains(&length) {
            return Err(EnvelopeError::Ciphertext(length));
        }
        let ciphertext = reader.take("ciphertext", length)?.to_vec();
        let signature = match reader.u8("signatures")? {
            0 => None,
            1 => Some(Signature {
                signer: Ed25519Key(reader.array("signer")?),
                signature: reader.array("signature")?,
            }),
            other => {
                let (field, found) = ("the number of signatures", other.into());
                return Err(EnvelopeError::Unknown { field, found, expected: "0 or 1" });
            }
        };
        reader.finish()?;
        Ok(Self { header, encapsulated, ciphertext, signature })
    }

    /// The envelope's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.ciphertext.len()).expect("contents are below 64 KiB");
        let mut bytes = self.header.to_bytes().to_vec();
        bytes.extend_from_slice(&self.encapsulated);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.ciphertext);
        bytes.push(u8::from(self.signature.is_some()));
        if let Some(Signature { signer, signature }) = &self.signature {
            bytes.extend_from_slice(&signer.0);
            bytes.extend_from_slice(signature);
        }
        bytes
    }

    /// SHA-256 of the encapsulated key and the ciphertext: one encryption.
    pub fn digest(&self) -> Sha256Digest {
        let hash = Sha256::new().chain_update(self.encapsulated).chain_update(&self.ciphertext);
        Sha256Digest(hash.finalize().into())
    }
}

/// Whether this can be the name of a variable: a letter or underscore, then letters, digits and
/// underscores, at most [`MAX_NAME_BYTES`] in all.
pub fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            header: Header {
                suite: Suite::X25519Sha256Aes256Gcm,
                app_id: AppId([0xaa; 20]),
                compose_hash: ComposeHash([0xcc; 32]),
                counter: 7,
            },
            encapsulated: [0xee; 32],
            ciphertext: vec![0x55; 20],
            signature: Some(Signature { signer: Ed25519Key([1; 32]), signature: [2; 64] }),
        }
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written_with_and_without_a_signature() {
        let signed = envelope();
        assert_eq!(Envelope::parse(&signed.to_bytes()), Ok(signed.clone()));
        let unsigned = Envelope { signature: None, ..signed };
        assert_eq!(Envelope::parse(&unsigned.to_bytes()), Ok(unsigned));
    }

    #[test]
    fn every_field_of_an_envelope_is_checked() {
        let good = envelope().to_bytes();
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Envelope::parse(&bytes).unwrap_err()
        };
        let unknown = |error| match error {
            EnvelopeError::Unknown { field, .. } => field,
            other => panic!("{other}"),
        };
        assert!(matches!(changed(0, b'd'), EnvelopeError::Magic(_)));
        assert_eq!(unknown(changed(8, 2)), "version");
        assert_eq!(unknown(changed(10, 2)), "suite");
        let length = HEADER_BYTES + 32;
        assert!(matches!(changed(length, 15), EnvelopeError::Ciphertext(15)));
        assert!(matches!(changed(length + 2, 2), EnvelopeError::Ciphertext(_)));
        assert!(matches!(changed(length, 21), EnvelopeError::Read(_)));
        assert_eq!(unknown(changed(length + 4 + 20, 2)), "the number of signatures");
        assert!(matches!(changed(length + 4 + 20, 0), EnvelopeError::Read(_)));
        for cut in [0, 7, HEADER_BYTES, good.len() - 1] {
            assert!(matches!(Envelope::parse(&good[..cut]), Err(EnvelopeError::Read(_))), "{cut}");
        }
        let longer = [&good[..], &[0]].concat();
        assert!(matches!(Envelope::parse(&longer), Err(EnvelopeError::Read(_))));
        let large = vec![0; MAX_BYTES + 1];
        assert_eq!(Envelope::parse(&large), Err(EnvelopeError::TooLarge(MAX_BYTES + 1)));
    }

    #[test]
    fn what_is_signed_names_app_file_counter_and_encryption() {
        let envelope = envelope();
        let signed = envelope.header.signed_bytes(&envelope.digest());
        let changes: [fn(&mut Envelope); 5] = [
            |envelope| envelope.header.app_id.0[19] ^= 1,
            |envelope| envelope.header.compose_hash.0[0] ^= 1,
            |envelope| envelope.header.counter += 1,
            |envelope| envelope.encapsulated[0] ^= 1,
            |envelope| envelope.ciphertext[3] ^= 1,
        ];
        for change in changes {
            let mut changed = envelope.clone();
            change(&mut changed);
            assert_ne!(changed.header.signed_bytes(&changed.digest()), signed);
        }
    }

    #[test]
    fn names_are_those_that_a_text_can_refer_to() {
        for name in ["A", "_", "db_Password2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1A", "A-B", "A B", "A=", "Ä", &"A".repeat(MAX_NAME_BYTES + 1)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
