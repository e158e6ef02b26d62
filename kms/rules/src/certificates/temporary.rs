//! `GetTempCaCert`: an authority for one channel.
//!
//! dstack hands one key to all guests. Here each channel gets its own, for ten minutes, and nothing
//! stands above it: whoever holds its key can certify anything, and nobody but the other end of
//! that channel has a reason to believe it.

use p256::SecretKey;
use p256::pkcs8::EncodePrivateKey as _;
use sha2::{Digest as _, Sha256};
use x509_cert::der::pem::LineEnding;
use zeroize::Zeroizing;

use super::authority::{Signer, Template};
use super::names::common_name;
use super::{CertificateError, Window};

/// How long such an authority is valid.
pub const TEMPORARY_SECS: u64 = 600;
/// Its common name.
const NAME: &str = "dstyx KMS temporary CA";
/// How often a scalar is tried; one is missed with a probability of 2^-32.
const MAX_ATTEMPTS: u8 = 8;

/// An authority that is given away with its key.
pub struct TemporaryAuthority {
    /// PEM of its certificate.
    pub certificate: String,
    /// PEM of its key, PKCS #8.
    pub key: Zeroizing<String>,
}

impl TemporaryAuthority {
    /// From a seed that was drawn for one channel.
    ///
    /// # Errors
    /// If the certificate cannot be written.
    pub fn new(seed: &[u8; 32], now_secs: u64) -> Result<Self, CertificateError> {
        let key = key(seed)?;
        let validity =
            Window { from_secs: now_secs, until_secs: now_secs.saturating_add(TEMPORARY_SECS) };
        let template = Template {
            subject: common_name(NAME)?,
            validity,
            path_length: Some(0),
            extensions: vec![],
        };
        let Signer { pem: certificate, .. } = Signer::self_signed(key.clone().into(), &template)?;
        let key = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| CertificateError::Scalar)?;
        Ok(Self { certificate, key })
    }
}

fn key(seed: &[u8; 32]) -> Result<SecretKey, CertificateError> {
    let mut keys = (0..MAX_ATTEMPTS).filter_map(|attempt| {
        let hash = Sha256::new().chain_update(seed).chain_update([attempt]).finalize();
        SecretKey::from_slice(&Zeroizing::new(<[u8; 32]>::from(hash))[..]).ok()
    });
    keys.next().ok_or(CertificateError::Scalar)
}
