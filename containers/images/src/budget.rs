//! What one image may cost, counted while it is fetched and unpacked, so that a bomb ends early.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A manifest or index; registries refuse larger ones (OCI distribution specification 1.1, 4 MiB).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// A configuration grows with the image's history only; real ones stay below 100 KiB.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// A component for the sandbox of Pads, which takes no larger one.
pub const MAX_PROGRAM_BYTES: u64 = 64 << 20;
/// Layers of one image; Docker's own limit, far below overlayfs's 500.
pub const MAX_LAYERS: usize = 127;
/// One path, its whole extended header included, is held in memory: PATH_MAX times some.
pub const MAX_EXTENDED_HEADER_BYTES: u64 = 64 << 10;
/// A layer may unpack to this many times its compressed size; real ones stay below 20, a gzip bomb
/// reaches 1,000.
const MAX_RATIO: u64 = 200;
/// Below this the ratio says nothing: a megabyte of zeros is no bomb.
const RATIO_FLOOR_BYTES: u64 = 64 << 20;

/// What one image may take, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes fetched, compressed.
    pub fetched_bytes: u64,
    /// Bytes of the unpacked archives.
    pub unpacked_bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl Default for Limits {
    /// Larger than the largest images in common use (8 GiB, 16 GiB, 2 million entries).
    fn default() -> Self {
        Self { fetched_bytes: 8 << 30, unpacked_bytes: 16 << 30, entries: 2_000_000 }
    }
}

/// What is left of [`Limits`] while an image's layers are unpacked side by side.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    unpacked_bytes: AtomicU64,
    entries: AtomicU64,
    cancelled: AtomicBool,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            unpacked_bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Ends what other layers of the image still unpack, once one has failed.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Counts one file, directory or link.
    pub(super) fn entry(&self) -> Result<(), BudgetError> {
        if self.entries.fetch_add(1, Ordering::Relaxed) >= self.limits.entries {
            return Err(BudgetError::Entries(self.limits.entries));
        }
        Ok(())
    }

    /// Counts unpacked bytes of any layer.
    fn bytes(&self, more: u64) -> Result<(), BudgetError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(BudgetError::Cancelled);
        }
        let before = self.unpacked_bytes.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.limits.unpacked_bytes {
            return Err(BudgetError::Bytes(self.limits.unpacked_bytes));
        }
        Ok(())
    }
}

/// What one layer has unpacked to, against its compressed size.
#[derive(Debug)]
pub(super) struct LayerBudget<'a> {
    budget: &'a Budget,
    compressed_bytes: u64,
    unpacked_bytes: u64,
}

impl<'a> LayerBudget<'a> {
    pub(super) fn new(budget: &'a Budget, compressed_bytes: u64) -> Self {
        Self { budget, compressed_bytes, unpacked_bytes: 0 }
    }

    /// Counts unpacked bytes of this layer.
    pub(super) fn bytes(&mut self, more: u64) -> Result<(), BudgetError> {
        self.budget.bytes(more)?;
        self.unpacked_bytes += more;
        let allowed = self.compressed_bytes.saturating_mul(MAX_RATIO).max(RATIO_FLOOR_BYTES);
        if self.unpacked_bytes > allowed {
            return Err(BudgetError::Ratio(self.compressed_bytes));
        }
        Ok(())
    }
}

/// Which limit was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// the image unpacks to too many bytes
    #[error("the image unpacks to more than {0} bytes")]
    Bytes(u64),
    /// the image has too many files
    #[error("the image has more than {0} files")]
    Entries(u64),
    /// another layer of the image failed
    #[error("cancelled")]
    Cancelled,
    /// the layer is a bomb
    #[error("the layer of {0} bytes unpacks to more than {MAX_RATIO} times its size")]
    Ratio(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_hit_by_name() {
        let limits = Limits { fetched_bytes: 0, unpacked_bytes: 1 << 40, entries: 2 };
        let budget = Budget::new(limits);
        assert_eq!((budget.entry(), budget.entry()), (Ok(()), Ok(())));
        assert_eq!(budget.entry(), Err(BudgetError::Entries(2)));
        let mut layer = LayerBudget::new(&budget, 1000);
        assert_eq!(layer.bytes(RATIO_FLOOR_BYTES), Ok(()));
        assert_eq!(layer.bytes(1), Err(BudgetError::Ratio(1000)));
        assert_eq!(layer.bytes(1 << 40), Err(BudgetError::Bytes(1 << 40)));
    }
}
