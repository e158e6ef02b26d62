//! A TEE in software, for tests of what stands on one.
//!
//! No product has this module: it exists in tests, and for crates that name the feature in their
//! development dependencies (`cargo xtask tidy` checks it).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use protocol::digest::{MrConfigId, Mrtd, ReportData, Rtmr, Sha384Digest};

use crate::{Registers, Tee, TeeError};

/// Registers in software, and a "quote" that is RTMR3 and the report data.
#[derive(Debug, Default)]
pub struct SoftwareTee {
    runtime: Mutex<Option<Rtmr>>,
    refuses: AtomicBool,
}

impl SoftwareTee {
    /// RTMR3.
    pub fn value(&self) -> Rtmr {
        let runtime = self.runtime.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        runtime.unwrap_or(Rtmr::ZERO)
    }

    /// Makes the next extension fail before the register changes.
    pub fn refuse_next(&self) {
        self.refuses.store(true, Relaxed);
    }
}

impl Tee for SoftwareTee {
    fn registers(&self) -> Result<Registers, TeeError> {
        let rtmrs = [Rtmr([0; 48]), Rtmr([1; 48]), Rtmr([2; 48]), self.value()];
        Ok(Registers { mrtd: Mrtd([9; 48]), rtmrs, mr_config_id: MrConfigId::ZERO })
    }

    fn runtime_register(&self) -> Result<Rtmr, TeeError> {
        Ok(self.value())
    }

    fn extend(&self, digest: &Sha384Digest) -> Result<(), TeeError> {
        if self.refuses.swap(false, Relaxed) {
            return Err(TeeError::NoDevice { path: "a test".into() });
        }
        let extended = self.value().extended_by(digest);
        *self.runtime.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(extended);
        Ok(())
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, TeeError> {
        Ok([self.value().as_bytes(), report_data.as_bytes()].concat())
    }
}
