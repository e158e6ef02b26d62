//! Roots of trust: Intel's is pinned here and nowhere else; any other must be handed in by the
//! caller.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Intel SGX Root CA, valid from 2018-05-21 to 2049-12-31, in DER.
///
/// Source:
/// `Intel_SGX_Provisioning_Certification_RootCA.cer` of `certificates.trustedservices.intel.com`,
/// named in Intel's Provisioning Certification Service documentation. SHA-256 of the file:
/// `44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3`. It changes with a release of
/// dstyx only.
pub const INTEL_SGX_ROOT_CA: &[u8] = include_bytes!("../roots/intel-sgx-root-ca.der");

/// Whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustAnchor {
    /// Intel's root.
    Intel,
    /// An emulator's root certificate in DER: evidence under it proves nothing about hardware.
    DangerEmulated(Vec<u8>),
}

/// Whose signature the evidence rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnchorName {
    /// Intel's SGX root CA.
    Intel,
    /// An emulator's root, which the caller accepted by name.
    Emulated,
}

impl TrustAnchor {
    /// The root certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        match self {
            Self::Intel => INTEL_SGX_ROOT_CA,
            Self::DangerEmulated(root) => root,
        }
    }

    /// How reports name it.
    pub fn name(&self) -> AnchorName {
        match self {
            Self::Intel => AnchorName::Intel,
            Self::DangerEmulated(_) => AnchorName::Emulated,
        }
    }
}

/// SHA-256 of a certificate, lower-case hex.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(Sha256::digest(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_root_is_the_documented_one() {
        let documented = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
        assert_eq!(fingerprint(INTEL_SGX_ROOT_CA), documented);
    }
}
