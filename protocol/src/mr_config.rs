//! MRCONFIGID: what the host may bind to a TD at its creation, in dstack's encodings V1 and V3.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::{AppId, ComposeHash, InstanceId, MrConfigId};

/// Domain label of V3, followed by one zero byte.
const V3_LABEL: &[u8] = b"dstack-mr-config-v3:\0";

/// The document whose canonical JSON V3 hashes (RFC 8785; its keys are ASCII and its values are
/// strings and one number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigV3 {
    /// Application id, hex.
    pub app_id: AppId,
    /// Compose hash, hex.
    pub compose_hash: ComposeHash,
    /// Instance id, hex, or empty.
    pub instance_id: String,
    /// `none`, `kms`, `local` or `tpm`.
    pub key_provider: String,
    /// Hex of the pinned key provider.
    pub key_provider_id: String,
    /// Always 3.
    pub version: u32,
}

/// V1: 0x01 ‖ compose hash ‖ 15 zero bytes.
pub fn v1(compose_hash: &ComposeHash) -> MrConfigId {
    encode(1, &compose_hash.0)
}

/// V3: 0x03 ‖ SHA-256(label ‖ canonical JSON) ‖ 15 zero bytes.
pub fn v3(config: &ConfigV3) -> MrConfigId {
    // serde_json writes struct fields in declaration order, which above is the canonical
    // (alphabetical) one.
    let canonical =
        serde_json::to_vec(config).expect("a struct of strings and a number serialises");
    let hash: [u8; 32] =
        Sha256::new().chain_update(V3_LABEL).chain_update(canonical).finalize().into();
    encode(3, &hash)
}

/// What the register must hold for this application: V1 without a pinned key provider, V3 with one.
pub fn expected(
    compose_hash: &ComposeHash,
    app_id: &AppId,
    instance_id: Option<&InstanceId>,
    key_provider: &str,
    key_provider_id: &str,
) -> MrConfigId {
    if key_provider_id.is_empty() {
        return v1(compose_hash);
    }
    v3(&ConfigV3 {
        app_id: *app_id,
        compose_hash: *compose_hash,
        instance_id: instance_id.map(ToString::to_string).unwrap_or_default(),
        key_provider: key_provider.to_owned(),
        key_provider_id: key_provider_id.to_owned(),
        version: 3,
    })
}

/// Whether a register is acceptable: the expected value, or all zero (not used by this host).
pub fn matches(register: &MrConfigId, expected: &MrConfigId) -> bool {
    *register == MrConfigId::ZERO || register == expected
}

fn encode(version: u8, hash: &[u8; 32]) -> MrConfigId {
    let mut bytes = [0; 48];
    bytes[0] = version;
    bytes[1..33].copy_from_slice(hash);
    MrConfigId(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_is_the_hash_behind_its_version() {
        let id = v1(&ComposeHash([0xab; 32]));
        assert_eq!(id.to_string(), format!("01{}{}", "ab".repeat(32), "00".repeat(15)));
    }

    #[test]
    fn v3_is_used_only_with_a_pinned_provider_and_its_json_is_canonical() {
        let (hash, app) = (ComposeHash([1; 32]), AppId([2; 20]));
        assert_eq!(expected(&hash, &app, None, "kms", ""), v1(&hash));
        let json = format!(
            r#"{{"app_id":"{app}","compose_hash":"{hash}","instance_id":"","key_provider":"kms","key_provider_id":"aa","version":3}}"#
        );
        let digest: [u8; 32] =
            Sha256::new().chain_update(V3_LABEL).chain_update(json).finalize().into();
        assert_eq!(expected(&hash, &app, None, "kms", "aa"), encode(3, &digest));
    }
}
