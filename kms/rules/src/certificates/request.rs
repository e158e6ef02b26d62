//! A request for a leaf: PKCS #10 (RFC 2986) from a container, read strictly.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use protocol::ra_tls::{self, MAX_COMMON_NAME, MAX_REQUEST_BYTES};
use x509_cert::SubjectPublicKeyInfo;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::oid::db::rfc5912::{ECDSA_WITH_SHA_256, ID_EXTENSION_REQ};
use x509_cert::der::{
    self, Decode as _, Encode as _, Header, Reader as _, SliceReader, Tag, Tagged as _,
};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::CertReq;

use super::names::is_common_name;

/// Most names of one certificate.
const MAX_NAMES: usize = 32;
/// Most extensions of a request: five are known.
const MAX_EXTENSIONS: usize = 8;

/// Why a request is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// beyond its budget
    #[error("{0} bytes, at most {MAX_REQUEST_BYTES} are accepted")]
    TooLarge(usize),
    /// not PKCS #10 in DER
    #[error("not a PKCS #10 request in DER: {0}")]
    Der(String),
    /// another key
    #[error("the key is not an uncompressed point of P-256")]
    Key,
    /// signed by another key, or otherwise
    #[error("the request is not signed by its key with ECDSA and SHA-256")]
    Signature,
    /// a subject with more than a common name, or with an illegal one
    #[error("the subject is not one common name of 1 to {MAX_COMMON_NAME} printable characters")]
    Subject,
    /// an attribute that nobody knows
    #[error("attribute {0} is not one list of extensions")]
    Attribute(ObjectIdentifier),
    /// an extension that a request cannot have
    #[error("extension {0} cannot be asked for")]
    Extension(ObjectIdentifier),
    /// an extension twice, or too many
    #[error("more than {MAX_EXTENSIONS} extensions, or one of them twice")]
    Extensions,
    /// an authority
    #[error("a certificate authority is not issued")]
    Authority,
    /// usages of programs that hold keys of others
    #[error("usage {0:?} is not issued: a certificate is for TLS servers and clients")]
    Usage(String),
    /// a name of another kind than DNS
    #[error("only DNS names are certified")]
    NameKind,
    /// too many names
    #[error("{0} names, at most {MAX_NAMES} are certified")]
    Names(usize),
}

/// What a request asks for. Its key is shown to be held; nothing else of it is checked.
pub(super) struct Asked {
    pub(super) public_key: SubjectPublicKeyInfo,
    pub(super) common_name: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) usages: Vec<ObjectIdentifier>,
    /// Quote and event log, as they were sent.
    pub(super) evidence: Vec<Extension>,
}

impl Asked {
    /// Reads a request and verifies its signature.
    pub(super) fn read(csr: &[u8]) -> Result<Self, RequestError> {
        if csr.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge(csr.len()));
        }
        let request = CertReq::from_der(csr).map_err(malformed)?;
        let mut asked = Self {
            public_key: verified_key(csr, &request)?,
            common_name: common_name(&request.info.subject)?,
            names: vec![],
            usages: vec![],
            evidence: vec![],
        };
        let mut attributes = request.info.attributes.iter();
        if let Some(attribute) = attributes.next() {
            asked.take_extensions(&extensions(attribute)?)?;
        }
        match attributes.next() {
            Some(other) => Err(RequestError::Attribute(other.oid)),
            None => Ok(asked),
        }
    }

    fn take_extensions(&mut self, extensions: &[Extension]) -> Result<(), RequestError> {
        let twice = |index: usize, extension: &Extension| {
            extensions[..index].iter().any(|earlier| earlier.extn_id == extension.extn_id)
        };
        let mut repeated = extensions.iter().enumerate();
        if extensions.len() > MAX_EXTENSIONS || repeated.any(|(index, one)| twice(index, one)) {
            return Err(RequestError::Extensions);
        }
        extensions.iter().try_for_each(|extension| self.take(extension))
    }

    fn take(&mut self, extension: &Extension) -> Result<(), RequestError> {
        let value = extension.extn_value.as_bytes();
        let unknown = || RequestError::Extension(extension.extn_id);
        match extension.extn_id {
            SubjectAltName::OID => self.names = dns_names(value)?,
            ExtendedKeyUsage::OID => self.usages = usages(value)?,
            BasicConstraints::OID => {
                let constraints = BasicConstraints::from_der(value).map_err(malformed)?;
                if constraints.ca || constraints.path_len_constraint.is_some() {
                    return Err(RequestError::Authority);
                }
            }
            other => match other.to_string().as_str() {
                ra_tls::QUOTE | ra_tls::EVENT_LOG if !extension.critical => {
                    <&OctetStringRef>::from_der(value).map_err(malformed)?;
                    self.evidence.push(extension.clone());
                }
                ra_tls::CERTIFICATE_USAGE => {
                    let usage = <&OctetStringRef>::from_der(value).map_err(malformed)?;
                    let usage = String::from_utf8_lossy(usage.as_bytes());
                    if usage != ra_tls::USAGE_APP {
                        return Err(RequestError::Usage(usage.chars().take(32).collect()));
                    }
                }
                _ => return Err(unknown()),
            },
        }
        Ok(())
    }
}

/// The request's key, if the request is signed by it and both are spelled the one way.
fn verified_key(csr: &[u8], request: &CertReq) -> Result<SubjectPublicKeyInfo, RequestError> {
    let sent = request.info.public_key.to_der().map_err(malformed)?;
    let key = VerifyingKey::from_public_key_der(&sent).map_err(|_| RequestError::Key)?;
    let public_key = SubjectPublicKeyInfo::from_key(&key).map_err(|_| RequestError::Key)?;
    if public_key != request.info.public_key {
        return Err(RequestError::Key);
    }
    let algorithm = &request.algorithm;
    let signature = request.signature.as_bytes().and_then(|der| DerSignature::from_bytes(der).ok());
    let verified = algorithm.oid == ECDSA_WITH_SHA_256
        && algorithm.parameters.is_none()
        && signature.is_some_and(|signature| {
            signed_part(csr).is_ok_and(|message| key.verify(message, &signature).is_ok())
        });
    if verified { Ok(public_key) } else { Err(RequestError::Signature) }
}

/// The bytes of the first element in a SEQUENCE.
fn signed_part(structure: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(structure)?;
    Header::decode(&mut reader)?;
    reader.tlv_bytes()
}

fn common_name(subject: &Name) -> Result<Option<String>, RequestError> {
    let mut parts = subject.iter();
    let Some(part) = parts.next() else { return Ok(None) };
    if parts.next().is_some() || part.oid != COMMON_NAME {
        return Err(RequestError::Subject);
    }
    let text = match part.value.tag() {
        Tag::Utf8String => part.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.to_string()),
        _ => part.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.to_string()),
    };
    let text = text.ok().filter(|text| is_common_name(text));
    text.map(Some).ok_or(RequestError::Subject)
}

fn extensions(attribute: &Attribute) -> Result<Vec<Extension>, RequestError> {
    let unknown = || RequestError::Attribute(attribute.oid);
    let mut values = attribute.values.iter();
    let (Some(list), None) = (values.next(), values.next()) else { return Err(unknown()) };
    if attribute.oid != ID_EXTENSION_REQ {
        return Err(unknown());
    }
    list.decode_as().map_err(malformed)
}

fn dns_names(value: &[u8]) -> Result<Vec<String>, RequestError> {
    let SubjectAltName(names) = SubjectAltName::from_der(value).map_err(malformed)?;
    if names.len() > MAX_NAMES {
        return Err(RequestError::Names(names.len()));
    }
    let dns = |name| match name {
        GeneralName::DnsName(name) => Ok(name.to_string()),
        _ => Err(RequestError::NameKind),
    };
    names.into_iter().map(dns).collect()
}

fn usages(value: &[u8]) -> Result<Vec<ObjectIdentifier>, RequestError> {
    let ExtendedKeyUsage(usages) = ExtendedKeyUsage::from_der(value).map_err(malformed)?;
    let known = |usage: &ObjectIdentifier| [ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH].contains(usage);
    match usages.iter().find(|usage| !known(usage)) {
        Some(other) => Err(RequestError::Usage(other.to_string())),
        None => Ok(usages),
    }
}

fn malformed(error: der::Error) -> RequestError {
    RequestError::Der(error.to_string())
}
