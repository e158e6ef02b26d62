//! What a KMS knows of a guest: facts of evidence that passed, and of the file whose hash it
//! measured.

use attestation::VerifiedEvidence;
use attestation::policy::TcbStatus;
use protocol::app_compose::{self, AppComposeError, WithoutKms};
use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, PlatformId, Sha256Digest};

use crate::measurements::BootMeasurements;

/// Facts by which a KMS decides. [`Guest::of`] is the way to one; tests state theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The measured app id. The host chose it: it counts only with the hash beside it.
    pub app_id: AppId,
    /// The measured instance id; `None` for an app without them.
    pub instance_id: Option<InstanceId>,
    /// Hash of the measured file.
    pub compose_hash: ComposeHash,
    /// The image that runs.
    pub os_image_hash: OsImageHash,
    /// SHA-256 of the SubjectPublicKeyInfo that it showed on its channel, which its evidence binds.
    pub agent_key: Sha256Digest,
    /// What the webhook of a second source is told of its registers.
    pub measurements: BootMeasurements,
    /// The platform's ids; the first is the one that the ledger has.
    pub platform_ids: Vec<PlatformId>,
    /// Whether containers may depart from the default confinement.
    pub privileged: bool,
    /// Whether the image keeps reserved report data from containers.
    pub reserves_report_data: bool,
    /// Whether containers could have run when the quote was made.
    pub ready: bool,
    /// The data disk's file system, as the measured file asks for it and the event `storage-fs`
    /// will name it.
    pub storage: &'static str,
    /// Whether it ends with its release statement, as the measured file asks for it.
    pub stops: bool,
    /// TCB status of the platform.
    pub tcb_status: TcbStatus,
    /// Advisories of the platform.
    pub advisory_ids: Vec<String>,
    /// The number of the collateral's TCB evaluation.
    pub tcb_evaluation_number: u32,
    /// Date of the platform's TCB, in seconds since 1970.
    pub tcb_date_secs: u64,
    /// When the oldest part of the collateral was issued, in seconds since 1970.
    pub collateral_issued_secs: u64,
}

/// Why a file says nothing of a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// another file than the measured one
    #[error("the app-compose.json that came has the hash {found}, the guest measured {measured}")]
    OtherFile {
        /// The hash of what came.
        found: ComposeHash,
        /// The measured hash.
        measured: ComposeHash,
    },
    /// a file that no guest runs
    #[error("the measured file")]
    File(#[from] AppComposeError),
    /// a platform whose certificate has no id of the usual length
    #[error("the platform's certificate has a PPID of {0} bytes, expected 16")]
    PlatformId(usize),
}

impl Guest {
    /// The facts of verified evidence, and of the file that came with it, from a channel on which
    /// it showed the key `spki`.
    ///
    /// # Errors
    /// If the file is not the measured one or cannot be read, or the platform has no id.
    pub fn of(evidence: &VerifiedEvidence, file: &[u8], spki: &[u8]) -> Result<Self, GuestError> {
        let app = evidence.app();
        let found = ComposeHash::of(file);
        if found != app.compose_hash {
            return Err(GuestError::OtherFile { found, measured: app.compose_hash });
        }
        let compose = app_compose::parse(file)?;
        let platform = evidence.platform();
        let ppid = platform.ppid[..]
            .try_into()
            .map_err(|_| GuestError::PlatformId(platform.ppid.len()))?;
        let ids = platform.platform_instance_id.into_iter().chain([ppid]).map(PlatformId);
        let tcb = evidence.tcb();
        Ok(Self {
            app_id: app.app_id,
            instance_id: app.instance_id,
            compose_hash: app.compose_hash,
            os_image_hash: evidence.image().os_image_hash,
            agent_key: Sha256Digest::of(spki),
            measurements: BootMeasurements::of(
                evidence.report(),
                evidence.key_provider().map(|_| compose.key_provider),
            ),
            platform_ids: ids.collect(),
            privileged: evidence.privileged(),
            reserves_report_data: evidence.image().reserves_report_data,
            ready: evidence.ready(),
            storage: compose.storage_fs.name(),
            stops: compose.kms_bounds.without_kms == WithoutKms::Stop,
            tcb_status: tcb.status,
            advisory_ids: tcb.advisory_ids.clone(),
            tcb_evaluation_number: tcb.evaluation_number,
            tcb_date_secs: tcb.date_secs,
            collateral_issued_secs: tcb.collateral_issued_secs,
        })
    }
}
