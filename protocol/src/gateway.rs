//! What the two ends of a tunnel state beside their evidence: a guest that dials, and the gateway.
//!
//! Both show the release statement of their own KMS. A gateway adds what it takes to judge its
//! evidence, which a guest has no other source of; the names of images are hashes and collateral is
//! signed, so a gateway's word counts for nothing there. All of it is a claim.

use serde::{Deserialize, Serialize};

use crate::channel::MAX_STATEMENT_BYTES;
use crate::strict_json::{self, JsonError};

/// Port of a gateway on which guests dial, where an address names none: that of all attested
/// channels between guests.
pub const TUNNEL_PORT: u16 = crate::kms::CHANNEL_PORT;

/// What an end of a tunnel states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelStatement {
    /// The text of its [`crate::kms::SignedRelease`].
    pub release: String,
    /// The text of its image's `image.json`; a guest has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The text of the collateral for the platform of its quote; a guest has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<String>,
}

impl TunnelStatement {
    /// Parses the bytes beside a proof.
    ///
    /// # Errors
    /// If they are not such a document, or larger than [`MAX_STATEMENT_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        strict_json::parse(bytes, MAX_STATEMENT_BYTES)
    }

    /// The bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_written_and_nothing_else_is() {
        let guest = TunnelStatement { release: "{}".into(), image: None, collateral: None };
        assert_eq!(guest.to_json(), br#"{"release":"{}"}"#);
        let gateway = TunnelStatement { image: Some("{}".into()), ..guest.clone() };
        for statement in [guest, gateway] {
            assert_eq!(TunnelStatement::parse(&statement.to_json()), Ok(statement));
        }
        for wrong in ["", "{}", r#"{"release":"","more":1}"#, r#"{"release":"","release":""}"#] {
            assert!(TunnelStatement::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
