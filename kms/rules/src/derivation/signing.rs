//! Signatures of a cluster's secp256k1 key under dstack's labels, so that its SDKs can check them.

use k256::ecdsa::{SigningKey, VerifyingKey};
use protocol::digest::AppId;
use sha3::{Digest as _, Keccak256};

/// Before what says that a KMS gave an app its key.
const APP_KEY_LABEL: &[u8] = b"dstack-kms-issued:";
/// Before what says to which key an app's environment is encrypted.
const ENV_KEY_LABEL: &[u8] = b"dstack-env-encrypt-pubkey:";

/// r, s, and which of the possible public keys signed (0 to 3).
pub type RecoverableSignature = [u8; 65];

/// The root's word that `key` is the app's: a signature of Keccak-256(label ‖ app id ‖ compressed
/// SEC1).
pub fn app_key_signed(
    root_k256: &SigningKey,
    app_id: &AppId,
    key: &VerifyingKey,
) -> RecoverableSignature {
    let point = key.to_sec1_point(true);
    signed(root_k256, &[APP_KEY_LABEL, &app_id.0, point.as_bytes()])
}

/// The root's word that an app's environment is encrypted to `public_key`: a signature of
/// Keccak-256(label ‖ app id ‖ time, if there is one, big-endian ‖ key).
pub fn env_key_signed(
    root_k256: &SigningKey,
    app_id: &AppId,
    time_secs: Option<u64>,
    public_key: &[u8; 32],
) -> RecoverableSignature {
    let time = time_secs.map(u64::to_be_bytes);
    let time = time.as_ref().map(|bytes| &bytes[..]).unwrap_or_default();
    signed(root_k256, &[ENV_KEY_LABEL, &app_id.0, time, public_key])
}

fn signed(key: &SigningKey, parts: &[&[u8]]) -> RecoverableSignature {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    let (signature, recovery) = key.sign_prehash_recoverable(&hasher.finalize());
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = recovery.to_byte();
    bytes
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::{RecoveryId, Signature};

    use super::*;

    fn recovered(message: &[u8], signature: &RecoverableSignature) -> VerifyingKey {
        let recovery = RecoveryId::from_byte(signature[64]).unwrap();
        let signature = Signature::from_slice(&signature[..64]).unwrap();
        VerifyingKey::recover_from_prehash(&Keccak256::digest(message), &signature, recovery)
            .unwrap()
    }

    #[test]
    fn the_signer_is_recovered_from_what_dstack_hashes() {
        let root = SigningKey::from_slice(&[3; 32]).unwrap();
        let app = AppId([0xaa; 20]);
        let key = *SigningKey::from_slice(&[4; 32]).unwrap().verifying_key();

        let mut message = b"dstack-kms-issued:".to_vec();
        message.extend(app.0);
        message.extend(key.to_sec1_point(true).as_bytes());
        let signature = app_key_signed(&root, &app, &key);
        assert_eq!(recovered(&message, &signature), *root.verifying_key());

        let mut message = b"dstack-env-encrypt-pubkey:".to_vec();
        message.extend(app.0);
        let without_time = [&message[..], &[5; 32]].concat();
        let with_time = [&message[..], &7u64.to_be_bytes(), &[5; 32]].concat();
        let signature = env_key_signed(&root, &app, None, &[5; 32]);
        assert_eq!(recovered(&without_time, &signature), *root.verifying_key());
        let signature = env_key_signed(&root, &app, Some(7), &[5; 32]);
        assert_eq!(recovered(&with_time, &signature), *root.verifying_key());
    }
}
