//! The keys of this guest, as a KMS released them.
//!
//! The answer came over a channel to a KMS that was verified; its fields are checked all the same,
//! so that nothing behind this type handles a key of another length or a scalar that is none. No
//! value here is printed or logged, and all secrets are cleared when the last holder drops them.

use std::fmt;

use k256::ecdsa::SigningKey;
use protocol::digest::{AppId, Sha256Digest};
use protocol::kms::AppKeyResponse;
use x509_cert::der::DecodePem as _;
use zeroize::Zeroizing;

/// Longest PEM of the cluster's certificate authority: one P-256 certificate has below 1 KiB.
const MAX_CA_CERT_BYTES: usize = 8 * 1024;
/// r, s and the recovery id.
const RECOVERABLE_SIGNATURE_BYTES: usize = 65;

/// Why an answer holds no keys that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// a field of another length
    #[error("{field}: {found} bytes, expected {expected}")]
    Length {
        /// The field.
        field: &'static str,
        /// Bytes present.
        found: usize,
        /// Bytes wanted.
        expected: usize,
    },
    /// the scalar of the app's key is zero or too large
    #[error("k256_key: not a scalar of secp256k1")]
    Scalar,
    /// the certificate authority
    #[error("ca_cert: not one X.509 certificate in at most {MAX_CA_CERT_BYTES} bytes of PEM")]
    CaCert,
    /// the gateway
    #[error("gateway_app_id: neither empty nor 40 lower-case hexadecimal digits")]
    Gateway,
    /// keys of no epoch
    #[error("epoch: 0, the first is 1")]
    Epoch,
}

/// What a KMS released to this guest.
pub struct AppKeys {
    /// PEM of the certificate authority of the cluster.
    pub ca_cert: String,
    /// The secp256k1 scalar that keys of the app are derived from.
    pub k256_key: Zeroizing<[u8; 32]>,
    /// Signature of that key by the cluster's; 65 bytes.
    pub k256_signature: Vec<u8>,
    /// X25519 secret of the app's environment.
    pub environment: Zeroizing<[u8; 32]>,
    /// The two AES-256 keys of the data disk.
    pub disk: Zeroizing<[u8; 64]>,
    /// The app that is the gateway, in hex; empty if there is none.
    pub gateway_app_id: String,
    /// The image that the KMS verified.
    pub os_image_hash: Sha256Digest,
    /// Which root the keys come from.
    pub epoch: u32,
}

impl AppKeys {
    /// Checks every field of an answer.
    pub fn of(response: AppKeyResponse) -> Result<Self, KeysError> {
        let disk = Zeroizing::new(response.disk_crypt_key);
        let environment = Zeroizing::new(response.env_crypt_key);
        let k256_key = Zeroizing::new(response.k256_key);
        let k256_key = secret("k256_key", &k256_key)?;
        SigningKey::from_slice(&*k256_key).map_err(|_| KeysError::Scalar)?;
        let k256_signature: [u8; RECOVERABLE_SIGNATURE_BYTES] =
            exactly("k256_signature", &response.k256_signature)?;
        let one_certificate = response.ca_cert.len() <= MAX_CA_CERT_BYTES
            && x509_cert::Certificate::from_pem(&response.ca_cert).is_ok();
        if !one_certificate {
            return Err(KeysError::CaCert);
        }
        let gateway = &response.gateway_app_id;
        if !gateway.is_empty() && AppId::from_hex(gateway).is_err() {
            return Err(KeysError::Gateway);
        }
        if response.epoch == 0 {
            return Err(KeysError::Epoch);
        }
        Ok(Self {
            ca_cert: response.ca_cert,
            k256_key,
            k256_signature: k256_signature.to_vec(),
            environment: secret("env_crypt_key", &environment)?,
            disk: secret("disk_crypt_key", &disk)?,
            gateway_app_id: response.gateway_app_id,
            os_image_hash: Sha256Digest(exactly("os_image_hash", &response.os_image_hash)?),
            epoch: response.epoch,
        })
    }
}

impl fmt::Debug for AppKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKeys").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

fn exactly<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], KeysError> {
    let wrong = |_| KeysError::Length { field, found: bytes.len(), expected: N };
    bytes.try_into().map_err(wrong)
}

fn secret<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<Zeroizing<[u8; N]>, KeysError> {
    let mut key = Zeroizing::new([0; N]);
    let wrong = KeysError::Length { field, found: bytes.len(), expected: N };
    if bytes.len() != N {
        return Err(wrong);
    }
    key.copy_from_slice(bytes);
    Ok(key)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A certificate of no consequence.
    const CA_CERT: &str = include_str!("../../tests/vectors/prpc/ca.pem");

    /// An answer as a KMS writes it; the app's key is that of `tests/vectors/prpc/app-keys.txt`.
    pub fn response() -> AppKeyResponse {
        AppKeyResponse {
            ca_cert: CA_CERT.into(),
            disk_crypt_key: vec![1; 64],
            env_crypt_key: vec![2; 32],
            k256_key: (0x11..0x31).collect(),
            k256_signature: vec![4; 65],
            os_image_hash: vec![5; 32],
            epoch: 1,
            ..AppKeyResponse::default()
        }
    }

    #[test]
    fn an_answer_with_a_field_of_another_length_holds_no_keys() {
        AppKeys::of(response()).unwrap();
        type Field = fn(&mut AppKeyResponse) -> &mut Vec<u8>;
        let fields: [(&str, Field); 5] = [
            ("disk_crypt_key", |keys| &mut keys.disk_crypt_key),
            ("env_crypt_key", |keys| &mut keys.env_crypt_key),
            ("k256_key", |keys| &mut keys.k256_key),
            ("k256_signature", |keys| &mut keys.k256_signature),
            ("os_image_hash", |keys| &mut keys.os_image_hash),
        ];
        for (name, field) in fields {
            for change in [
                |bytes: &mut Vec<u8>| bytes.truncate(1),
                |bytes: &mut Vec<u8>| bytes.push(0),
                Vec::clear,
            ] {
                let mut changed = response();
                change(field(&mut changed));
                let refused = AppKeys::of(changed).err().unwrap();
                assert!(
                    matches!(refused, KeysError::Length { field, .. } if field == name),
                    "{name}: {refused}"
                );
            }
        }
    }

    #[test]
    fn values_that_are_no_keys_are_refused() {
        let changed = |change: fn(&mut AppKeyResponse)| {
            let mut keys = response();
            change(&mut keys);
            AppKeys::of(keys).err()
        };
        assert_eq!(changed(|keys| keys.k256_key = vec![0; 32]), Some(KeysError::Scalar));
        assert_eq!(changed(|keys| keys.k256_key = vec![0xff; 32]), Some(KeysError::Scalar));
        assert_eq!(changed(|keys| keys.ca_cert.clear()), Some(KeysError::CaCert));
        assert_eq!(changed(|keys| keys.ca_cert.insert(40, '!')), Some(KeysError::CaCert));
        assert_eq!(changed(|keys| keys.epoch = 0), Some(KeysError::Epoch));
        assert_eq!(changed(|keys| keys.gateway_app_id = "any".into()), Some(KeysError::Gateway));
        assert_eq!(changed(|keys| keys.gateway_app_id = "01".repeat(20)), None);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let shown = format!("{:?}", AppKeys::of(response()).unwrap());
        assert_eq!(shown, "AppKeys { epoch: 1, .. }");
    }
}
