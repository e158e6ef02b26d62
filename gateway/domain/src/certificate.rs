//! What a certificate says: its names, key, time, and the logs that promise to show it.
//!
//! Nothing here judges signatures: a certificate that is served was judged by whoever connected,
//! and one in a log is evidence against its authority whoever signed it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_cert::TbsCertificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};

use crate::name::CertifiedName;
use crate::sct::{Sct, SctError, scts};

/// Largest certificate: those of public authorities have about 2 KiB, with a hundred names 8.
pub const MAX_BYTES: usize = 64 << 10;
/// Most certificates of a chain.
pub const MAX_CHAIN: usize = 8;

/// Since when and until when, in seconds since 1970; both are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_secs: u64,
    /// The last second.
    pub not_after_secs: u64,
}

/// A certificate, or what a log shows of one before it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    names: Vec<CertifiedName>,
    spki: Vec<u8>,
    validity: Validity,
    serial: Vec<u8>,
    issuer: String,
    authority_key_id: Option<Vec<u8>>,
    scts: Vec<Sct>,
}

/// Why bytes are no certificate that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// beyond its budget
    #[error("a certificate of {0} bytes, at most {MAX_BYTES} are accepted")]
    Long(usize),
    /// not DER of a certificate
    #[error("no certificate: {0}")]
    Der(String),
    /// promises of logs that cannot be read
    #[error(transparent)]
    Sct(#[from] SctError),
    /// a chain that cannot be read
    #[error("no chain of 1 to {MAX_CHAIN} certificates in PEM: {0}")]
    Chain(String),
}

impl From<x509_cert::der::Error> for CertificateError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Der(error.to_string())
    }
}

impl Validity {
    /// Whether a time is inside.
    pub fn contains(&self, now_secs: u64) -> bool {
        (self.not_before_secs..=self.not_after_secs).contains(&now_secs)
    }
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// If it is none, or is too long.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        bounded(der)?;
        let certificate = x509_cert::Certificate::from_der(der)?;
        Self::of(certificate.tbs_certificate())
    }

    /// Reads what is to be signed, as logs keep it of precertificates.
    ///
    /// # Errors
    /// If it is none, or is too long.
    pub fn parse_tbs(der: &[u8]) -> Result<Self, CertificateError> {
        bounded(der)?;
        Self::of(&TbsCertificate::from_der(der)?)
    }

    fn of(tbs: &TbsCertificate) -> Result<Self, CertificateError> {
        let names = tbs.get_extension::<SubjectAltName>()?;
        // What is no name of a host is none that a browser asks for.
        let names = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
            GeneralName::DnsName(name) => name.as_str().parse().ok(),
            _ => None,
        });
        let mut names: Vec<CertifiedName> = names.collect();
        names.sort();
        names.dedup();
        let key_id = tbs.get_extension::<AuthorityKeyIdentifier>()?;
        let key_id = key_id.and_then(|(_, id)| id.key_identifier);
        let validity = tbs.validity();
        Ok(Self {
            names,
            spki: tbs.subject_public_key_info().to_der()?,
            validity: Validity {
                not_before_secs: validity.not_before.to_unix_duration().as_secs(),
                not_after_secs: validity.not_after.to_unix_duration().as_secs(),
            },
            serial: tbs.serial_number().as_bytes().to_vec(),
            issuer: tbs.issuer().to_string(),
            authority_key_id: key_id.map(|id| id.as_bytes().to_vec()),
            scts: scts(tbs)?,
        })
    }

    /// The hosts that it is for, in ascending order.
    pub fn names(&self) -> &[CertifiedName] {
        &self.names
    }

    /// The key: DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Its time.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The authority's name, as it is printed.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The promises of logs in it.
    pub fn scts(&self) -> &[Sct] {
        &self.scts
    }

    /// The name by which an authority is asked for its renewal window (RFC 9773, 4.1); none if the
    /// certificate does not say which key signed it.
    pub fn renewal_id(&self) -> Option<String> {
        let key_id = URL_SAFE_NO_PAD.encode(self.authority_key_id.as_ref()?);
        Some(format!("{key_id}.{}", URL_SAFE_NO_PAD.encode(&self.serial)))
    }

    /// Whether both are of one order: the same serial number, key, names and time. A precertificate
    /// and its certificate are.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.serial, &self.spki, &self.names, self.validity)
            == (&other.serial, &other.spki, &other.names, other.validity)
    }
}

/// The certificates of a chain in PEM, the leaf first, in DER.
///
/// # Errors
/// If there is none, or too many, or anything else than certificates.
pub fn parse_chain(text: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    if text.len() > 2 * MAX_CHAIN * MAX_BYTES {
        return Err(CertificateError::Chain(format!("{} bytes", text.len())));
    }
    let blocks =
        pem::parse_many(text).map_err(|error| CertificateError::Chain(error.to_string()))?;
    if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
        return Err(CertificateError::Chain(format!("a block {:?}", other.tag())));
    }
    match blocks.len() {
        1..=MAX_CHAIN => Ok(blocks.into_iter().map(pem::Pem::into_contents).collect()),
        found => Err(CertificateError::Chain(format!("{found} certificates"))),
    }
}

fn bounded(der: &[u8]) -> Result<(), CertificateError> {
    match der.len() {
        0..=MAX_BYTES => Ok(()),
        found => Err(CertificateError::Long(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Made, certificate};

    #[test]
    fn a_certificate_says_its_names_key_and_time() {
        let Made { der, spki, .. } = certificate(&["*.example.org", "Example.org"], 100, 200);
        let read = Certificate::parse(&der).unwrap();
        let names: Vec<String> = read.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["example.org", "*.example.org"]);
        assert_eq!(read.spki(), spki);
        assert!(read.validity().contains(100) && read.validity().contains(200));
        assert!(!read.validity().contains(99) && !read.validity().contains(201));
        assert!(read.scts().is_empty());
    }

    #[test]
    fn what_is_cut_long_or_followed_by_anything_is_refused() {
        let Made { der, .. } = certificate(&["a.example.org"], 100, 200);
        assert!(Certificate::parse(&der[..der.len() - 1]).is_err());
        assert!(Certificate::parse(&[der.as_slice(), &[0]].concat()).is_err());
        assert!(matches!(
            Certificate::parse(&vec![0; MAX_BYTES + 1]),
            Err(CertificateError::Long(_))
        ));
    }

    #[test]
    fn a_chain_has_certificates_and_nothing_else() {
        let Made { der, .. } = certificate(&["a.example.org"], 100, 200);
        let block = pem::encode(&pem::Pem::new("CERTIFICATE", der.clone()));
        assert_eq!(parse_chain(block.repeat(2).as_bytes()).unwrap(), [der.clone(), der]);
        assert!(parse_chain(b"").is_err());
        assert!(parse_chain(block.repeat(MAX_CHAIN + 1).as_bytes()).is_err());
        let key = pem::encode(&pem::Pem::new("PRIVATE KEY", vec![1]));
        assert!(parse_chain([block, key].concat().as_bytes()).is_err());
    }

    /// The example of RFC 9773, 4.1.
    #[test]
    fn the_renewal_id_is_that_of_the_standard() {
        let Made { der, .. } = certificate(&["a.example.org"], 100, 200);
        let mut read = Certificate::parse(&der).unwrap();
        read.authority_key_id =
            Some(hex::decode("69885b6b87464041e1b37b847bd0ae2cde01c8d4").unwrap());
        read.serial = vec![0, 0x87, 0x65, 0x43, 0x21];
        assert_eq!(read.renewal_id().unwrap(), "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AIdlQyE");
    }
}
