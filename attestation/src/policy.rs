//! What a verifier wants: trust anchor, nonce, accepted TDs and platforms, the image's registers,
//! the app.
//!
//! A policy is a value that the caller makes; nothing in it comes from the evidence unless its
//! field says so. Every default refuses: what weakens the judgement has to be named, and holds
//! until a date.

mod rules;

pub use dcap_qvl::TcbStatus;
pub use rules::{MAX_RULES_BYTES, Rules, RulesError};

use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, ReportData};
use protocol::report_data::NONCE_BYTES;

use crate::anchor::TrustAnchor;
use crate::verified::VerifiedImage;

/// The whole policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whose signatures count.
    pub anchor: TrustAnchor,
    /// What the quote must have been made for.
    pub report_data: ExpectedReportData,
    /// Which TDs are accepted.
    pub td: TdRules,
    /// Which platforms are accepted.
    pub platform: PlatformRules,
    /// Predicted registers; `None` skips them.
    pub image: Option<ExpectedRegisters>,
    /// Images that may be judged by; `None` gives no row, an empty list refuses everybody.
    pub images: Option<Vec<OsImageHash>>,
    /// The app; `None` skips it, unless [`Self::apps`] says which are accepted.
    pub app: Option<ExpectedApp>,
    /// Apps that are accepted; `None` gives no row, an empty list refuses everybody.
    pub apps: Option<Vec<AcceptedApp>>,
    /// Events that must be in the log besides those of every boot.
    pub required_events: Vec<RequiredEvent>,
    /// Names of events that must not be in the log.
    pub forbidden_events: Vec<String>,
    /// How far the boot must be.
    pub stage: Stage,
    /// Why the log does not replay to RTMR3, if the caller knows; it is only words, the replay
    /// decides.
    pub rtmr3_explanation: Option<Explanation>,
}

impl Policy {
    /// The strict defaults: an up-to-date platform, no attribute beyond the necessary; image and
    /// app not judged yet.
    pub fn strict(anchor: TrustAnchor, report_data: ExpectedReportData) -> Self {
        Self {
            anchor,
            report_data,
            td: TdRules::default(),
            platform: PlatformRules::default(),
            image: None,
            images: None,
            app: None,
            apps: None,
            required_events: Vec::new(),
            forbidden_events: Vec::new(),
            stage: Stage::SystemReady,
            rtmr3_explanation: None,
        }
    }
}

/// What a quote's report data must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedReportData {
    /// That of a nonce which the verifier chose for this request: the quote is younger than the
    /// nonce.
    Nonce([u8; NONCE_BYTES]),
    /// These bytes.
    Exactly(ReportData),
    /// Nothing was stated; the row is skipped with this reason. A nonce that the sender put beside
    /// the quote is no statement: it says nothing about the quote's age.
    Unstated(String),
}

/// Accepted TDs, beyond what is never accepted (DEBUG, unknown bits, migratable, service TDs,
/// SEPT_VE_DISABLE = 0).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TdRules {
    /// Attributes that are tolerated besides SEPT_VE_DISABLE and the defences LASS and ICSSD.
    pub accepted: Vec<AcceptedAttribute>,
}

/// A TD attribute tolerated by name and until a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedAttribute {
    /// The attribute.
    pub attribute: TdAttribute,
    /// Last second, since 1970, at which this holds.
    pub until_secs: u64,
}

/// The attributes that a policy may tolerate; everything else about TD_ATTRIBUTES is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TdAttribute {
    /// Supervisor protection keys.
    Pks,
    /// Key Locker.
    KeyLocker,
    /// TDX Connect provisioning agent.
    ProvisioningAgent,
    /// Performance counters.
    Perfmon,
}

impl TdAttribute {
    /// Its bit in TD_ATTRIBUTES.
    pub fn bit(self) -> u64 {
        match self {
            Self::Pks => td_attributes::PKS,
            Self::KeyLocker => td_attributes::KEY_LOCKER,
            Self::ProvisioningAgent => td_attributes::PROVISIONING_AGENT,
            Self::Perfmon => td_attributes::PERFMON,
        }
    }
}

impl TdRules {
    /// Bits of TD_ATTRIBUTES that are tolerated at `now`, in seconds since 1970.
    pub fn accepted_at(&self, now: u64) -> u64 {
        let current = self.accepted.iter().filter(|accepted| now <= accepted.until_secs);
        current.fold(0, |bits, accepted| bits | accepted.attribute.bit())
    }
}

/// Bits of TD_ATTRIBUTES. Source: Intel TDX Module ABI specification 348551-008US, table 3.23.
pub mod td_attributes {
    /// The host may read and write the TD.
    pub const DEBUG: u64 = 1;
    /// Single-step defence by instruction count.
    pub const ICSSD: u64 = 1 << 16;
    /// The report has a hash of service TDs.
    pub const SERVTD_EXT: u64 = 1 << 17;
    /// Linear address space separation.
    pub const LASS: u64 = 1 << 27;
    /// No #VE for pages that the host removed.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// A migration TD may move it.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// Supervisor protection keys.
    pub const PKS: u64 = 1 << 30;
    /// Key Locker.
    pub const KEY_LOCKER: u64 = 1 << 31;
    /// TDX Connect provisioning agent.
    pub const PROVISIONING_AGENT: u64 = 1 << 62;
    /// Performance counters.
    pub const PERFMON: u64 = 1 << 63;
}

/// Accepted platforms. `None` and empty rules give no row; a list that is there and empty refuses
/// everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlatformRules {
    /// TCB states accepted besides `UpToDate`.
    pub accepted_tcb: Vec<AcceptedTcb>,
    /// Oldest date of the TCB levels of platform, TDX module and QE, in seconds since 1970.
    pub minimum_tcb_date_secs: Option<u64>,
    /// Lowest TCB evaluation data number of the collateral.
    pub minimum_evaluation_number: Option<u32>,
    /// Longest time since the oldest of TCB info, QE identity and the PCK CA's revocation list was
    /// issued, in seconds. The root's list is not among them: Intel issues one a year.
    pub maximum_collateral_age_secs: Option<u64>,
    /// FMSPCs (6 bytes) that are accepted.
    pub fmspcs: Option<Vec<[u8; 6]>>,
    /// Platform ids that are accepted: PPID or platform instance id (16 bytes each), from the PCK
    /// certificate.
    pub platform_ids: Option<Vec<[u8; 16]>>,
}

/// A TCB status accepted for a known reason and until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedTcb {
    /// The status. `Revoked` is never accepted, whatever stands here.
    pub status: TcbStatus,
    /// Every advisory that the platform may have; one that is not named here refuses.
    pub advisory_ids: Vec<String>,
    /// Last second, since 1970, at which this holds.
    pub until_secs: u64,
}

/// Predicted registers of an image in a shape. `attestation` computes none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRegisters {
    /// The image and the machine that they were computed from.
    pub identity: VerifiedImage,
    /// MRTD.
    pub mrtd: Prediction,
    /// RTMR0.
    pub rtmr0: Prediction,
    /// RTMR1.
    pub rtmr1: Prediction,
    /// RTMR2.
    pub rtmr2: Prediction,
}

/// A register that could be predicted, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prediction {
    /// It must have this value.
    Value(ExpectedRegister),
    /// It cannot be predicted: the row is skipped with this reason.
    Unknown(String),
}

/// One predicted register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRegister {
    /// The value.
    pub value: [u8; 48],
    /// From what it was computed, such as `claimed shape: 2 vCPUs, 2048 MiB, 4 root slots, QEMU
    /// 11.1.3`.
    pub source: String,
    /// What, other than the predicting code, confirmed predictions of this kind; `None`: nothing.
    pub cross_check: Option<String>,
    /// Why the evidence's value differs, if the caller knows; it is only words, the value decides.
    pub explanation: Option<Explanation>,
}

/// Why a register has a value that was not predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The value that it explains; it is not shown for any other.
    pub found: [u8; 48],
    /// The cause, such as `it is that of 4 vCPUs; you stated 2`.
    pub text: String,
}

/// The app that should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedApp {
    /// Hash of its app-compose.json.
    pub compose_hash: ComposeHash,
    /// Its id; that of [`ExpectedApp::of`] is the start of the hash.
    pub app_id: AppId,
    /// Its instance; `None` gives no row.
    pub instance_id: Option<InstanceId>,
    /// Its app-compose.json, to say in which keys a published one differs; it is only words, the
    /// hash decides.
    pub app_compose: Option<Vec<u8>>,
}

impl ExpectedApp {
    /// The app with this hash under its own id, any instance of it.
    pub fn of(compose_hash: ComposeHash) -> Self {
        let app_id = AppId::from_compose_hash(&compose_hash);
        Self { compose_hash, app_id, instance_id: None, app_compose: None }
    }
}

/// An app that a policy accepts. An id counts only with the hash beside it: whoever launches a
/// guest chooses the id that it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedApp {
    /// Hash of its app-compose.json.
    pub compose_hash: ComposeHash,
    /// Its id.
    pub app_id: AppId,
}

impl AcceptedApp {
    /// The app with this hash under its own id, the first 20 bytes of the hash.
    pub fn of(compose_hash: ComposeHash) -> Self {
        Self { compose_hash, app_id: AppId::from_compose_hash(&compose_hash) }
    }
}

/// How far a guest's boot must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The system is ready and the app may run.
    SystemReady,
    /// Everything that a key release depends on has been measured, and no container has run yet.
    KeyRelease,
    /// Everything that a key release depends on has been measured; containers may run. Whoever
    /// gives keys asks [`crate::VerifiedEvidence::ready`] too.
    KeyReleaseOrLater,
}

/// An event that must be in the log exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredEvent {
    /// Its name, such as `key-provider` or `os-image-hash`.
    pub name: String,
    /// Its payload; `None`: any.
    pub payload: Option<Vec<u8>>,
}
