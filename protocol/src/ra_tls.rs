//! dstack's extensions of X.509 certificates, and the name that every app has for itself.
//!
//! A certificate with a quote is a claim like any other evidence: its reader judges the quote,
//! whose report data names the certificate's key. dstyx's own programs never accept one as a proof;
//! they use the attested channel. Source: dstack, `ra-tls`.

use sha2::{Digest, Sha512};

use crate::digest::{AppId, ReportData};

/// The quote, as an OCTET STRING.
pub const QUOTE: &str = "1.3.6.1.4.1.62397.1.1";
/// The JSON list of events that explains the quote, as an OCTET STRING.
pub const EVENT_LOG: &str = "1.3.6.1.4.1.62397.1.2";
/// The app's id, as an OCTET STRING of 20 bytes.
pub const APP_ID: &str = "1.3.6.1.4.1.62397.1.3";
/// What a certificate is for beyond TLS, as an OCTET STRING of text.
pub const CERTIFICATE_USAGE: &str = "1.3.6.1.4.1.62397.1.4";
/// The usage of every certificate that an app asked for.
pub const USAGE_APP: &str = "app:custom";

/// Longest request for a certificate: quote and event log of a usual boot take 12 KiB, and TLS
/// implementations take 64 KiB for a whole chain.
pub const MAX_REQUEST_BYTES: usize = 48 * 1024;
/// Most characters of a common name (RFC 5280, `ub-common-name`).
pub const MAX_COMMON_NAME: usize = 64;

/// What a quote inside a certificate covers: `SHA-512("ratls-cert:" ‖ SubjectPublicKeyInfo in
/// DER)`.
pub fn report_data(public_key_info: &[u8]) -> ReportData {
    let digest = Sha512::new().chain_update(b"ratls-cert:").chain_update(public_key_info);
    ReportData(digest.finalize().into())
}

/// The DNS name that certificates of an app always have, below the domain that the DNS reserves for
/// private use: no name of an app is one that a policy has to list first.
pub fn internal_name(app_id: &AppId) -> String {
    format!("{app_id}.dstyx.internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_data_is_dstack_s_tagged_hash() {
        // Python: hashlib.sha512(b"ratls-cert:" + b"key").hexdigest()
        let expected = "a95d18e10092c0ab0ed63bee0d848bb2218fcd5295e182021dded2714d69c51e\
            7664316a07dd72b0134a1f1afb6b7b98296677293ae5f34aebda5ab050d60683";
        assert_eq!(hex::encode(report_data(b"key").0), expected);
        let name = internal_name(&AppId([0xab; 20]));
        assert_eq!(name, format!("{}.dstyx.internal", "ab".repeat(20)));
    }
}
