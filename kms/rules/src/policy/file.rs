//! The policy's file: its keys, and what each may say.

use std::collections::BTreeSet;

use attestation::policy::TcbStatus;
use protocol::digest::{
    AppId, ComposeHash, Ed25519Key, InstanceId, OsImageHash, PlatformId, Sha256Digest,
};
use serde::{Deserialize, Serialize};

/// Most processes of a KMS: the next odd number would bear no more failures than a person can mend.
pub const MAX_MEMBERS: u8 = 7;
/// File systems of a data disk that a policy must name: they keep data from changes less well than
/// the default, or from nobody.
pub const STORAGE_TO_NAME: [&str; 2] = ["ext4", "btrfs-plain"];
/// How Intel names advisories, before their five digits.
const ADVISORY_PREFIX: &str = "INTEL-SA-";
/// Longest DNS name (RFC 1035, section 2.3.4), without the final dot.
const MAX_NAME_BYTES: usize = 253;
/// Longest label of one.
const MAX_LABEL_BYTES: usize = 63;

/// A policy as its owners write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Whose policy it is.
    pub key_provider_id: Sha256Digest,
    /// Counted from 1; only a higher one replaces it.
    pub version: u64,
    /// First second of its validity, since 1970.
    pub not_before_secs: u64,
    /// Last second of its validity, since 1970; at most 30 days later.
    pub not_after_secs: u64,
    /// Apps that get keys.
    pub apps: Vec<PolicyApp>,
    /// Images that they may run in.
    pub os_images: Vec<OsImageHash>,
    /// Images to which an instance may go back after it ran in another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub danger_go_back_to_images: Vec<OsImageHash>,
    /// Platforms that they may run on, by PPID or platform instance id; absent: any genuine one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_ids: Option<Vec<PlatformId>>,
    /// Lowest TCB evaluation data number of the collateral.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_tcb_evaluation_number: Option<u32>,
    /// Oldest date of the platform's TCB, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_tcb_date_secs: Option<u64>,
    /// TCB states accepted besides `UpToDate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerate_tcb: Vec<ToleratedTcb>,
    /// The app that is the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_app_id: Option<AppId>,
    /// How many processes the KMS may have; absent: one, and no other gets the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// Keys of those who may let the KMS keep keys of their Pads: a custodian is enrolled if each
    /// of its members is one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pad_custodians: Vec<Ed25519Key>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyApp {
    /// Its id.
    pub app_id: AppId,
    /// Its measured files; each counts only under this id.
    pub compose_hashes: Vec<ComposeHash>,
    /// How many instances there may be, or which.
    #[serde(default)]
    pub instances: Instances,
    /// Whether its containers may depart from the default confinement, so that they can take
    /// whatever keys the guest gets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub danger_privileged: bool,
    /// File systems of the data disk that are accepted besides `btrfs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub danger_storage: Vec<String>,
    /// Files to which an instance may go back after it ran another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub danger_go_back_to: Vec<ComposeHash>,
    /// Whose environments it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_signers: Vec<Ed25519Key>,
    /// Names that it may have certified: `host.example`, or `*.example` for that and every name of
    /// one more label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certifiable_names: Vec<String>,
}

/// How many instances of an app get keys: `"any"`, a number, or a list of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Instances {
    /// As many as there are.
    Any(Any),
    /// The first that ask; an instance that is gone counts too.
    Number(u32),
    /// These; an app without instance ids has none of them.
    Ids(Vec<InstanceId>),
}

/// The word `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Any {
    /// `any`
    Any,
}

/// One: a second instance is an empty app under the first one's name.
impl Default for Instances {
    fn default() -> Self {
        Self::Number(1)
    }
}

/// A TCB status accepted for a known reason and until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToleratedTcb {
    /// The status; `UpToDate` and `Revoked` are no legal values.
    pub status: TcbStatus,
    /// Every advisory that the platform may have.
    pub advisories: Vec<String>,
    /// Last second, since 1970.
    pub until_secs: u64,
}

/// what in a policy means nothing
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct UnsoundPolicy {
    /// The key, such as `apps[2].compose_hashes`.
    pub place: String,
    /// What is wrong with it, and what is legal.
    pub what: String,
}

impl PolicyFile {
    /// How many processes the KMS may have.
    pub fn most_members(&self) -> usize {
        self.replicas.map_or(1, usize::from)
    }

    /// Refuses what means nothing, or two things.
    ///
    /// # Errors
    /// If a list names something twice, or a value is illegal.
    pub fn check(&self) -> Result<(), UnsoundPolicy> {
        unique("apps", self.apps.iter().map(|app| app.app_id))?;
        unique("os_images", self.os_images.iter().copied())?;
        unique("pad_custodians", self.pad_custodians.iter().copied())?;
        unique("platform_ids", self.platform_ids.iter().flatten().copied())?;
        let back = &self.danger_go_back_to_images;
        if let Some(other) = back.iter().find(|image| !self.os_images.contains(image)) {
            return Err(unsound(
                "danger_go_back_to_images",
                format!("{other} is not in os_images"),
            ));
        }
        if self.replicas.is_some_and(|replicas| !(1..=MAX_MEMBERS).contains(&replicas)) {
            let found = self.replicas.unwrap_or_default();
            return Err(unsound("replicas", format!("{found}, expected 1 to {MAX_MEMBERS}")));
        }
        for (index, tolerated) in self.tolerate_tcb.iter().enumerate() {
            tolerated.check(&format!("tolerate_tcb[{index}]"))?;
        }
        for (index, app) in self.apps.iter().enumerate() {
            app.check(&format!("apps[{index}]"))?;
        }
        Ok(())
    }

    /// The payload of its envelope.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists serialise")
    }
}

impl PolicyApp {
    fn check(&self, place: &str) -> Result<(), UnsoundPolicy> {
        unique(&format!("{place}.compose_hashes"), self.compose_hashes.iter().copied())?;
        unique(&format!("{place}.env_signers"), self.env_signers.iter().copied())?;
        if let Instances::Ids(ids) = &self.instances {
            unique(&format!("{place}.instances"), ids.iter().copied())?;
        }
        let back = &self.danger_go_back_to;
        if let Some(other) = back.iter().find(|hash| !self.compose_hashes.contains(hash)) {
            let what = format!("{other} is not in compose_hashes");
            return Err(unsound(&format!("{place}.danger_go_back_to"), what));
        }
        let unknown = |name: &&String| !STORAGE_TO_NAME.contains(&name.as_str());
        if let Some(other) = self.danger_storage.iter().find(unknown) {
            let what = format!("{other:?}, expected {}", STORAGE_TO_NAME.join(" or "));
            return Err(unsound(&format!("{place}.danger_storage"), what));
        }
        if let Some(other) = self.certifiable_names.iter().find(|name| !is_pattern(name)) {
            let what = format!("{other:?} is no lower-case DNS name, alone or behind `*.`");
            return Err(unsound(&format!("{place}.certifiable_names"), what));
        }
        Ok(())
    }

    /// Whether the app may have this DNS name certified.
    pub fn may_certify(&self, name: &str) -> bool {
        let covered = |pattern: &String| match pattern.strip_prefix("*.") {
            None => name == pattern,
            Some(base) => {
                let label = name.strip_suffix(base).and_then(|rest| rest.strip_suffix('.'));
                name == base || label.is_some_and(|label| label == "*" || !label.contains('.'))
            }
        };
        is_pattern(name) && self.certifiable_names.iter().any(covered)
    }
}

impl ToleratedTcb {
    fn check(&self, place: &str) -> Result<(), UnsoundPolicy> {
        if matches!(self.status, TcbStatus::UpToDate | TcbStatus::Revoked) {
            let what = format!("{} is always accepted or never", self.status);
            return Err(unsound(&format!("{place}.status"), what));
        }
        if let Some(other) = self.advisories.iter().find(|id| !is_advisory(id)) {
            let what = format!("{other:?} is no advisory such as {ADVISORY_PREFIX}00123");
            return Err(unsound(&format!("{place}.advisories"), what));
        }
        Ok(())
    }
}

fn is_advisory(id: &str) -> bool {
    let digits = id.strip_prefix(ADVISORY_PREFIX);
    digits.is_some_and(|rest| rest.len() == 5 && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A DNS name of at least one label, or `*.` and one.
fn is_pattern(pattern: &str) -> bool {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    pattern.len() <= MAX_NAME_BYTES && name.split('.').all(label)
}

fn unique<T: Ord + ToString + Copy>(
    place: &str,
    list: impl Iterator<Item = T>,
) -> Result<(), UnsoundPolicy> {
    let mut seen = BTreeSet::new();
    for item in list {
        if !seen.insert(item) {
            return Err(unsound(place, format!("{} is named twice", item.to_string())));
        }
    }
    Ok(())
}

fn unsound(place: &str, what: String) -> UnsoundPolicy {
    UnsoundPolicy { place: place.to_owned(), what }
}
