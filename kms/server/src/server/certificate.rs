//! The certificate of the public port: signed by its own key, which is made at every start.

use std::str::FromStr as _;
use std::time::Duration;

use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::DateTime;
use x509_cert::der::Encode as _;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

/// Subject and issuer.
const NAME: &str = "CN=dstyx KMS";
/// 2025 to 2049: nobody judges the certificate by its dates, and no clock is needed.
const VALIDITY_SECS: [u64; 2] = [1_735_689_600, 2_524_607_999];
/// A P-256 scalar is found in the first attempt but for one time in 2^32.
const MAX_ATTEMPTS: usize = 16;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// bytes that are no scalar, again and again
    #[error("the system's randomness gives no key")]
    Key,
    /// encoding
    #[error("the certificate")]
    Der(#[from] x509_cert::der::Error),
    /// the builder
    #[error("the certificate")]
    Builder(#[from] x509_cert::builder::Error),
    /// encoding of the public key
    #[error("the certificate's key")]
    Spki(#[from] x509_cert::spki::Error),
    /// encoding of the private key
    #[error("the certificate's key")]
    Pkcs8(#[from] p256::pkcs8::Error),
    /// TLS
    #[error("the certificate's key")]
    Tls(#[from] rustls::Error),
}

/// A new key with its certificate.
///
/// # Errors
/// If the system has no randomness, or a library refuses.
pub fn self_signed() -> Result<CertifiedKey, CertificateError> {
    let key = key()?;
    let signer = SigningKey::from(&key);
    let public = SubjectPublicKeyInfo::from_key(signer.verifying_key())?;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    // Positive, and not shortened in DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    let [from, until] = VALIDITY_SECS
        .map(|secs| DateTime::from_unix_duration(Duration::from_secs(secs)).map(Time::from));
    let profile = Profile(Name::from_str(NAME)?);
    let serial = SerialNumber::new(&serial)?;
    let validity = Validity::new(from?, until?);
    let builder = CertificateBuilder::new(profile, serial, validity, public)?;
    let certificate = builder.build::<_, DerSignature>(&signer)?.to_der()?;
    let document = key.to_pkcs8_der()?;
    let private = PrivateKeyDer::Pkcs8(document.as_bytes().into());
    let private = aws_lc_rs::sign::any_supported_type(&private)?;
    Ok(CertifiedKey::new(vec![CertificateDer::from(certificate)], private))
}

fn key() -> Result<p256::SecretKey, CertificateError> {
    let mut scalar = Zeroizing::new([0; 32]);
    for _ in 0..MAX_ATTEMPTS {
        getrandom::fill(&mut scalar[..])?;
        if let Ok(key) = p256::SecretKey::from_slice(&scalar[..]) {
            return Ok(key);
        }
    }
    Err(CertificateError::Key)
}

/// A certificate for servers that is no authority.
struct Profile(Name);

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.0.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        Ok(vec![constraints.to_extension(tbs.subject(), &[])?])
    }
}
