//! The status channel: a 4 KiB disk on which the guest leaves enumerated codes, its only word to a
//! host without a console.
//!
//! One way: the guest never reads it. Records carry a phase, a refusal, the time since the kernel
//! started and, where an image is refused, the digest of the blob, which the measured file or an
//! image that it pins names; no text, no data, nothing that depends on a secret.

use crate::digest::Sha256Digest;
use crate::reader::{ReadError, Reader};

/// Size of the disk.
pub const DISK_BYTES: usize = 4096;
/// `serial` of its virtio-blk device.
pub const DISK_SERIAL: &str = "dstyx-status";
/// First bytes of a disk on which a guest has written.
pub const MAGIC: [u8; 8] = *b"DSTYXST2";
/// Bytes of one record: phase u16, refusal u16, reserved u32 (zero), uptime in microseconds u64,
/// SHA-256 of the refused blob (zero if there is none).
const RECORD_BYTES: usize = 48;
/// Header: magic, record count u32, reserved u32 (zero).
const HEADER_BYTES: usize = 16;
/// Records that fit; a boot writes about a dozen.
pub const MAX_RECORDS: usize = (DISK_BYTES - HEADER_BYTES) / RECORD_BYTES;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = $text] $variant = $code,)*
        }

        impl $name {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code with this number.
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// One sentence for a person, without final dot.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// How far a guest has come; 1 to 7 are init's phases, 8 and later the agent's.
    Phase {
        Started = 1, "init has started";
        Mounted = 2, "file systems are mounted and a TDX device was found";
        CommandLineChecked = 3, "the kernel command line is the image's own";
        LaunchRead = 4, "the launch block was read";
        TimeFloored = 5, "the clock is not before the image's build";
        AppMeasured = 6, "the app was measured into RTMR3";
        Networked = 7, "the network is configured";
        AgentStarted = 8, "the agent has started";
        KeysReleased = 14, "the pinned KMS has verified this guest and released its keys";
        DiskOpened = 9, "the data disk is open";
        EnvironmentOpened = 15, "the app's encrypted environment is open, if it has one";
        SystemReady = 10, "the system is ready and serves evidence";
        AppRunning = 11, "the app's containers are running";
        AppFailed = 12, "the app could not be started; the guest still serves evidence";
        Stopping = 13, "the guest is shutting down";
    }
}

codes! {
    /// Why a guest halted, or why its app does not run.
    Refusal {
        None = 0, "no refusal";
        MountFailed = 1, "a file system could not be mounted";
        NoTee = 2, "no TDX device: this machine is not an Intel TDX guest, so nothing here can be proved";
        UnknownCommandLineKey = 3, "the kernel command line carries something that is not the image's own";
        LaunchBlockMissing = 4, "no launch block disk was found";
        LaunchBlockMalformed = 5, "the launch block's magic, version, length or padding is wrong";
        LaunchBlockDigest = 6, "the launch block's SHA-256 does not fit its content";
        LaunchBlockContent = 7, "the launch block's JSON is not what its schema wants";
        AppComposeInvalid = 8, "app-compose.json is not valid or asks for something that is refused";
        NetworkFailed = 9, "no network configuration could be obtained";
        ClockFailed = 10, "the clock could not be set";
        MeasurementFailed = 11, "an RTMR3 register could not be read or extended";
        MrConfigIdMismatch = 12, "MRCONFIGID does not belong to this app";
        AgentFailed = 13, "the agent could not be started or keeps ending";
        ComposeInvalid = 14, "the compose file is not valid or uses what is not supported";
        ImageUnpinned = 15, "an image is not pinned by a digest";
        ImageRefused = 16, "an image could not be fetched with the pinned digest";
        ContainerFailed = 17, "a container could not be started";
        StatusDiskMissing = 18, "no status disk was found";
        Internal = 19, "an unexpected condition inside the guest";
        QuoteFailed = 20, "no quote could be obtained from the TDX device";
        DiskMissing = 21, "no data disk was found that is large enough and can be written";
        DiskFailed = 22, "the data disk could not be encrypted, filled or mounted";
        ImageUnreachable = 23, "the registry of an image is not reached or is overloaded; it is asked again";
        ImageNotFound = 24, "no registry has a blob of an image";
        ImageNoAccess = 25, "the registry of an image gives no access; the image may be private";
        ImageOtherBytes = 26, "the registry of an image sends something else than the pinned blob";
        ImageDocument = 27, "an index, manifest or configuration describes no image that runs here";
        ImageLayer = 28, "a layer of an image cannot be unpacked";
        ImageStore = 29, "an image cannot be stored: the data disk is full or fails";
        KmsAway = 30, "no KMS answers, or it cannot release keys yet; the guest goes on asking";
        KmsForeign = 31, "what answers under the addresses of the KMS is not proved to be the KMS that the app pins; the guest goes on asking";
        KmsRefused = 32, "the KMS refuses this guest: its policy does not allow the app, the image or the platform";
        Superseded = 33, "the data disk was opened by a later boot of this instance, so this one ends";
        DiskOld = 34, "the data disk is older than the state that its KMS knows: an older copy was put in its place";
        DiskAhead = 35, "the data disk is newer than anything that its KMS has let be written";
        DiskForeign = 36, "the data disk holds neither zeros nor a file system of an earlier boot";
        AnchorLate = 37, "the KMS was not told for some time how far the data disk is: what was written since then can be undone; the guest goes on trying";
        EnvironmentUnopened = 38, "the encrypted environment does not open: it is for another app, file or key, or was changed";
        EnvironmentUnsigned = 39, "the encrypted environment has no signature, and the app's measured file asks for one";
        EnvironmentRefused = 40, "the KMS refuses the encrypted environment: no signer of its policy signed it, or a newer one was accepted";
        EnvironmentNotAllowed = 41, "the encrypted environment has a variable that the app's measured file does not allow";
        AnchorTooOld = 42, "the KMS was not told how far the data disk is for longer than the app's measured file allows, so this guest ends";
        UpgradeUndone = 43, "this version of the app did not come to run in time: its volumes were put back as they were before its first start";
        GenerationsUsed = 44, "the data disk has been written so often since this boot that it will soon be read-only; start the guest again";
        DiskMoves = 45, "the data disk is being encrypted under the keys of another epoch; the guest goes on when that is done";
        DiskHeld = 46, "an earlier guest of this instance may still use the data disk: the KMS lets it be opened once that guest's release statement has ended; the guest waits";
        StatementEnded = 47, "the KMS has not renewed this guest's release statement, with which the app's measured file lets the guest end";
        KmsOutdated = 48, "by the time that the KMS states, its own evidence is outdated: its collateral was replaced by newer one, or its platform is no longer up to date";
    }
}

impl Refusal {
    /// Whether the guest goes on and may yet succeed: a record with it ends no wait for a phase.
    pub fn goes_on(self) -> bool {
        matches!(
            self,
            Self::KmsAway
                | Self::KmsForeign
                | Self::AnchorLate
                | Self::GenerationsUsed
                | Self::DiskMoves
                | Self::DiskHeld
        )
    }
}

/// One line of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Phase that was reached, or during which the refusal happened.
    pub phase: Phase,
    /// Why it went no further, or [`Refusal::None`].
    pub refusal: Refusal,
    /// The index, manifest, configuration or layer that the refusal is about.
    pub blob: Option<Sha256Digest>,
    /// Microseconds since the kernel started.
    pub uptime_micros: u64,
}

/// What the agent tells init to write down: init stamps the time and is the disk's only writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Phase that was reached, or in which the refusal happened.
    pub phase: Phase,
    /// Why it went no further, or [`Refusal::None`].
    pub refusal: Refusal,
    /// The index, manifest, configuration or layer that the refusal is about.
    pub blob: Option<Sha256Digest>,
}

impl Report {
    /// Length on the pipe: phase u16, refusal u16, little-endian, and SHA-256 of the blob (zero if
    /// there is none); below `PIPE_BUF`, so a write is never split.
    pub const BYTES: usize = 36;

    /// A phase that was reached, or a refusal that is about no blob.
    pub fn new(phase: Phase, refusal: Refusal) -> Self {
        Self { phase, refusal, blob: None }
    }

    /// Whether the guest must end: a phase of the boot that is the agent's was refused for good, a
    /// later boot has its disk, more of its work could be undone than its app allows, its release
    /// statement ends, or its version of the app did not come to run.
    pub fn ends_the_guest(&self) -> bool {
        let of_the_boot = matches!(
            self.phase,
            Phase::KeysReleased | Phase::DiskOpened | Phase::EnvironmentOpened
        );
        let refused = self.refusal != Refusal::None && !self.refusal.goes_on();
        let later = matches!(
            self.refusal,
            Refusal::Superseded
                | Refusal::AnchorTooOld
                | Refusal::StatementEnded
                | Refusal::UpgradeUndone
        );
        of_the_boot && refused || later
    }

    /// The report's bytes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&(self.phase as u16).to_le_bytes());
        bytes[2..4].copy_from_slice(&(self.refusal as u16).to_le_bytes());
        bytes[4..].copy_from_slice(&digest_or_zero(self.blob));
        bytes
    }

    /// The report in these bytes, if both codes are known.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        let phase = Phase::from_code(reader.u16("phase").ok()?)?;
        let refusal = Refusal::from_code(reader.u16("refusal").ok()?)?;
        Some(Self { phase, refusal, blob: digest_unless_zero(reader.array("blob").ok()?) })
    }
}

fn digest_or_zero(blob: Option<Sha256Digest>) -> [u8; 32] {
    blob.map_or([0; 32], |digest| digest.0)
}

fn digest_unless_zero(bytes: [u8; 32]) -> Option<Sha256Digest> {
    (bytes != [0; 32]).then_some(Sha256Digest(bytes))
}

/// Why a status disk cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// not 4 KiB
    #[error("status disk: {0}")]
    Read(#[from] ReadError),
    /// another magic
    #[error("status disk: unknown magic {0:02x?}")]
    Magic([u8; 8]),
    /// more records than fit
    #[error("status disk: {0} records, at most {MAX_RECORDS} fit")]
    Count(u32),
    /// a code or reserved field that no guest writes
    #[error("status disk: record {index} has {what}")]
    Record {
        /// Position, from 0.
        index: usize,
        /// What is wrong.
        what: String,
    },
}

/// The disk's bytes for `records`; the oldest are dropped when they no longer fit.
pub fn encode(records: &[Record]) -> [u8; DISK_BYTES] {
    let kept = &records[records.len().saturating_sub(MAX_RECORDS)..];
    let mut disk = [0; DISK_BYTES];
    disk[..8].copy_from_slice(&MAGIC);
    let count = u32::try_from(kept.len()).expect("at most MAX_RECORDS");
    disk[8..12].copy_from_slice(&count.to_le_bytes());
    for (slot, record) in disk[HEADER_BYTES..].chunks_exact_mut(RECORD_BYTES).zip(kept) {
        slot[..2].copy_from_slice(&(record.phase as u16).to_le_bytes());
        slot[2..4].copy_from_slice(&(record.refusal as u16).to_le_bytes());
        slot[8..16].copy_from_slice(&record.uptime_micros.to_le_bytes());
        slot[16..].copy_from_slice(&digest_or_zero(record.blob));
    }
    disk
}

/// Reads a disk; an all-zero one is a guest that has not written yet and gives no records.
pub fn decode(disk: &[u8]) -> Result<Vec<Record>, StatusError> {
    let mut reader = Reader::new(disk);
    let magic: [u8; 8] = reader.array("magic")?;
    if magic == [0; 8] {
        return Ok(Vec::new());
    }
    if magic != MAGIC {
        return Err(StatusError::Magic(magic));
    }
    let count = reader.u32("record count")?;
    reader.u32("reserved")?;
    if count as usize > MAX_RECORDS {
        return Err(StatusError::Count(count));
    }
    (0..count as usize).map(|index| decode_record(&mut reader, index)).collect()
}

fn decode_record(reader: &mut Reader<'_>, index: usize) -> Result<Record, StatusError> {
    let wrong = |what: String| StatusError::Record { index, what };
    let (phase, refusal) = (reader.u16("phase")?, reader.u16("refusal")?);
    if reader.u32("reserved")? != 0 {
        return Err(wrong("a reserved field that is not zero".into()));
    }
    let record = Record {
        phase: Phase::from_code(phase).ok_or_else(|| wrong(format!("unknown phase {phase}")))?,
        refusal: Refusal::from_code(refusal)
            .ok_or_else(|| wrong(format!("unknown refusal {refusal}")))?,
        uptime_micros: reader.u64("uptime")?,
        blob: digest_unless_zero(reader.array("blob")?),
    };
    match record.refusal == Refusal::None && record.blob.is_some() {
        true => Err(wrong("a blob without a refusal".into())),
        false => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_disk_and_the_newest_win() {
        let record = |uptime_micros| Record {
            phase: Phase::AppFailed,
            refusal: Refusal::ImageLayer,
            blob: (uptime_micros % 2 == 0).then_some(Sha256Digest([7; 32])),
            uptime_micros,
        };
        let many: Vec<_> = (0..300).map(record).collect();
        let read = decode(&encode(&many)).unwrap();
        assert_eq!(read, many[300 - MAX_RECORDS..]);
        assert_eq!(decode(&[0; DISK_BYTES]), Ok(Vec::new()));
    }

    #[test]
    fn a_report_survives_the_pipe() {
        for blob in [None, Some(Sha256Digest([9; 32]))] {
            let report = Report { phase: Phase::AppFailed, refusal: Refusal::ImageNotFound, blob };
            assert_eq!(Report::from_bytes(report.to_bytes()), Some(report));
        }
        assert_eq!(Report::from_bytes([99; Report::BYTES]), None);
    }

    #[test]
    fn a_guest_ends_without_keys_or_disk_and_waits_for_a_kms_that_is_away() {
        let ends = |phase, refusal| Report::new(phase, refusal).ends_the_guest();
        for phase in [Phase::KeysReleased, Phase::DiskOpened] {
            assert!(ends(phase, Refusal::KmsOutdated));
            assert!(ends(phase, Refusal::KmsRefused) && ends(phase, Refusal::DiskOld));
            assert!(!ends(phase, Refusal::KmsAway) && !ends(phase, Refusal::None));
            assert!(!ends(phase, Refusal::DiskMoves) && !ends(phase, Refusal::DiskHeld));
        }
        assert!(ends(Phase::EnvironmentOpened, Refusal::EnvironmentRefused));
        assert!(!ends(Phase::EnvironmentOpened, Refusal::KmsAway));
        assert!(ends(Phase::AppRunning, Refusal::Superseded));
        assert!(ends(Phase::SystemReady, Refusal::AnchorTooOld));
        assert!(ends(Phase::SystemReady, Refusal::StatementEnded));
        assert!(!ends(Phase::AppRunning, Refusal::AnchorLate));
        assert!(!ends(Phase::AppFailed, Refusal::ImageStore));
        assert!(ends(Phase::AppFailed, Refusal::UpgradeUndone));
    }

    #[test]
    fn foreign_codes_are_refused() {
        let record =
            Record { phase: Phase::Started, refusal: Refusal::None, blob: None, uptime_micros: 1 };
        let good = encode(&[record]);
        for (place, byte) in [(16, 99), (18, 99), (20, 1), (32, 1)] {
            let mut disk = good;
            disk[place] = byte;
            assert!(matches!(decode(&disk), Err(StatusError::Record { index: 0, .. })), "{place}");
        }
        let mut disk = good;
        disk[7] = b'1';
        assert!(matches!(decode(&disk), Err(StatusError::Magic(_))));
    }
}
