//! The signed envelope: Dead Simple Signing Envelope (DSSE) v1.0.2, JSON form.
//!
//! Signed is not the payload but its pre-authentication encoding, which names type and lengths, so
//! that no byte can move from one part to another. Anybody hands out an envelope: sizes and counts
//! are bounded, unknown keys are refused.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use super::keys::{KeyId, SigningKey};

/// A statement about four files and three hundred inputs has 100 KB, in base64 a third more.
pub const MAX_BYTES: usize = 1 << 20;
/// More people than ever sign one release.
const MAX_SIGNATURES: usize = 64;

/// The media type of a payload: what signers meant by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadType(pub &'static str);

/// A payload and signatures of it, none of them checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: PayloadType,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature, and whose it claims to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A hint that decides nothing.
    key_id: String,
    bytes: Vec<u8>,
}

/// The JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEnvelope<'a> {
    payload: Cow<'a, str>,
    payload_type: Cow<'a, str>,
    signatures: Vec<RawSignature<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature<'a> {
    #[serde(default)]
    keyid: Cow<'a, str>,
    sig: Cow<'a, str>,
}

impl Envelope {
    /// An envelope without signatures.
    #[must_use]
    pub fn new(payload_type: PayloadType, payload: Vec<u8>) -> Self {
        Self { payload_type, payload, signatures: Vec::new() }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If it is too large, malformed, or of another type than `payload_type`.
    pub fn parse(json: &[u8], payload_type: PayloadType) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_BYTES {
            return Err(EnvelopeError::TooLarge(json.len()));
        }
        let raw: RawEnvelope<'_> =
            serde_json::from_slice(json).map_err(|error| EnvelopeError::Json(error.to_string()))?;
        if raw.payload_type != payload_type.0 {
            let (found, expected) = (raw.payload_type.into_owned(), payload_type.0);
            return Err(EnvelopeError::PayloadType { found, expected });
        }
        if raw.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::ManySignatures(raw.signatures.len()));
        }
        let signature = |raw: &RawSignature<'_>| {
            let bytes = decoded("signature", &raw.sig)?;
            Ok(Signature { key_id: raw.keyid.clone().into_owned(), bytes })
        };
        let signatures = raw.signatures.iter().map(signature).collect::<Result<_, _>>()?;
        Ok(Self { payload_type, payload: decoded("payload", &raw.payload)?, signatures })
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> String {
        let signature = |signature: &Signature| RawSignature {
            keyid: signature.key_id.clone().into(),
            sig: STANDARD.encode(&signature.bytes).into(),
        };
        let raw = RawEnvelope {
            payload: STANDARD.encode(&self.payload).into(),
            payload_type: self.payload_type.0.into(),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        serde_json::to_string(&raw).expect("strings serialise") + "\n"
    }

    /// Adds a signature; a key's earlier one is replaced.
    pub fn sign(&mut self, key: &SigningKey) {
        let signature = key.sign(&self.signed_bytes());
        self.add(key.signer().id(), &signature);
    }

    /// Adds a signature that was made elsewhere; one of the same name is replaced.
    pub(super) fn add(&mut self, signer: KeyId, signature: &[u8]) {
        let key_id = signer.to_string();
        self.signatures.retain(|signature| signature.key_id != key_id);
        self.signatures.push(Signature { key_id, bytes: signature.to_vec() });
    }

    /// Takes over the signatures of another envelope of the same payload and type; those that are
    /// here stay.
    pub fn join(&mut self, other: &Self) {
        if (self.payload_type, &self.payload) != (other.payload_type, &other.payload) {
            return;
        }
        for signature in &other.signatures {
            if self.signatures.iter().all(|own| own.key_id != signature.key_id) {
                self.signatures.push(signature.clone());
            }
        }
    }

    /// The payload; a claim, as no signature of it is checked.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The signatures, not checked.
    pub fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.signatures.iter().map(|signature| signature.bytes.as_slice())
    }

    /// Whose the signatures claim to be, as far as the claims have the form of our key ids.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().filter_map(|signature| signature.key_id.parse().ok())
    }

    /// The pre-authentication encoding (DSSE v1.0.2, `PAE`).
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(self.payload_type.0, &self.payload)
    }
}

fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend(payload);
    bytes
}

/// The specification allows both alphabets.
fn decoded(what: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .map_err(|_| EnvelopeError::Base64(what))
}

/// Why something is no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// the envelope has {0} bytes; at most 1048576 are read
    #[error("the envelope has {0} bytes; at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// the envelope is not the JSON of DSSE: {0}
    #[error("the envelope is not the JSON of DSSE: {0}")]
    Json(String),
    /// the envelope's payload has the type {found:?}; expected is {expected:?}
    #[error("the envelope's payload has the type {found:?}; expected is {expected:?}")]
    PayloadType {
        /// As the envelope has it.
        found: String,
        /// As the caller asked for.
        expected: &'static str,
    },
    /// the envelope has {0} signatures; at most 64 are read
    #[error("the envelope has {0} signatures; at most {MAX_SIGNATURES} are read")]
    ManySignatures(usize),
    /// the envelope's {0} is not base64
    #[error("the envelope's {0} is not base64")]
    Base64(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: PayloadType = PayloadType("application/vnd.in-toto+json");

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // DSSE v1.0.2, protocol.md, section "Test Vectors".
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn what_is_no_envelope_is_refused_by_its_cause() {
        let good = Envelope::new(TYPE, b"{}".to_vec()).to_json();
        assert_eq!(Envelope::parse(good.as_bytes(), TYPE).unwrap().payload(), b"{}");
        let refused = |text: &str| Envelope::parse(text.as_bytes(), TYPE).unwrap_err();
        assert!(matches!(refused(&good.replace("{", "{\"x\":1,")), EnvelopeError::Json(_)));
        assert!(matches!(refused(&format!("{good}x")), EnvelopeError::Json(_)));
        assert!(matches!(
            refused(&good.replace("in-toto", "other")),
            EnvelopeError::PayloadType { .. }
        ));
        assert_eq!(refused(&good.replace("e30=", "e30")), EnvelopeError::Base64("payload"));
        let signature = r#"{"keyid":"","sig":"AA=="},"#;
        let many = format!("[{}]", signature.repeat(MAX_SIGNATURES + 1).trim_end_matches(','));
        assert_eq!(
            refused(&good.replace("[]", &many)),
            EnvelopeError::ManySignatures(MAX_SIGNATURES + 1)
        );
        assert!(matches!(refused(&" ".repeat(MAX_BYTES + 1)), EnvelopeError::TooLarge(_)));
    }
}
