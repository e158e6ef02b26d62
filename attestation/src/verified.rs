//! Evidence as a fact: what an appraisal proves where every check passes.

use dcap_qvl::TcbStatus;
use protocol::app_compose::StorageFs;
use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash};
use protocol::event_log::RuntimeEvent;
use protocol::quote::TdReport;
use protocol::shape::Shape;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::anchor::AnchorName;

/// Evidence of which every check passed.
///
/// Holding one proves, as far as the trust anchor is believed: a TD with these registers exists on
/// a platform of an accepted TCB; it is not in debug mode, not migratable and bound to no service
/// TD; its registers are those of this image in this shape; these facts are all that was extended
/// into RTMR3 before the app's own events; and the quote was made for the policy's report data. It
/// does not prove that the connection on which the evidence came ends in that TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEvidence {
    pub(crate) report: TdReport,
    pub(crate) image: VerifiedImage,
    pub(crate) platform: VerifiedPlatform,
    pub(crate) tcb: VerifiedTcb,
    pub(crate) boot: MeasuredBoot,
    pub(crate) ready: bool,
    pub(crate) app_events: Vec<RuntimeEvent>,
    pub(crate) trust_anchor: AnchorName,
}

/// The image that runs, and its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedImage {
    /// The image's name.
    pub os_image_hash: OsImageHash,
    /// The machine for which its registers were predicted.
    pub shape: Shape,
    /// Parts of the image about which its list was believed.
    pub believed: Vec<&'static str>,
    /// Whether its agent refuses reserved report data to containers
    /// ([`protocol::image::RESERVED_REPORT_DATA`]).
    pub reserves_report_data: bool,
}

/// The platform, as its PCK certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPlatform {
    /// Family, model, stepping, platform type and custom SKU.
    pub fmspc: [u8; 6],
    /// Platform provisioning id.
    pub ppid: Vec<u8>,
    /// Platform instance id, where a platform CA issued the certificate.
    pub platform_instance_id: Option<[u8; 16]>,
}

impl VerifiedPlatform {
    /// The name that dstack's services give a device: SHA-256 of the PPID.
    pub fn device_id(&self) -> [u8; 32] {
        Sha256::digest(&self.ppid).into()
    }
}

/// The TCB of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTcb {
    /// One status for all parts; another than `UpToDate` was tolerated by name and date.
    pub status: TcbStatus,
    /// The oldest date of the levels of platform, TDX module and QE, in seconds since 1970.
    pub date_secs: u64,
    /// The number of the collateral's TCB evaluation.
    pub evaluation_number: u32,
    /// The advisories of all parts.
    pub advisory_ids: Vec<String>,
    /// Issue time of the oldest part of the collateral, in seconds since 1970; the root CA's
    /// revocation list, which is issued once a year, does not count.
    pub collateral_issued_secs: u64,
}

/// What a boot measured; proved only where the log replays to RTMR3 of a verified quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredBoot {
    /// The app.
    pub app: MeasuredApp,
    /// Whether the measured file allows the app to depart from the default confinement.
    pub privileged: bool,
    /// The image that a KMS verified; `None` without a KMS.
    pub os_image_hash: Option<OsImageHash>,
    /// The source of the keys; `None` before it is measured.
    pub key_provider: Option<KeyProvider>,
    /// The data disk's file system; `None` without a data disk, or before it is measured.
    pub storage: Option<Storage>,
}

/// The app that a boot measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredApp {
    /// The app's id.
    pub app_id: AppId,
    /// The instance's id; `None` for an app without instance ids.
    pub instance_id: Option<InstanceId>,
    /// Hash of the exact bytes of app-compose.json.
    pub compose_hash: ComposeHash,
}

/// The source of a guest's keys, as the event `key-provider` states it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProvider {
    /// Its kind, such as `none` or `kms`.
    pub name: String,
    /// Its id in hex; empty without one.
    pub id: String,
}

/// The file system of a data disk, as the event `storage-fs` states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// One that an app of dstyx can ask for.
    Known(StorageFs),
    /// Another one, of other software.
    Other(String),
}

impl VerifiedEvidence {
    /// The verified report.
    pub fn report(&self) -> &TdReport {
        &self.report
    }

    /// The image and its machine.
    pub fn image(&self) -> &VerifiedImage {
        &self.image
    }

    /// The platform.
    pub fn platform(&self) -> &VerifiedPlatform {
        &self.platform
    }

    /// The platform's TCB.
    pub fn tcb(&self) -> &VerifiedTcb {
        &self.tcb
    }

    /// The measured app.
    pub fn app(&self) -> &MeasuredApp {
        &self.boot.app
    }

    /// The source of the guest's keys, once it is measured.
    pub fn key_provider(&self) -> Option<&KeyProvider> {
        self.boot.key_provider.as_ref()
    }

    /// The file system of the data disk, once it is measured.
    pub fn storage(&self) -> Option<&Storage> {
        self.boot.storage.as_ref()
    }

    /// The image that a KMS verified for this guest.
    pub fn os_image_hash(&self) -> Option<OsImageHash> {
        self.boot.os_image_hash
    }

    /// Whether the measured file allows the app to depart from the default confinement.
    pub fn privileged(&self) -> bool {
        self.boot.privileged
    }

    /// Whether a reserved tag in the quote's report data proves that one of the guest's own roles
    /// asked: the image keeps such report data from containers, and no container is privileged.
    pub fn proves_roles(&self) -> bool {
        self.image.reserves_report_data && !self.boot.privileged
    }

    /// Whether the boot was over, so that containers could have asked for the quote.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// The events of the app, in order: those behind `system-ready`.
    pub fn app_events(&self) -> &[RuntimeEvent] {
        &self.app_events
    }

    /// Whose signature it rests on; if emulated, nothing above is proved about hardware.
    pub fn trust_anchor(&self) -> AnchorName {
        self.trust_anchor
    }
}
