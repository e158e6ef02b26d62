//! X.509 certificates and revocation lists of Intel's PKI: ECDSA P-256 with SHA-256 and nothing
//! else.
//!
//! Small on purpose: it lets the judgement say *which* link of a chain is broken. That a chain is
//! good is said by dcap-qvl's path building besides; both must agree.

use p256::ecdsa::Signature;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{self, Decode, Header, Reader, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;

use crate::time::Window;
use crate::{distinguished_name, ecdsa};

/// ecdsa-with-SHA256 (RFC 5758).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Extensions that restrict a revocation list: delta CRL indicator and issuing distribution point
/// (RFC 5280, 5.2.4 and 5.2.5).
const RESTRICTING: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("2.5.29.27"), ObjectIdentifier::new_unwrap("2.5.29.28")];
/// Most certificates of a chain: Intel's have 3; the path builder of dcap-qvl takes at most 4 above
/// the leaf.
const MAX_CHAIN: usize = 5;
/// Longest PEM text of a chain: Intel's have below 4 KiB.
const MAX_PEM_BYTES: usize = 16 * 1024;

/// Why certificates or lists cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    /// not DER of the expected type
    #[error("{what}: {error}")]
    Der { what: &'static str, error: String },
    /// text outside the blocks of a chain
    #[error("text outside the PEM blocks of a certificate chain: {0:?}")]
    Outside(String),
    /// not a PEM chain
    #[error("a chain that is not PEM: {0}")]
    Pem(String),
    /// too many or too long
    #[error("{found} {what}, at most {limit} are accepted")]
    TooMany { found: usize, what: &'static str, limit: usize },
    /// something else than a certificate
    #[error("a PEM block {0:?} in a certificate chain")]
    Label(String),
    /// no certificate at all
    #[error("an empty certificate chain")]
    Empty,
}

/// A certificate with the bytes that its issuer signed.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

/// A revocation list with the bytes that its issuer signed.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    der: Vec<u8>,
    parsed: CertificateList,
}

impl Certificate {
    /// Parses one certificate.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = x509_cert::Certificate::from_der(der)
            .map_err(|error| malformed("certificate", &error))?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    /// Parses a PEM chain, leaf first. Line ends may stand around blocks, and NULs behind the last,
    /// as in quotes; any other text is refused, since readers differ in what they make of it.
    pub(crate) fn parse_chain(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        if text.len() > MAX_PEM_BYTES {
            return Err(CertificateError::TooMany {
                found: text.len(),
                what: "bytes of PEM",
                limit: MAX_PEM_BYTES,
            });
        }
        let written = count_blocks(text)?;
        let blocks =
            pem::parse_many(text).map_err(|error| CertificateError::Pem(error.to_string()))?;
        if blocks.len() != written {
            let unread = format!("{written} blocks, of which {} can be read", blocks.len());
            return Err(CertificateError::Pem(unread));
        }
        if blocks.len() > MAX_CHAIN {
            return Err(CertificateError::TooMany {
                found: blocks.len(),
                what: "certificates",
                limit: MAX_CHAIN,
            });
        }
        if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
            return Err(CertificateError::Label(other.tag().to_owned()));
        }
        if blocks.is_empty() {
            return Err(CertificateError::Empty);
        }
        blocks.iter().map(|block| Self::parse(block.contents())).collect()
    }

    /// The subject, for a person.
    pub(crate) fn subject(&self) -> String {
        distinguished_name::text(self.parsed.tbs_certificate().subject())
    }

    /// Whether subject and issuer are the same.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.parsed.tbs_certificate().subject() == self.issuer()
    }

    /// Whether `issuer` is a CA that issued and signed this certificate.
    pub(crate) fn is_issued_by(&self, issuer: &Self) -> bool {
        let names = self.issuer() == issuer.parsed.tbs_certificate().subject();
        let algorithm = self.parsed.signature_algorithm().oid == ECDSA_WITH_SHA256;
        let may_sign = issuer.is_ca() && issuer.may(KeyUsage::key_cert_sign);
        names
            && algorithm
            && may_sign
            && issuer.signed(&self.der, self.parsed.signature().raw_bytes())
    }

    /// Whether this certificate's issuer has that subject, whatever the signature.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer() == issuer.parsed.tbs_certificate().subject()
    }

    /// Whether this certificate's key signed `message` with r ‖ s.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| ecdsa::verifies(self.point(), message, &signature))
    }

    /// When it is valid.
    pub(crate) fn window(&self) -> Window {
        let validity = self.parsed.tbs_certificate().validity();
        Window {
            from: validity.not_before.to_unix_duration().as_secs(),
            until: validity.not_after.to_unix_duration().as_secs(),
        }
    }

    fn issuer(&self) -> &Name {
        self.parsed.tbs_certificate().issuer()
    }

    /// Whether it is a CA's certificate.
    pub(crate) fn is_ca(&self) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
    }

    /// Whether its key usage, where it states one, allows that.
    fn may(&self, usage: fn(&KeyUsage) -> bool) -> bool {
        match self.parsed.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(stated) => stated.is_none_or(|(_, stated)| usage(&stated)),
            Err(_) => false,
        }
    }

    /// The key, in SEC 1.
    fn point(&self) -> &[u8] {
        self.parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes()
    }

    /// Whether this key signed the first element of a SIGNED{} structure, with a DER signature.
    fn signed(&self, structure: &[u8], signature: &[u8]) -> bool {
        let (Ok(message), Ok(signature)) = (signed_part(structure), Signature::from_der(signature))
        else {
            return false;
        };
        ecdsa::verifies(self.point(), message, &signature)
    }
}

impl Crl {
    /// Parses one list.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed =
            CertificateList::from_der(der).map_err(|error| malformed("revocation list", &error))?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    /// The issuer, for a person.
    pub(crate) fn issuer(&self) -> String {
        distinguished_name::text(&self.parsed.tbs_cert_list.issuer)
    }

    /// Whether `issuer` is a CA that issued and signed this list.
    pub(crate) fn is_issued_by(&self, issuer: &Certificate) -> bool {
        let names = &self.parsed.tbs_cert_list.issuer == issuer.parsed.tbs_certificate().subject();
        let algorithm = self.parsed.signature_algorithm.oid == ECDSA_WITH_SHA256;
        let may_sign = issuer.is_ca() && issuer.may(KeyUsage::crl_sign);
        names
            && algorithm
            && may_sign
            && issuer.signed(&self.der, self.parsed.signature.raw_bytes())
    }

    /// The extension that makes it less than a complete list of what its CA revoked, if there is
    /// one: a restricting one, or one that is critical and so may mean anything (RFC 5280, 5.2).
    pub(crate) fn restriction(&self) -> Option<String> {
        let list = &self.parsed.tbs_cert_list;
        let restricts =
            |extension: &&Extension| extension.critical || RESTRICTING.contains(&extension.extn_id);
        let entries = list.revoked_certificates.iter().flatten();
        let of_entries = entries.flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        let of_list = list.crl_extensions.iter().flatten().find(restricts);
        let found = of_list.or_else(|| of_entries.into_iter().find(|extension| extension.critical));
        found.map(|extension| extension.extn_id.to_string())
    }

    /// From this update to the last second before the next; a list without a next update is never
    /// current.
    pub(crate) fn window(&self) -> Window {
        let list = &self.parsed.tbs_cert_list;
        Window {
            from: list.this_update.to_unix_duration().as_secs(),
            until: list
                .next_update
                .map_or(0, |time| time.to_unix_duration().as_secs().saturating_sub(1)),
        }
    }

    /// Whether it names `certificate`.
    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = certificate.parsed.tbs_certificate().serial_number();
        let revoked = self.parsed.tbs_cert_list.revoked_certificates.iter().flatten();
        revoked.into_iter().any(|entry| entry.serial_number == *serial)
    }
}

/// Counts the blocks of a PEM text that has nothing else than line ends around them, and NULs
/// behind the last.
fn count_blocks(text: &[u8]) -> Result<usize, CertificateError> {
    const END: &str = "-----END ";
    const DASHES: &str = "-----";
    let text =
        std::str::from_utf8(text).map_err(|error| CertificateError::Pem(error.to_string()))?;
    let mut blocks = 0;
    let mut rest = text.trim_end_matches(['\r', '\n', '\0']);
    while !rest.is_empty() {
        let outside = || CertificateError::Outside(rest.chars().take(32).collect());
        let block = rest.strip_prefix("-----BEGIN ").ok_or_else(outside)?;
        let unfinished = || CertificateError::Pem("a block without end".to_owned());
        let (body, behind) = block.split_once(END).ok_or_else(unfinished)?;
        if body.contains(':') {
            return Err(CertificateError::Pem("a block with a header".to_owned()));
        }
        let (_, behind) = behind.split_once(DASHES).ok_or_else(unfinished)?;
        rest = behind.trim_start_matches(['\r', '\n']);
        blocks += 1;
    }
    Ok(blocks)
}

/// The bytes of the first element in a SEQUENCE: what the issuer signed.
fn signed_part(structure: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(structure)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}

fn malformed(what: &'static str, error: &der::Error) -> CertificateError {
    CertificateError::Der { what, error: error.to_string() }
}
