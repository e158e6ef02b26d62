//! A log's head: how many entries it has and the hash over them, signed by the log
//! (c2sp.org/tlog-checkpoint, c2sp.org/static-ct-api, RFC 6962, 3.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use protocol::reader::Reader;
use sha2::{Digest as _, Sha256};

use super::tree::{Hash, TreeHead};
use crate::sct::LOG_ID_BYTES;

/// Largest text: a few lines and the signatures of the log and its cosigners.
pub const MAX_CHECKPOINT_BYTES: usize = 16 << 10;
/// Most signatures that are looked at.
const MAX_SIGNATURES: usize = 64;
/// Begins a line of a signature.
const SIGNATURE: &str = "\u{2014} ";
/// The type of a log's own signature, which is part of its key's name in notes.
const NOTE_TYPE: u8 = 5;
/// SHA-256 with ECDSA (RFC 5246, 7.4.1.4.1).
const ALGORITHM: [u8; 2] = [4, 3];

/// A log by its key.
#[derive(Debug, Clone)]
pub struct LogKey {
    key: VerifyingKey,
    id: [u8; LOG_ID_BYTES],
    origin: String,
}

/// Why a head does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// a key that cannot be used
    #[error("the log's key is no P-256 key in DER")]
    Key,
    /// beyond its budget, or no text
    #[error("no text of at most {MAX_CHECKPOINT_BYTES} bytes")]
    Text,
    /// a line of another form
    #[error("the head's {0} has another form")]
    Form(&'static str),
    /// a head of another log
    #[error("a head of the log {found:?}, expected {expected:?}")]
    Origin {
        /// The name in it.
        found: String,
        /// The name of the log.
        expected: String,
    },
    /// no signature of the log
    #[error("the head has no signature of the log")]
    Unsigned,
}

impl LogKey {
    /// The log with this key (DER of the SubjectPublicKeyInfo) and this name in its heads: its
    /// submission address without scheme and final slash.
    ///
    /// # Errors
    /// If it is no P-256 key.
    pub fn new(spki: &[u8], origin: &str) -> Result<Self, HeadError> {
        let key = VerifyingKey::from_public_key_der(spki).map_err(|_| HeadError::Key)?;
        Ok(Self { key, id: Sha256::digest(spki).into(), origin: origin.to_owned() })
    }

    /// The log's name in promises.
    pub fn id(&self) -> &[u8; LOG_ID_BYTES] {
        &self.id
    }

    /// Reads a head.
    ///
    /// # Errors
    /// If it is of another form, of another log, or the log did not sign it.
    pub fn head(&self, checkpoint: &[u8]) -> Result<TreeHead, HeadError> {
        if checkpoint.len() > MAX_CHECKPOINT_BYTES {
            return Err(HeadError::Text);
        }
        let text = std::str::from_utf8(checkpoint).map_err(|_| HeadError::Text)?;
        let (body, signatures) = text.split_once("\n\n").ok_or(HeadError::Form("end"))?;
        let mut lines = body.split('\n');
        let found = lines.next().unwrap_or_default();
        if found != self.origin {
            let (found, expected) = (found.to_owned(), self.origin.clone());
            return Err(HeadError::Origin { found, expected });
        }
        let size = lines.next().and_then(number).ok_or(HeadError::Form("size"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok());
        let root: Hash =
            root.and_then(|root| root.try_into().ok()).ok_or(HeadError::Form("hash"))?;
        let signatures = signatures.lines().take(MAX_SIGNATURES);
        let own = signatures.filter_map(|line| self.own_signature(line));
        // The key's name may be met by chance: whichever of them verifies is the log's.
        let mut heads = own.filter_map(|(timestamp_ms, signature)| {
            let head = TreeHead { size, root, timestamp_ms };
            self.key.verify(&head.signed(), &signature).is_ok().then_some(head)
        });
        heads.next().ok_or(HeadError::Unsigned)
    }

    /// Time and signature in a line, if it is under this log's name.
    fn own_signature(&self, line: &str) -> Option<(u64, Signature)> {
        let rest = line.strip_prefix(SIGNATURE)?;
        let (name, encoded) = rest.rsplit_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok().filter(|_| name == self.origin)?;
        let mut reader = Reader::new(&bytes);
        if reader.array("key").ok()? != self.note_id() {
            return None;
        }
        let timestamp_ms = u64::from_be_bytes(reader.array("timestamp").ok()?);
        if reader.array("algorithms").ok()? != ALGORITHM {
            return None;
        }
        let length = u16::from_be_bytes(reader.array("signature").ok()?);
        let signature = reader.take("signature", length.into()).ok()?;
        reader.finish().ok()?;
        Some((timestamp_ms, Signature::from_der(signature).ok()?))
    }

    /// The first bytes of a signature line: a hash of the log's name and id.
    fn note_id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.origin.as_bytes())
            .chain_update([b'\n', NOTE_TYPE])
            .chain_update(self.id)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

/// A number as it is printed, without leading zeros.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Writes heads as a log does.
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    use super::*;

    /// DER of the public half.
    pub fn spki(key: &SigningKey) -> Vec<u8> {
        key.verifying_key().to_public_key_der().expect("a key of a test").into_vec()
    }

    /// The signed text.
    pub fn checkpoint(key: &SigningKey, origin: &str, head: &TreeHead) -> String {
        let log = LogKey::new(&spki(key), origin).expect("a key of a test");
        let signature: Signature = key.sign(&head.signed());
        let signature = signature.to_der();
        let length = u16::try_from(signature.as_bytes().len()).expect("a short signature");
        let line = [
            log.note_id().as_slice(),
            &head.timestamp_ms.to_be_bytes(),
            &ALGORITHM,
            &length.to_be_bytes(),
            signature.as_bytes(),
        ]
        .concat();
        let root = STANDARD.encode(head.root);
        let size = head.size;
        format!("{origin}\n{size}\n{root}\n\n{SIGNATURE}{origin} {}\n", STANDARD.encode(line))
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;

    use super::fixtures::{checkpoint, spki};
    use super::*;

    const ORIGIN: &str = "log.example/2027";

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_slice(&[byte; 32]).unwrap()
    }

    fn head() -> TreeHead {
        TreeHead { size: 300, root: [5; 32], timestamp_ms: 1_800_000_000_000 }
    }

    #[test]
    fn a_head_counts_with_the_log_s_signature_among_others() {
        let log = LogKey::new(&spki(&key(1)), ORIGIN).unwrap();
        let text = checkpoint(&key(1), ORIGIN, &head());
        assert_eq!(log.head(text.as_bytes()), Ok(head()));
        let (body, own) = text.split_once("\n\n").unwrap();
        let cosigned = format!("{body}\n\n\u{2014} cosigner.example AAAA\n{own}");
        assert_eq!(log.head(cosigned.as_bytes()), Ok(head()));
    }

    #[test]
    fn a_head_of_another_log_key_or_content_does_not_count() {
        let log = LogKey::new(&spki(&key(1)), ORIGIN).unwrap();
        let other = checkpoint(&key(2), ORIGIN, &head());
        assert_eq!(log.head(other.as_bytes()), Err(HeadError::Unsigned));
        let elsewhere = checkpoint(&key(1), "log.example/2028", &head());
        assert!(matches!(log.head(elsewhere.as_bytes()), Err(HeadError::Origin { .. })));
        let text = checkpoint(&key(1), ORIGIN, &head());
        let larger = text.replace("\n300\n", "\n301\n");
        assert_eq!(log.head(larger.as_bytes()), Err(HeadError::Unsigned));
        let spelled = text.replace("\n300\n", "\n0300\n");
        assert_eq!(log.head(spelled.as_bytes()), Err(HeadError::Form("size")));
        assert_eq!(log.head(b"log.example/2027\n1\n"), Err(HeadError::Form("end")));
        assert_eq!(log.head(&[b'a'; MAX_CHECKPOINT_BYTES + 1]), Err(HeadError::Text));
    }
}
