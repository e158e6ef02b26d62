//! What the 64 bytes of a quote's report data mean, each label spelled once.

use crate::digest::{ReportData, sha512_length_prefixed};

/// Bytes of a verifier's nonce.
pub const NONCE_BYTES: usize = 32;
/// Label of the public evidence page's report data.
const EVIDENCE_LABEL: &[u8] = b"dstyx-evidence";
/// Version of that derivation.
const EVIDENCE_VERSION: &[u8] = b"1";

/// Report data of `GET /evidence?nonce=`: proves that such a guest exists and answered after the
/// nonce was chosen; does not prove that the connection on which it came ends in that guest.
pub fn evidence(nonce: &[u8; NONCE_BYTES]) -> ReportData {
    ReportData(sha512_length_prefixed(&[EVIDENCE_LABEL, EVIDENCE_VERSION, nonce]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_nonce_is_another_report_data() {
        assert_ne!(evidence(&[0; 32]), evidence(&[1; 32]));
    }
}
