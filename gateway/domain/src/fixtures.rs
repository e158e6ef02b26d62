//! Certificates and logs for tests.

use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _, SanType};
use time::OffsetDateTime;

/// A certificate of nobody, and its key.
pub struct Made {
    /// The certificate.
    pub der: Vec<u8>,
    /// DER of its key's SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

/// A certificate that its own key signed, for these names and this time (seconds since 1970).
pub fn certificate(names: &[&str], not_before_secs: i64, not_after_secs: i64) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let sans = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = sans.collect();
    params.distinguished_name.push(DnType::CommonName, "a test's");
    params.not_before = OffsetDateTime::from_unix_timestamp(not_before_secs).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(not_after_secs).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made { der: certificate.der().to_vec(), spki: key.subject_public_key_info() }
}

/// A published line about something, with a quote that is none.
pub fn entry(subject: crate::published::Subject) -> crate::published::Entry {
    let evidence = protocol::evidence::Evidence {
        quote: vec![1],
        event_log: Vec::new(),
        nonce: [0; 32],
        claims: protocol::fixtures::claims(),
        app_compose: None,
    };
    let collateral = "{}".to_owned();
    crate::published::Entry { made_secs: 0, subject, evidence, collateral }
}
