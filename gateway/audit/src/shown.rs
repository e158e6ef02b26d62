//! What a log of tiles shows, judged under a head that it signed.

use gateway_domain::certificate::Certificate;
use gateway_domain::ct::{
    LeafError, LogEntry, MerkleError, TILE_WIDTH, TileId, Tiles, TreeHead, leaf_hash, parse_tile,
};
use gateway_domain::name::DomainName;

/// A tile of entries that the log has under a head.
#[derive(Debug, Clone)]
pub struct Shown {
    first: u64,
    entries: Vec<LogEntry>,
}

/// Why a log does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShownError {
    /// a tile that is needed first
    #[error(transparent)]
    Merkle(#[from] MerkleError),
    /// a tile that cannot be read
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// a position beyond the head
    #[error("the log has promised position {position}, but its head has {size} entries")]
    Beyond {
        /// The position.
        position: u64,
        /// Entries under the head.
        size: u64,
    },
    /// another certificate
    #[error("the log shows another certificate at position {0} than the one that it promised")]
    Other(u64),
}

impl Shown {
    /// A tile of entries as it was fetched. Its own hashes take the place of the log's tile of
    /// hashes, so that a proof of one entry is one of them all; `tiles` has the others.
    ///
    /// # Errors
    /// If it cannot be read, another tile is needed first, or the head has other entries.
    pub fn new(
        id: TileId,
        bytes: &[u8],
        head: &TreeHead,
        tiles: &Tiles,
    ) -> Result<Self, ShownError> {
        let entries = parse_tile(bytes, id.width())?;
        let hashes: Vec<u8> = entries.iter().flat_map(|entry| leaf_hash(&entry.leaf)).collect();
        let mut tiles = tiles.clone();
        tiles.put(id.hashes(), &hashes)?;
        let Some(first) = entries.first() else {
            return Err(ShownError::Beyond { position: id.first(), size: head.size });
        };
        tiles.check_inclusion(head, id.first(), &first.leaf)?;
        Ok(Self { first: id.first(), entries })
    }

    /// Whether the promised position has that certificate.
    ///
    /// # Errors
    /// If it has another one, or none.
    pub fn has(&self, position: u64, certificate: &Certificate) -> Result<(), ShownError> {
        let offset = position.checked_sub(self.first).filter(|offset| *offset < TILE_WIDTH);
        let entry = offset.and_then(|offset| self.entries.get(usize::try_from(offset).ok()?));
        let shown = entry.map(|entry| entry.certificate.as_ref());
        match shown {
            Some(Ok(shown)) if shown.is_same_as(certificate) => Ok(()),
            _ => Err(ShownError::Other(position)),
        }
    }

    /// The entries from a position on that are for a name, with their positions. One that cannot be
    /// read is for anybody's, and is not among them: no browser reads it either.
    pub fn for_name<'a>(
        &'a self,
        name: &'a DomainName,
        from: u64,
    ) -> impl Iterator<Item = (u64, &'a Certificate)> {
        let positions = (self.first..).zip(&self.entries);
        let readable = positions.filter_map(move |(position, entry)| {
            let certificate = entry.certificate.as_ref().ok()?;
            (position >= from).then_some((position, certificate))
        });
        readable.filter(move |(_, certificate)| {
            certificate.names().iter().any(|found| found.covers(name))
        })
    }
}

#[cfg(test)]
mod tests;
