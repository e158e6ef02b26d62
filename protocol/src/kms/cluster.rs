//! Who a KMS is: a name, its owners' keys, and how many of them decide together.

use serde::{Deserialize, Serialize};

use crate::derivation::length_prefixed;
use crate::digest::{Ed25519Key, HexError, Sha256Digest};

/// Most owners of one cluster.
pub const MAX_OWNERS: usize = 16;
/// Longest name.
const MAX_NAME_BYTES: usize = 64;
/// First field of what is hashed.
const LABEL: &[u8] = b"dstyx-key-provider-1";

/// Environment variable of the KMS's measured compose file with the cluster's name.
pub const NAME_VARIABLE: &str = "DSTYX_KMS_NAME";
/// The same with the owners' keys, lower-case hex, separated by commas.
pub const OWNER_KEYS_VARIABLE: &str = "DSTYX_KMS_OWNERS";
/// The same with the number of owners who decide together.
pub const THRESHOLD_VARIABLE: &str = "DSTYX_KMS_THRESHOLD";
/// The same with base64 of the emulator's root certificate in DER. A KMS that has it accepts
/// emulated guests, and proves nothing to anybody.
pub const DANGER_ROOT_VARIABLE: &str = "DSTYX_KMS_DANGER_EMULATED_ROOT";
/// The same with the address of the service that hands out collateral.
pub const PCCS_VARIABLE: &str = "DSTYX_KMS_PCCS";
/// The same with the addresses of the members of an etcd that stores in place of the KMS's own
/// disk, separated by commas. They are hints: what is stored counts by its seals alone.
pub const ETCD_VARIABLE: &str = "DSTYX_KMS_ETCD";

/// The same with the address of a webhook in dstack's form, which is asked about guests that the
/// owners' policy allows; see [`super::WebhookAddress`].
pub const BOOT_AUTH_VARIABLE: &str = "DSTYX_KMS_BOOT_AUTH";
/// The same with the addresses of the KMS's processes, this one's included, separated by commas.
/// They are hints: what answers there proves itself.
pub const PEERS_VARIABLE: &str = "DSTYX_KMS_PEERS";

/// Why there is no such cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// the name
    #[error("a name of 1 to {MAX_NAME_BYTES} of a-z 0-9 - is expected, found {0:?}")]
    Name(String),
    /// too few or too many owners
    #[error("1 to {MAX_OWNERS} owners are expected, found {0}")]
    Owners(usize),
    /// one key twice
    #[error("the owner {0} is named twice")]
    Twice(Ed25519Key),
    /// owners out of order
    #[error("owners' keys are expected in ascending order")]
    Order,
    /// a threshold that decides nothing, or that nobody reaches
    #[error("a threshold of 1 to {owners} is expected, found {threshold}")]
    Threshold {
        /// Number of owners who must agree.
        threshold: u8,
        /// Number of owners.
        owners: usize,
    },
}

/// Why variables name no cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// a variable is missing
    #[error("{0} is not set")]
    Missing(&'static str),
    /// a key that is none
    #[error("{OWNER_KEYS_VARIABLE}: key {index}: {source}")]
    Owner {
        /// Which one, from 1.
        index: usize,
        /// What is wrong.
        source: HexError,
    },
    /// a threshold that is no number
    #[error("{THRESHOLD_VARIABLE}: {0:?} is no number from 1 to 255")]
    Threshold(String),
    /// a cluster that cannot be
    #[error("the cluster: {0}")]
    Cluster(#[from] ClusterError),
}

/// A cluster of KMS replicas that have one root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its owners' keys, ascending, each once.
    pub owners: Vec<Ed25519Key>,
    /// How many of them decide together.
    pub threshold: u8,
}

impl Cluster {
    /// The cluster that the variables of a KMS's measured file name.
    ///
    /// # Errors
    /// If one is missing or malformed, or there is no such cluster.
    pub fn of_variables(value: impl Fn(&str) -> Option<String>) -> Result<Self, VariableError> {
        let of = |name| value(name).ok_or(VariableError::Missing(name));
        let threshold = of(THRESHOLD_VARIABLE)?;
        let key = |(at, text)| {
            Ed25519Key::from_hex(text)
                .map_err(|source| VariableError::Owner { index: at + 1, source })
        };
        let owners = of(OWNER_KEYS_VARIABLE)?;
        let cluster = Self {
            name: of(NAME_VARIABLE)?,
            owners: owners.split(',').enumerate().map(key).collect::<Result<_, _>>()?,
            threshold: threshold.parse().map_err(|_| VariableError::Threshold(threshold))?,
        };
        cluster.check()?;
        Ok(cluster)
    }

    /// Refuses a cluster that cannot be.
    ///
    /// # Errors
    /// If the name is not 1 to 64 of `a-z 0-9 -`, the owners are not 1 to [`MAX_OWNERS`] different
    /// keys in ascending order, or the threshold is zero or above their number.
    pub fn check(&self) -> Result<(), ClusterError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=MAX_NAME_BYTES).contains(&self.name.len()) || !self.name.bytes().all(legal) {
            return Err(ClusterError::Name(self.name.chars().take(MAX_NAME_BYTES).collect()));
        }
        let owners = self.owners.len();
        if !(1..=MAX_OWNERS).contains(&owners) {
            return Err(ClusterError::Owners(owners));
        }
        for pair in self.owners.windows(2) {
            match pair[0].cmp(&pair[1]) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(ClusterError::Twice(pair[0])),
                std::cmp::Ordering::Greater => return Err(ClusterError::Order),
            }
        }
        if !(1..=owners).contains(&usize::from(self.threshold)) {
            return Err(ClusterError::Threshold { threshold: self.threshold, owners });
        }
        Ok(())
    }

    /// `key_provider_id`: SHA-256 over label, name, each owner's key and the threshold, each behind
    /// its length (u32, little-endian).
    pub fn id(&self) -> Sha256Digest {
        let threshold = [self.threshold];
        let mut fields: Vec<&[u8]> = vec![LABEL, self.name.as_bytes()];
        fields.extend(self.owners.iter().map(|key| &key.0[..]));
        fields.push(&threshold);
        Sha256Digest::of(&length_prefixed(&fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, owners: &[u8], threshold: u8) -> Cluster {
        let owners = owners.iter().map(|byte| Ed25519Key([*byte; 32])).collect();
        Cluster { name: name.into(), owners, threshold }
    }

    #[test]
    fn what_cannot_be_a_cluster_is_refused() {
        cluster("local", &[1], 1).check().unwrap();
        cluster("our-3", &[1, 2, 3], 2).check().unwrap();
        let many: Vec<u8> = (0..17).collect();
        let rows = [
            (cluster("", &[1], 1), "found \"\""),
            (cluster("A", &[1], 1), "found \"A\""),
            (cluster("a", &[], 0), "found 0"),
            (cluster("a", &many, 1), "found 17"),
            (cluster("a", &[1, 1], 1), "twice"),
            (cluster("a", &[2, 1], 1), "ascending"),
            (cluster("a", &[1, 2], 0), "found 0"),
            (cluster("a", &[1, 2], 3), "found 3"),
        ];
        for (cluster, expected) in rows {
            let error = cluster.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn another_name_owner_or_threshold_is_another_key_provider() {
        let ids = [
            cluster("a", &[1, 2], 1),
            cluster("b", &[1, 2], 1),
            cluster("a", &[1, 2], 2),
            cluster("a", &[1, 3], 1),
            cluster("a", &[1], 1),
        ];
        let ids: std::collections::BTreeSet<_> = ids.iter().map(Cluster::id).collect();
        assert_eq!(ids.len(), 5);
    }
}
