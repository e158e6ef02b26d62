//! Logs of certificates: their heads, and their entries as tiles
//! (RFC 6962; c2sp.org/static-ct-api).
//!
//! A log may lie like everybody else: a head counts with the log's signature, an entry with a proof
//! that it is under the head, and a later head with a proof that the earlier one is in it.

mod head;
mod leaf;
mod merkle;
mod tree;

pub use head::{HeadError, LogKey, MAX_CHECKPOINT_BYTES};
pub use leaf::{LeafError, LogEntry, MAX_TILE_BYTES, parse_tile};
pub use merkle::{MerkleError, Tile, TileId, Tiles, leaf_hash};
pub use tree::{Hash, TreeHead};

/// Entries of a tile, and hashes of a tile.
pub const TILE_WIDTH: u64 = 256;

/// A log of tests.
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures {
    pub use super::head::fixtures::{checkpoint, spki};
    pub use super::leaf::fixtures::entry;
    pub use super::merkle::fixtures::Leaves;
}
