//! The keys of this guest, as a KMS released them.
//!
//! The answer came over a channel to a KMS that was verified; its fields are checked all the same,
//! so that nothing behind this type handles a key of another length or a scalar that is none. No
//! value here is printed or logged, and all secrets are cleared when the last holder drops them.

use std::fmt;

use k256::ecdsa::SigningKey;
use protocol::digest::{AppId, Sha256Digest};
use protocol::kms::{AppKeyResponse, EarlierKeys};
use x509_cert::der::DecodePem as _;
use zeroize::Zeroizing;

/// Longest PEM of the cluster's certificate authority: one P-256 certificate has below 1 KiB.
const MAX_CA_CERT_BYTES: usize = 8 * 1024;
/// r, s and the recovery id.
const RECOVERABLE_SIGNATURE_BYTES: usize = 65;
/// Most epochs before the newest: a KMS keeps 16.
const MAX_EARLIER: usize = 15;

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
    /// keys of another epoch than was asked for
    #[error("epoch: {found}, asked for {expected}")]
    OtherEpoch {
        /// As answered.
        found: u32,
        /// As asked for.
        expected: u32,
    },
    /// earlier epochs that are none
    #[error("earlier: not at most {MAX_EARLIER} epochs before this one, the newest first")]
    Earlier,
}

/// What an app keeps of an epoch before its own, until that is retired.
pub struct EarlierEpoch {
    /// The epoch.
    pub epoch: u32,
    /// The secp256k1 scalar that keys of the app were derived from.
    pub k256_key: Zeroizing<[u8; 32]>,
    /// Signature of that key by the cluster's of that epoch; 65 bytes.
    pub k256_signature: Vec<u8>,
    /// X25519 secret of the app's environment.
    pub environment: Zeroizing<[u8; 32]>,
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
    /// Of the epochs before it, the newest first.
    pub earlier: Vec<EarlierEpoch>,
    /// The key that the data disk was left under, where that is an older epoch's: it is to be
    /// moved.
    pub moves_from: Option<Zeroizing<[u8; 64]>>,
}

impl AppKeys {
    /// Checks every field of an answer.
    pub fn of(response: AppKeyResponse) -> Result<Self, KeysError> {
        let disk = Zeroizing::new(response.disk_crypt_key);
        let environment = Zeroizing::new(response.env_crypt_key);
        let earlier: Result<Vec<_>, _> =
            response.earlier.into_iter().map(EarlierEpoch::of).collect();
        let (k256_key, k256_signature) = app_key(response.k256_key, &response.k256_signature)?;
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
        let earlier = earlier?;
        let epochs = earlier.iter().map(|earlier| earlier.epoch);
        let descending = std::iter::once(response.epoch).chain(epochs).is_sorted_by(|a, b| a > b);
        if earlier.len() > MAX_EARLIER || !descending {
            return Err(KeysError::Earlier);
        }
        Ok(Self {
            ca_cert: response.ca_cert,
            k256_key,
            k256_signature,
            environment: secret("env_crypt_key", &environment)?,
            disk: secret("disk_crypt_key", &disk)?,
            gateway_app_id: response.gateway_app_id,
            os_image_hash: Sha256Digest(exactly("os_image_hash", &response.os_image_hash)?),
            epoch: response.epoch,
            earlier,
            moves_from: None,
        })
    }

    /// The same of a guest whose disk was left under this key.
    pub fn moving_from(mut self, disk: &[u8]) -> Result<Self, KeysError> {
        self.moves_from = Some(secret("disk_crypt_key", disk)?);
        Ok(self)
    }
}

impl EarlierEpoch {
    fn of(keys: EarlierKeys) -> Result<Self, KeysError> {
        let environment = Zeroizing::new(keys.env_crypt_key);
        let (k256_key, k256_signature) = app_key(keys.k256_key, &keys.k256_signature)?;
        if keys.epoch == 0 {
            return Err(KeysError::Epoch);
        }
        let environment = secret("env_crypt_key", &environment)?;
        Ok(Self { epoch: keys.epoch, k256_key, k256_signature, environment })
    }
}

/// The app's scalar, and the signature of its key.
fn app_key(key: Vec<u8>, signature: &[u8]) -> Result<(Zeroizing<[u8; 32]>, Vec<u8>), KeysError> {
    let key = Zeroizing::new(key);
    let key = secret("k256_key", &key)?;
    SigningKey::from_slice(&*key).map_err(|_| KeysError::Scalar)?;
    let signature: [u8; RECOVERABLE_SIGNATURE_BYTES] = exactly("k256_signature", signature)?;
    Ok((key, signature.to_vec()))
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

    /// Keys of an epoch before that of a later answer.
    pub fn earlier(epoch: u32, byte: u8) -> EarlierKeys {
        EarlierKeys {
            epoch,
            env_crypt_key: vec![byte; 32],
            k256_key: vec![byte; 32],
            k256_signature: vec![byte; 65],
        }
    }

    #[test]
    fn earlier_epochs_come_with_their_keys_the_newest_first() {
        let answer =
            |epochs: Vec<EarlierKeys>| AppKeyResponse { epoch: 5, earlier: epochs, ..response() };
        let keys = AppKeys::of(answer(vec![earlier(4, 6), earlier(2, 7)])).unwrap();
        let found: Vec<_> =
            keys.earlier.iter().map(|keys| (keys.epoch, keys.environment[0])).collect();
        assert_eq!((found, keys.moves_from), (vec![(4, 6), (2, 7)], None));
        for wrong in [
            vec![earlier(5, 6)],
            vec![earlier(6, 6)],
            vec![earlier(2, 6), earlier(4, 7)],
            vec![earlier(2, 6), earlier(2, 6)],
        ] {
            assert_eq!(AppKeys::of(answer(wrong)).err(), Some(KeysError::Earlier));
        }
        let many = (1..=16).rev().map(|epoch| earlier(epoch, 1)).collect();
        let many = AppKeyResponse { epoch: 17, earlier: many, ..response() };
        assert_eq!(AppKeys::of(many).err(), Some(KeysError::Earlier));
        let short = EarlierKeys { env_crypt_key: vec![1; 31], ..earlier(2, 1) };
        assert!(matches!(AppKeys::of(answer(vec![short])), Err(KeysError::Length { .. })));
        let none = EarlierKeys { k256_key: vec![0; 32], ..earlier(2, 1) };
        assert_eq!(AppKeys::of(answer(vec![none])).err(), Some(KeysError::Scalar));
        assert_eq!(AppKeys::of(answer(vec![earlier(0, 1)])).err(), Some(KeysError::Epoch));
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
