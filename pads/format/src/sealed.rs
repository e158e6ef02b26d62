//! What is sealed for one custodian outside of any Pad: a result in plain for the owner of a
//! program, and records of what was decided.
//!
//! HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, to
//! the key of the custodian's signed enrolment. It hides, and says nothing about who sealed it.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use zeroize::Zeroizing;

use crate::enrolment::ResultKey;

/// Bytes of the encapsulated key before the ciphertext.
const ENCAPSULATED_BYTES: usize = 32;

/// What is sealed: one kind never opens as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A result in plain.
    Result,
    /// A record of what was decided.
    Audit,
}

impl Purpose {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Result => b"dstyx pad result 1",
            Self::Audit => b"dstyx pad audit 1",
        }
    }
}

/// Why nothing was sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// a public key to which nothing can be sealed
    #[error("the key for results is no usable X25519 key")]
    Key,
    /// not what was sealed for this secret, purpose and subject
    #[error("it was not sealed for this secret and subject, or was changed")]
    Sealed,
}

/// The secret behind a [`ResultKey`]. It is never printed, and cleared when it is dropped.
pub struct ResultSecret(Zeroizing<[u8; 32]>);

impl ResultSecret {
    /// Makes a secret from the operating system's randomness.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    /// A secret that was made before.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The secret itself, for whoever keeps it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that a custodian's enrolment has.
    pub fn public(&self) -> ResultKey {
        ResultKey(<X25519HkdfSha256 as Kem>::sk_to_pk(&self.private()).to_bytes().into())
    }

    fn private(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&self.0[..]);
        key.expect("any 32 bytes are a secret of X25519")
    }
}

/// Seals something about a subject that both sides know.
///
/// # Errors
/// If the key is none.
pub fn seal(
    to: &ResultKey,
    purpose: Purpose,
    about: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, SealedError> {
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0);
    let key = key.map_err(|_| SealedError::Key)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<
        AesGcm256,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &key, purpose.info(), plain, about)
    .map_err(|_| SealedError::Key)?;
    Ok([&encapsulated.to_bytes()[..], &ciphertext].concat())
}

/// Opens what was sealed to the secret's key for this purpose and subject.
///
/// # Errors
/// If it is anything else.
pub fn open(
    secret: &ResultSecret,
    purpose: Purpose,
    about: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealedError> {
    let split = sealed.split_at_checked(ENCAPSULATED_BYTES);
    let (encapsulated, ciphertext) = split.ok_or(SealedError::Sealed)?;
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated);
    hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.private(),
        &encapsulated.map_err(|_| SealedError::Sealed)?,
        purpose.info(),
        ciphertext,
        about,
    )
    .map(Zeroizing::new)
    .map_err(|_| SealedError::Sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(number: u8) -> ResultSecret {
        ResultSecret::from_bytes(Zeroizing::new([number; 32]))
    }

    #[test]
    fn what_was_sealed_opens_for_its_secret_purpose_and_subject_alone() {
        let sealed = seal(&secret(1).public(), Purpose::Result, b"run", b"malign").unwrap();
        assert_eq!(*open(&secret(1), Purpose::Result, b"run", &sealed).unwrap(), b"malign");
        let refused = Err(SealedError::Sealed);
        assert_eq!(open(&secret(2), Purpose::Result, b"run", &sealed), refused);
        assert_eq!(open(&secret(1), Purpose::Audit, b"run", &sealed), refused);
        assert_eq!(open(&secret(1), Purpose::Result, b"ruin", &sealed), refused);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&secret(1), Purpose::Result, b"run", &changed), refused, "{at}");
            assert_eq!(open(&secret(1), Purpose::Result, b"run", &sealed[..at]), refused, "{at}");
        }
    }

    #[test]
    fn a_key_that_would_hide_nothing_is_refused() {
        let zero = seal(&ResultKey([0; 32]), Purpose::Result, b"run", b"plain");
        assert_eq!(zero, Err(SealedError::Key));
    }

    #[test]
    fn secrets_are_random() {
        let (one, two) = (ResultSecret::generate().unwrap(), ResultSecret::generate().unwrap());
        assert_ne!(one.as_bytes(), two.as_bytes());
        assert_ne!(one.public(), two.public());
    }
}
