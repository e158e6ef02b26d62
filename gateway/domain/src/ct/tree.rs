//! The tree over a log's entries, as a head states it.

/// A hash of the tree.
pub type Hash = [u8; 32];

/// A head that the log signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// The hash over them.
    pub root: Hash,
    /// When it was signed, in milliseconds since 1970.
    pub timestamp_ms: u64,
}

impl TreeHead {
    /// What a log signs (RFC 6962, 3.5).
    pub(super) fn signed(&self) -> Vec<u8> {
        let (time, size) = (self.timestamp_ms.to_be_bytes(), self.size.to_be_bytes());
        [[0, 1].as_slice(), &time, &size, &self.root].concat()
    }
}
