//! The only code that touches TEE devices: registers through tsm-mr, quotes through configfs-tsm,
//! and the run-time event log whose every entry is also in RTMR3.
//!
//! The library measures and asks; it judges nothing and holds no key. What it reads from the device
//! is the TDX module's word (or an emulator's: the interfaces are the same on purpose, and only a
//! verifier outside can tell them apart). Its attacker is a crash between two steps, and any second
//! writer of the log.

#![forbid(unsafe_code)]

pub mod event_log;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod report;
pub mod tdx;

pub use event_log::EventLog;
pub use tdx::TdxGuest;

use std::path::Path;
use std::{fmt, io};

use protocol::digest::{MrConfigId, Mrtd, ReportData, Rtmr, Sha384Digest};

/// The registers of a trust domain that a guest reports about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// Measurement of the initial contents.
    pub mrtd: Mrtd,
    /// RTMR0 to RTMR3.
    pub rtmrs: [Rtmr; 4],
    /// What the host bound to the domain at its creation; all zero if nothing.
    pub mr_config_id: MrConfigId,
}

/// What a guest asks of its TEE; implemented by [`TdxGuest`], and by `fixtures` in tests.
pub trait Tee: fmt::Debug + Send + Sync {
    /// All registers, each read once.
    fn registers(&self) -> Result<Registers, TeeError>;

    /// RTMR3, the register of run-time events.
    fn runtime_register(&self) -> Result<Rtmr, TeeError>;

    /// Extends RTMR3 once. After an error the register may or may not have changed: read it.
    fn extend(&self, digest: &Sha384Digest) -> Result<(), TeeError>;

    /// A quote over `report_data`, unverified; concurrent calls are the caller's to serialise.
    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, TeeError>;
}

impl<T: Tee + ?Sized> Tee for std::sync::Arc<T> {
    fn registers(&self) -> Result<Registers, TeeError> {
        (**self).registers()
    }

    fn runtime_register(&self) -> Result<Rtmr, TeeError> {
        (**self).runtime_register()
    }

    fn extend(&self, digest: &Sha384Digest) -> Result<(), TeeError> {
        (**self).extend(digest)
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, TeeError> {
        (**self).quote(report_data)
    }
}

/// Why a TEE device gave no answer, or one that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TeeError {
    /// this machine has no TDX device
    #[error(
        "no TDX device: {path} does not exist; start the guest as a TDX guest, or a dev image with its emulator"
    )]
    NoDevice {
        /// The directory that the driver would have made.
        path: String,
    },
    /// a file of the device could not be used
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// a register or a write of another length
    #[error("{path}: {found} bytes, expected {expected}")]
    Length {
        /// The file.
        path: String,
        /// Bytes that came or went.
        found: usize,
        /// Bytes that a register has.
        expected: usize,
    },
    /// quotes are served by something else than the TDX driver
    #[error("quote provider {found:?}, expected {expected:?}")]
    Provider {
        /// What `provider` says.
        found: String,
        /// The driver's name.
        expected: &'static str,
    },
    /// another request was written over this one
    #[error(
        "the quote request changed while it was answered (generation {before} before, {after} after); ask again"
    )]
    Raced {
        /// Before the quote was read.
        before: String,
        /// After it.
        after: String,
    },
    /// a quote larger than any
    #[error("a quote of more than {limit} bytes")]
    QuoteTooLarge {
        /// Bytes accepted.
        limit: usize,
    },
}

impl TeeError {
    /// An I/O error with its file.
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }
}
