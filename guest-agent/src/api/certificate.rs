//! A certificate as an app asks for it: the request that its key signs, and the check of the
//! answer.

use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use protocol::kms::{SignCertRequest, SignCertResponse};
use protocol::prpc::{DeriveKeyArgs, GetTlsKeyArgs, GetTlsKeyResponse};
use protocol::ra_tls::{self, MAX_COMMON_NAME, MAX_REQUEST_BYTES};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::Builder as _;
use x509_cert::der::asn1::{Any, Ia5String, OctetString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{self, Decode as _, DecodePem as _, Encode as _, Tag};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::RequestBuilder;
use x509_cert::spki::SubjectPublicKeyInfo;

/// Most certificates of a chain: leaf, the app's authority, the cluster's.
const MAX_CHAIN: usize = 3;

/// Why a request cannot be made, or its answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// the subject
    #[error("subject: {0} characters, a common name has at most {MAX_COMMON_NAME}")]
    Subject(usize),
    /// what the app is
    #[error(
        "with_app_info is not supported: every certificate has the app's id in the extension {}",
        ra_tls::APP_ID
    )]
    AppInfo,
    /// a derived key that is none, with a probability of 2^-32
    #[error("the derived bytes are not a scalar of P-256: take another path")]
    Key,
    /// the request could not be encoded
    #[error("certificate request: {0}")]
    Der(#[from] der::Error),
    /// the builder refused
    #[error("certificate request: {0}")]
    Builder(#[from] x509_cert::builder::Error),
    /// the key could not be encoded
    #[error("certificate request: {0}")]
    Spki(#[from] x509_cert::spki::Error),
    /// quote and log do not fit into a certificate
    #[error(
        "the certificate request has {0} bytes, at most {MAX_REQUEST_BYTES} are accepted: the event \
         log is too long for usage_ra_tls"
    )]
    TooLarge(usize),
    /// not what was asked for
    #[error(
        "the KMS answered with no chain of {MAX_CHAIN} certificates that begins with this key's"
    )]
    Answer,
}

/// What a certificate is asked for with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    pub(super) server: bool,
    pub(super) client: bool,
    /// Whether a quote goes into it.
    pub(super) quoted: bool,
    pub(super) not_before: Option<u64>,
    pub(super) not_after: Option<u64>,
}

/// A quote over a key, with the JSON of the log that explains it.
pub(super) struct KeyEvidence {
    pub(super) quote: Vec<u8>,
    pub(super) event_log: String,
}

impl TryFrom<GetTlsKeyArgs> for Wanted {
    type Error = CertificateError;

    fn try_from(args: GetTlsKeyArgs) -> Result<Self, CertificateError> {
        if args.with_app_info {
            return Err(CertificateError::AppInfo);
        }
        Ok(Self {
            subject: args.subject,
            names: args.alt_names,
            server: args.usage_server_auth,
            client: args.usage_client_auth,
            quoted: args.usage_ra_tls,
            not_before: args.not_before,
            not_after: args.not_after,
        })
    }
}

impl From<DeriveKeyArgs> for Wanted {
    fn from(args: DeriveKeyArgs) -> Self {
        Self {
            subject: args.subject,
            names: args.alt_names,
            server: args.usage_server_auth,
            client: args.usage_client_auth,
            quoted: args.usage_ra_tls,
            not_before: None,
            not_after: None,
        }
    }
}

/// A P-256 key of 32 random or derived bytes.
pub(super) fn key(scalar: &[u8; 32]) -> Result<SigningKey, CertificateError> {
    SigningKey::from_slice(scalar).map_err(|_| CertificateError::Key)
}

/// The public half in DER, which a quote in the certificate covers.
pub(super) fn public_key_info(key: &SigningKey) -> Result<Vec<u8>, CertificateError> {
    Ok(SubjectPublicKeyInfo::from_key(key.verifying_key())?.to_der()?)
}

/// What the KMS is asked.
pub(super) fn request(
    key: &SigningKey,
    wanted: &Wanted,
    evidence: Option<&KeyEvidence>,
) -> Result<SignCertRequest, CertificateError> {
    let mut builder = RequestBuilder::new(subject(&wanted.subject)?)?;
    if !wanted.names.is_empty() {
        let dns = |name: &String| Ok(GeneralName::DnsName(Ia5String::new(name)?));
        let names: Result<Vec<_>, der::Error> = wanted.names.iter().map(dns).collect();
        builder.add_extension(&SubjectAltName(names?))?;
    }
    let usages = [(wanted.server, ID_KP_SERVER_AUTH), (wanted.client, ID_KP_CLIENT_AUTH)];
    let usages: Vec<_> =
        usages.iter().filter(|(asked, _)| *asked).map(|(_, usage)| *usage).collect();
    if !usages.is_empty() {
        builder.add_extension(&ExtendedKeyUsage(usages))?;
    }
    if let Some(KeyEvidence { quote, event_log }) = evidence {
        builder.add_extension(octets(ra_tls::QUOTE, quote)?)?;
        builder.add_extension(octets(ra_tls::EVENT_LOG, event_log.as_bytes())?)?;
    }
    let csr = builder.build::<_, DerSignature>(key)?.to_der()?;
    if csr.len() > MAX_REQUEST_BYTES {
        return Err(CertificateError::TooLarge(csr.len()));
    }
    let (not_before, not_after) = (wanted.not_before, wanted.not_after);
    Ok(SignCertRequest { csr, not_before, not_after, ..SignCertRequest::default() })
}

/// The key with its chain, if the chain begins with a certificate of this key.
pub(super) fn answer(
    key: &SigningKey,
    SignCertResponse { certificate_chain }: SignCertResponse,
) -> Result<GetTlsKeyResponse, CertificateError> {
    let parsed = certificate_chain.iter().map(Certificate::from_pem);
    let parsed: Result<Vec<_>, _> = parsed.take(MAX_CHAIN + 1).collect();
    let parsed = parsed.map_err(|_| CertificateError::Answer)?;
    let own = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
    let begins =
        parsed.first().is_some_and(|leaf| *leaf.tbs_certificate().subject_public_key_info() == own);
    if !begins || parsed.len() != MAX_CHAIN {
        return Err(CertificateError::Answer);
    }
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| CertificateError::Key)?;
    Ok(GetTlsKeyResponse { key: pem.as_str().to_owned(), certificate_chain })
}

fn subject(common_name: &str) -> Result<Name, CertificateError> {
    let length = common_name.chars().count();
    if length == 0 {
        return Ok(Name::default());
    }
    if length > MAX_COMMON_NAME {
        return Err(CertificateError::Subject(length));
    }
    let value = Any::new(Tag::Utf8String, common_name.as_bytes())?;
    let part = vec![AttributeTypeAndValue { oid: COMMON_NAME, value }];
    let part = RelativeDistinguishedName::try_from(part)?;
    Ok(Name::from_der(&RdnSequence::from(vec![part]).to_der()?)?)
}

/// An extension as dstack writes its own: an OCTET STRING inside the extension's.
fn octets(oid: &str, bytes: &[u8]) -> Result<Extension, CertificateError> {
    let extn_id = ObjectIdentifier::new(oid).map_err(der::Error::from)?;
    let extn_value = OctetString::new(OctetString::new(bytes)?.to_der()?)?;
    Ok(Extension { extn_id, critical: false, extn_value })
}
