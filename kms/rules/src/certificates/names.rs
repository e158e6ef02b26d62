//! Subjects of certificates, and which of their texts a policy has to list.

use protocol::ra_tls::MAX_COMMON_NAME;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::Any;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{self, Decode as _, Encode as _, Tag};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// Whether a text can be a common name: not empty, not too long, and printable.
pub(super) fn is_common_name(text: &str) -> bool {
    (1..=MAX_COMMON_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Whether a common name may be taken for the name of a host. A path is none, although it may have
/// dots: the older interface has it as the subject where nothing else is given.
pub(super) fn is_like_a_host(common_name: &str) -> bool {
    common_name.contains(['.', '*']) && !common_name.contains(['/', ' '])
}

/// A subject or issuer of one common name.
pub(super) fn common_name(name: &str) -> der::Result<Name> {
    let value = Any::new(Tag::Utf8String, name.as_bytes())?;
    let part = vec![AttributeTypeAndValue { oid: COMMON_NAME, value }];
    let part = RelativeDistinguishedName::try_from(part)?;
    Name::from_der(&RdnSequence::from(vec![part]).to_der()?)
}
