//! Who gives a guest its keys, and what its data disk is because of that.

use super::{AppComposeError, RawAppCompose, refused};
use crate::digest::Sha256Digest;

/// Name of a KMS as the source of keys.
pub const KEY_PROVIDER_KMS: &str = "kms";

/// Least age of an anchor that a measured file may state: two anchors may fail before a guest ends.
pub const MIN_ANCHOR_AGE_SECS: u32 = 300;

/// The source of a guest's keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyProvider {
    /// There are no keys: nothing outlives the guest, unless its disk is plain.
    #[default]
    None,
    /// A KMS.
    Kms {
        /// Who it is: [`crate::kms::Cluster::id`].
        id: Sha256Digest,
    },
}

impl KeyProvider {
    /// Its kind in the measured file, in MRCONFIGID and in the event `key-provider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kms { .. } => KEY_PROVIDER_KMS,
        }
    }

    /// Lower-case hex of its id; empty without one.
    pub fn id(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Kms { id } => id.to_string(),
        }
    }

    /// Payload of the event `key-provider`.
    pub fn event_payload(self) -> String {
        format!(r#"{{"name":"{}","id":"{}"}}"#, self.name(), self.id())
    }
}

/// TCB evaluation number of Intel's collateral when this image's sources were written: the least
/// one that proves a KMS to its guests, if their measured file names no other.
pub const TCB_EVALUATION_AT_BUILD: u32 = 17;

/// What a guest asks of its KMS beyond that it is the pinned one. A guest's clock and its
/// connections are its host's; these bounds hold without either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KmsBounds {
    /// Least TCB evaluation number of the collateral by which the KMS is judged: a clock that is
    /// set back makes no older collateral good. [`TCB_EVALUATION_AT_BUILD`] if it is absent.
    pub min_tcb_evaluation: Option<u32>,
    /// Lowest version of the owners' list that says what runs as the KMS: a version that they gave
    /// up counts no more.
    pub min_list_version: Option<u64>,
    /// How old the last anchor may become before the guest ends, in seconds.
    pub anchor_max_age_secs: Option<u32>,
    /// What the guest does once its release statement has ended.
    pub without_kms: WithoutKms,
}

impl KmsBounds {
    /// Least TCB evaluation number of collateral that counts to this guest.
    pub fn tcb_evaluation(&self) -> u32 {
        self.min_tcb_evaluation.unwrap_or(TCB_EVALUATION_AT_BUILD)
    }
}

/// What becomes of a guest whose KMS renews its release statement no more: it is away, or its
/// owners' policy names the guest no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithoutKms {
    /// It goes on.
    #[default]
    Continue,
    /// It ends before the statement does, and until then no other guest opens its disk.
    Stop,
}

/// The file system of the data disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StorageFs {
    /// Also what dstack's `zfs` becomes: both check what they read.
    #[default]
    Btrfs,
    /// Without checksums of data.
    Ext4,
    /// A btrfs that is not encrypted and kept over boots (`danger_host_readable_disk`): the host
    /// reads it, and may change it or put an older state back.
    BtrfsPlain,
}

impl StorageFs {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Btrfs, Self::Ext4, Self::BtrfsPlain];

    /// The name in the event `storage-fs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Ext4 => "ext4",
            Self::BtrfsPlain => "btrfs-plain",
        }
    }

    /// The kernel's name of the file system.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::Btrfs | Self::BtrfsPlain => "btrfs",
            Self::Ext4 => "ext4",
        }
    }
}

/// `key_provider` decides; without it `kms_enabled` does, as in dstack. Both may not differ.
pub(super) fn key_provider(raw: &RawAppCompose) -> Result<KeyProvider, AppComposeError> {
    const ID: &str = "64 lower-case hexadecimal digits are expected; \
        dstyx kms status shows those of a KMS";
    if raw.local_key_provider_enabled {
        return Err(refused("local_key_provider_enabled", "refused; use key_provider none or kms"));
    }
    let kms = match raw.key_provider.as_deref() {
        None => raw.kms_enabled,
        Some(KEY_PROVIDER_KMS) => true,
        Some("none") => false,
        Some(_) => {
            return Err(refused("key_provider", "local and tpm are refused; use none or kms"));
        }
    };
    let asked_by = match raw.key_provider {
        Some(_) => "key_provider",
        None => "kms_enabled",
    };
    match (kms, raw.key_provider_id.as_str()) {
        (false, _) if raw.kms_enabled => {
            Err(refused("kms_enabled", "contradicts key_provider none; write key_provider kms"))
        }
        (false, "") => Ok(KeyProvider::None),
        (false, _) => Err(refused("key_provider_id", "pins a KMS; write key_provider kms too")),
        (true, "") => Err(refused(
            asked_by,
            "a KMS must be pinned: write its key_provider_id, 64 lower-case hexadecimal digits",
        )),
        (true, id) => Sha256Digest::from_hex(id)
            .map(|id| KeyProvider::Kms { id })
            .map_err(|error| refused("key_provider_id", &format!("{error}: {ID}"))),
    }
}

/// What is asked of the KMS; `key_provider` must be this file's.
pub(super) fn kms_bounds(
    raw: &RawAppCompose,
    key_provider: KeyProvider,
) -> Result<KmsBounds, AppComposeError> {
    let RawAppCompose { min_tcb_evaluation, min_kms_list_version, anchor_max_age_secs, .. } = *raw;
    let without_kms = match raw.without_kms.as_deref() {
        None | Some("continue") => WithoutKms::Continue,
        Some("stop") => WithoutKms::Stop,
        Some(_) => return Err(refused("without_kms", "known are continue and stop")),
    };
    let stated = [
        ("min_tcb_evaluation", min_tcb_evaluation.is_some()),
        ("min_kms_list_version", min_kms_list_version.is_some()),
        ("anchor_max_age_secs", anchor_max_age_secs.is_some()),
        ("without_kms", raw.without_kms.is_some()),
    ];
    match stated.into_iter().find(|(_, stated)| *stated) {
        Some((field, _)) if key_provider == KeyProvider::None => {
            Err(refused(field, "asks something of a KMS; write key_provider kms too"))
        }
        _ if min_kms_list_version == Some(0) => {
            Err(refused("min_kms_list_version", "lists begin with version 1"))
        }
        _ if anchor_max_age_secs.is_some_and(|secs| secs < MIN_ANCHOR_AGE_SECS) => {
            let what = format!("at least {MIN_ANCHOR_AGE_SECS}: an anchor is made every 120 s");
            Err(refused("anchor_max_age_secs", &what))
        }
        _ => Ok(KmsBounds {
            min_tcb_evaluation,
            min_list_version: min_kms_list_version,
            anchor_max_age_secs,
            without_kms,
        }),
    }
}

/// What the data disk is; `key_provider` must be this file's.
pub(super) fn storage_fs(
    raw: &RawAppCompose,
    key_provider: KeyProvider,
) -> Result<StorageFs, AppComposeError> {
    let written = match raw.storage_fs.as_deref() {
        None | Some("zfs" | "btrfs") => StorageFs::Btrfs,
        Some("ext4") => StorageFs::Ext4,
        Some(_) => {
            return Err(refused(
                "storage_fs",
                "known are btrfs, zfs (which becomes btrfs) and ext4",
            ));
        }
    };
    let kms = key_provider != KeyProvider::None;
    match written {
        StorageFs::Ext4 if kms => Err(refused(
            "storage_fs",
            "ext4 finds no older or changed data, so it is refused with a KMS; use btrfs",
        )),
        StorageFs::Ext4 if raw.danger_host_readable_disk => {
            Err(refused("storage_fs", "danger_host_readable_disk is for btrfs only"))
        }
        _ if kms && raw.danger_host_readable_disk => Err(refused(
            "danger_host_readable_disk",
            "contradicts the KMS, under whose key the disk is encrypted; leave it out",
        )),
        _ if raw.danger_host_readable_disk => Ok(StorageFs::BtrfsPlain),
        written => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app_compose::{generate, parse};

    #[test]
    fn dstacks_older_key_asks_for_a_kms_too_and_both_may_not_differ() {
        let id = "c0".repeat(32);
        let with = |changes: &str, without: Option<&str>| {
            let mut file: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&generate("a", "x").unwrap()).unwrap();
            without.and_then(|key| file.remove(key));
            let changes: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&changes.replace("ID", &id)).unwrap();
            file.extend(changes);
            parse(&serde_json::to_vec(&file).unwrap())
                .map(|app| app.key_provider)
                .map_err(|error| error.to_string())
        };
        let kms = KeyProvider::Kms { id: Sha256Digest([0xc0; 32]) };
        let older = r#"{"kms_enabled": true, "key_provider_id": "ID"}"#;
        assert_eq!(with(older, Some("key_provider")), Ok(kms));
        assert!(with(older, None).unwrap_err().contains("contradicts"));
        let unpinned = with(r#"{"kms_enabled": true}"#, Some("key_provider")).unwrap_err();
        assert!(unpinned.starts_with("app-compose.json: kms_enabled: a KMS must be pinned"));
        assert_eq!(kms.event_payload(), format!(r#"{{"name":"kms","id":"{}"}}"#, "c0".repeat(32)));
        assert_eq!(KeyProvider::None.event_payload(), r#"{"name":"none","id":""}"#);
    }
}
