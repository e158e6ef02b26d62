//! Collateral: revocation lists, TCB info and QE identity that a verifier brings along, in
//! dcap-qvl's JSON.
//!
//! It comes over networks that the attacker owns. Here it is only read, strictly and within bounds;
//! that it is signed, current and of this platform is judged like the quote itself.

use dcap_qvl::QuoteCollateralV3;
use serde::{Deserialize, Serialize};

use crate::ecdsa::Remembered;

/// Largest file; real ones have 14 to 25 KiB, a long revocation list would add tens of KiB.
pub const MAX_BYTES: usize = 512 * 1024;

/// Why collateral was refused before any of it was judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// larger than the budget
    #[error("collateral: {0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// not the JSON of a QuoteCollateralV3: message with key, line and column
    #[error("collateral: {0}")]
    Json(String),
    /// a field that is not hex
    #[error("collateral: {field}: {what}")]
    Hex {
        /// The key.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// Collateral whose syntax and size are in order; nothing judged.
///
/// Where one judges many quotes, the signatures that were found valid in those that passed are not
/// computed again: it remembers them. Nothing else of a judgement is kept.
#[derive(Debug)]
pub struct Collateral {
    pub(crate) inner: QuoteCollateralV3,
    pub(crate) remembered: Remembered,
}

impl Clone for Collateral {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

impl PartialEq for Collateral {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Collateral {}

/// The JSON: certificates in PEM, lists in hex of DER, signatures in hex of r ‖ s.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pck_certificate_chain: Option<String>,
}

impl Collateral {
    /// Parses the JSON of a file or a service's reply.
    ///
    /// Unlike other JSON of the project it may hold NULs: quotes end their certificate chain with
    /// one, and those who fetch collateral copy that chain as it is.
    pub fn parse(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > MAX_BYTES {
            return Err(CollateralError::TooLarge(json.len()));
        }
        let raw: RawCollateral = serde_json::from_slice(json)
            .map_err(|error| CollateralError::Json(error.to_string()))?;
        let inner = QuoteCollateralV3 {
            pck_crl_issuer_chain: raw.pck_crl_issuer_chain,
            root_ca_crl: hex_field("root_ca_crl", &raw.root_ca_crl)?,
            pck_crl: hex_field("pck_crl", &raw.pck_crl)?,
            tcb_info_issuer_chain: raw.tcb_info_issuer_chain,
            tcb_info: raw.tcb_info,
            tcb_info_signature: hex_field("tcb_info_signature", &raw.tcb_info_signature)?,
            qe_identity_issuer_chain: raw.qe_identity_issuer_chain,
            qe_identity: raw.qe_identity,
            qe_identity_signature: hex_field("qe_identity_signature", &raw.qe_identity_signature)?,
            pck_certificate_chain: raw.pck_certificate_chain,
        };
        Ok(Self::of(inner))
    }

    fn of(inner: QuoteCollateralV3) -> Self {
        Self { inner, remembered: Remembered::default() }
    }

    /// The JSON that [`Self::parse`] reads.
    pub fn to_json(&self) -> Vec<u8> {
        let inner = self.inner.clone();
        let raw = RawCollateral {
            pck_crl_issuer_chain: inner.pck_crl_issuer_chain,
            root_ca_crl: hex::encode(inner.root_ca_crl),
            pck_crl: hex::encode(inner.pck_crl),
            tcb_info_issuer_chain: inner.tcb_info_issuer_chain,
            tcb_info: inner.tcb_info,
            tcb_info_signature: hex::encode(inner.tcb_info_signature),
            qe_identity_issuer_chain: inner.qe_identity_issuer_chain,
            qe_identity: inner.qe_identity,
            qe_identity_signature: hex::encode(inner.qe_identity_signature),
            pck_certificate_chain: inner.pck_certificate_chain,
        };
        serde_json::to_vec(&raw).expect("strings serialise")
    }
}

fn hex_field(field: &'static str, text: &str) -> Result<Vec<u8>, CollateralError> {
    hex::decode(text).map_err(|error| CollateralError::Hex { field, what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts that are of the right form and say nothing.
    const MINIMAL: &str = r#"{"pck_crl_issuer_chain":"","root_ca_crl":"00","pck_crl":"00",
        "tcb_info_issuer_chain":"","tcb_info":"{}","tcb_info_signature":"00",
        "qe_identity_issuer_chain":"","qe_identity":"{}","qe_identity_signature":"00"}"#;

    #[test]
    fn unknown_and_repeated_keys_trailing_bytes_size_and_hex_are_refused() {
        let text = MINIMAL;
        let parsed = Collateral::parse(text.as_bytes()).unwrap();
        assert_eq!(Collateral::parse(&parsed.to_json()), Ok(parsed));
        let parse = |text: String| Collateral::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(parse(text.replacen('{', r#"{"x":1,"#, 1)), CollateralError::Json(_)));
        assert!(matches!(
            parse(text.replacen('{', r#"{"pck_crl":"","#, 1)),
            CollateralError::Json(_)
        ));
        assert!(matches!(parse(format!("{text}x")), CollateralError::Json(_)));
        let spaces = " ".repeat(MAX_BYTES);
        assert_eq!(parse(spaces + text), CollateralError::TooLarge(MAX_BYTES + text.len()));
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["pck_crl"] = "0".into();
        assert!(matches!(parse(value.to_string()), CollateralError::Hex { field: "pck_crl", .. }));
    }
}
