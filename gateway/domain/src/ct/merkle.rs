//! Proofs over the hashes that a log shows as tiles (c2sp.org/tlog-tiles): an entry is under a
//! head, and an earlier head is in a later one.
//!
//! Tiles are believed nothing: what is computed from them counts only if it leads to the hash of a
//! head that the log signed.

use std::collections::BTreeMap;
use std::fmt;

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2::{Digest as _, Sha256};

use super::TILE_WIDTH;
use super::tree::{Hash, TreeHead};

/// Largest tree: no log comes near, and positions can be doubled without overflow.
const MAX_SIZE: u64 = 1 << 48;
/// Levels of the tree in one tile.
const TILE_LEVELS: u32 = 8;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// A tile by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    kind: Kind,
    number: u64,
    width: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The entries themselves.
    Data,
    /// Hashes of a level, counted in tiles.
    Hashes(u32),
}

/// The hashes of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile(Vec<Hash>);

/// Tiles that were fetched.
#[derive(Debug, Clone, Default)]
pub struct Tiles(BTreeMap<TileId, Tile>);

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// a tile that is needed and was not given
    #[error("the tile {0} is needed")]
    Missing(TileId),
    /// a tile of another length
    #[error("the tile {id} has {found} bytes, expected {expected}")]
    Length {
        /// The tile.
        id: TileId,
        /// Its bytes.
        found: usize,
        /// The bytes of its hashes.
        expected: usize,
    },
    /// a head beyond every log
    #[error("a head of {0} entries, at most {MAX_SIZE} are accepted")]
    Size(u64),
    /// an entry that is not under the head
    #[error("the head does not have this entry at position {0}")]
    NotIncluded(u64),
    /// heads of two histories
    #[error("the head of {later} entries does not continue the one of {earlier}")]
    NotConsistent {
        /// Entries of the earlier one.
        earlier: u64,
        /// Entries of the later one.
        later: u64,
    },
}

impl TileId {
    /// The tile of entries that has a position, as it is under a head of `size` entries.
    pub fn data(position: u64, size: u64) -> Self {
        Self::of(Kind::Data, position / TILE_WIDTH, size)
    }

    fn of(kind: Kind, number: u64, count: u64) -> Self {
        let width = count.saturating_sub(number.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH);
        Self { kind, number, width }
    }

    /// The tile of hashes over a tile's entries.
    pub fn hashes(self) -> Self {
        Self { kind: Kind::Hashes(0), ..self }
    }

    /// The first position of a tile of entries.
    pub fn first(&self) -> u64 {
        self.number * TILE_WIDTH
    }

    /// Number of its entries or hashes.
    pub fn width(&self) -> u64 {
        self.width
    }
}

impl fmt::Display for TileId {
    /// As the address has it, behind the log's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Data => f.write_str("tile/data/")?,
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![format!("{:03}", self.number % 1000)];
        let mut rest = self.number / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        match self.width {
            TILE_WIDTH => Ok(()),
            width => write!(f, ".p/{width}"),
        }
    }
}

impl Tiles {
    /// Keeps a tile of hashes as it was fetched.
    ///
    /// # Errors
    /// If it has another length than its address says.
    pub fn put(&mut self, id: TileId, bytes: &[u8]) -> Result<(), MerkleError> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.len() as u64 != id.width {
            let expected =
                usize::try_from(id.width).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
            return Err(MerkleError::Length { id, found: bytes.len(), expected });
        }
        self.0.insert(id, Tile(hashes.to_vec()));
        Ok(())
    }

    /// Whether a position of the log has this entry (the bytes of its leaf).
    ///
    /// # Errors
    /// If a tile is missing, or the entry is not there.
    pub fn check_inclusion(
        &self,
        head: &TreeHead,
        position: u64,
        leaf: &[u8],
    ) -> Result<(), MerkleError> {
        bounded(head)?;
        let not_included = MerkleError::NotIncluded(position);
        if position >= head.size {
            return Err(not_included);
        }
        let nodes = ct_merkle::indices_for_inclusion_proof(head.size, position);
        let proof = InclusionProof::try_from_bytes(self.hashes(&nodes, head.size)?);
        let proof = proof.map_err(|_| not_included.clone())?;
        root(head).verify_inclusion(&leaf, position, &proof).map_err(|_| not_included)
    }

    /// Whether a later head has all entries of an earlier one, in their order.
    ///
    /// # Errors
    /// If a tile is missing, or the heads are of two histories.
    pub fn check_consistency(
        &self,
        earlier: &TreeHead,
        later: &TreeHead,
    ) -> Result<(), MerkleError> {
        bounded(earlier)?;
        bounded(later)?;
        let (from, to) = (earlier.size, later.size);
        let two_histories = || MerkleError::NotConsistent { earlier: from, later: to };
        let added = to.checked_sub(from).ok_or_else(two_histories)?;
        // Every log begins with nothing.
        if from == 0 {
            return Ok(());
        }
        let nodes = ct_merkle::indices_for_consistency_proof(from, added);
        let proof = ConsistencyProof::try_from_bytes(self.hashes(&nodes, to)?);
        let proof = proof.map_err(|_| two_histories())?;
        root(later).verify_consistency(&root(earlier), &proof).map_err(|_| two_histories())
    }

    /// The hashes of nodes, which are counted as in an array: leaves at even numbers, each parent
    /// between its children.
    fn hashes(&self, nodes: &[u64], size: u64) -> Result<Vec<u8>, MerkleError> {
        let mut bytes = Vec::with_capacity(nodes.len() * HASH_BYTES);
        for node in nodes {
            let level = node.trailing_ones();
            let first = (node >> (level + 1)) << level;
            let end = first.saturating_add(1 << level).min(size);
            bytes.extend(self.range(first, end, size)?);
        }
        Ok(bytes)
    }

    /// The hash over the entries from `first` to before `end`, which begin at a multiple of the
    /// power of two that holds them.
    fn range(&self, first: u64, end: u64, size: u64) -> Result<Hash, MerkleError> {
        let count = end - first;
        if count.is_power_of_two() {
            return self.subtree(count.trailing_zeros(), first, size);
        }
        let left = 1 << (u64::BITS - 1 - count.leading_zeros());
        let [left, right] =
            [self.range(first, first + left, size)?, self.range(first + left, end, size)?];
        Ok(parent(&left, &right))
    }

    /// The hash over a full subtree.
    fn subtree(&self, level: u32, first: u64, size: u64) -> Result<Hash, MerkleError> {
        let (tile_level, within) = (level / TILE_LEVELS, level % TILE_LEVELS);
        let shift = tile_level * TILE_LEVELS;
        let position = first >> shift;
        let id = TileId::of(Kind::Hashes(tile_level), position / TILE_WIDTH, size >> shift);
        let tile = self.0.get(&id).ok_or(MerkleError::Missing(id))?;
        let offset = usize::try_from(position % TILE_WIDTH).unwrap_or(usize::MAX);
        let part = tile.0.get(offset..).and_then(|rest| rest.get(..1 << within));
        let mut hashes = part.ok_or(MerkleError::Missing(id))?.to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        }
        Ok(hashes[0])
    }
}

/// The hash of an entry (RFC 6962, 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

fn root(head: &TreeHead) -> RootHash<Sha256> {
    RootHash::new(head.root.into(), head.size)
}

fn bounded(head: &TreeHead) -> Result<(), MerkleError> {
    match head.size {
        0..=MAX_SIZE => Ok(()),
        size => Err(MerkleError::Size(size)),
    }
}

/// A log in memory, whose head and tiles are computed by the definition.
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures {
    use super::*;

    /// Leaves of a log.
    #[derive(Debug, Clone, Default)]
    pub struct Leaves(pub Vec<Vec<u8>>);

    impl Leaves {
        /// The head over all of them.
        pub fn head(&self) -> TreeHead {
            let hashes: Vec<Hash> = self.0.iter().map(|leaf| leaf_hash(leaf)).collect();
            TreeHead { size: hashes.len() as u64, root: over(&hashes), timestamp_ms: 0 }
        }

        /// A tile of hashes under that head.
        pub fn tile(&self, id: TileId) -> Vec<u8> {
            let Kind::Hashes(level) = id.kind else { panic!("a tile of entries") };
            let hashes: Vec<Hash> = self.0.iter().map(|leaf| leaf_hash(leaf)).collect();
            let each = 1_usize << (TILE_LEVELS * level);
            let first = usize::try_from(id.number * TILE_WIDTH).expect("a small log");
            let width = usize::try_from(id.width).expect("a small tile");
            let nodes = hashes.chunks_exact(each).map(over).skip(first).take(width);
            nodes.flatten().collect()
        }
    }

    /// The hash of a tree (RFC 6962, 2.1).
    fn over(hashes: &[Hash]) -> Hash {
        match hashes {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                parent(&over(left), &over(right))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::Leaves;
    use super::*;

    fn leaves(count: usize) -> Leaves {
        Leaves((0..count).map(|index| index.to_string().into_bytes()).collect())
    }

    /// Fetches what is missing until the check comes to an end.
    fn with_tiles(
        log: &Leaves,
        check: impl Fn(&Tiles) -> Result<(), MerkleError>,
    ) -> Result<(), MerkleError> {
        let mut tiles = Tiles::default();
        for _ in 0..32 {
            match check(&tiles) {
                Err(MerkleError::Missing(id)) => tiles.put(id, &log.tile(id))?,
                result => return result,
            }
        }
        panic!("it never ends")
    }

    #[test]
    fn addresses_are_those_of_the_specification() {
        let data = |position, size| TileId::data(position, size).to_string();
        assert_eq!(data(0, 70_000), "tile/data/000");
        assert_eq!(data(69_999, 70_000), "tile/data/273.p/112");
        let far = TileId::of(Kind::Hashes(2), 1_234_067, u64::MAX);
        assert_eq!(far.to_string(), "tile/2/x001/x234/067");
    }

    #[test]
    fn an_entry_is_found_where_it_is_and_nowhere_else() {
        for count in [1, 2, 255, 256, 257, 600] {
            let log = leaves(count);
            let head = log.head();
            for position in [0, count / 2, count - 1] {
                let leaf = &log.0[position];
                let at = |at: u64| with_tiles(&log, |tiles| tiles.check_inclusion(&head, at, leaf));
                assert_eq!(at(position as u64), Ok(()), "{position} of {count}");
                let elsewhere = at(position as u64 + 1);
                assert_eq!(elsewhere, Err(MerkleError::NotIncluded(position as u64 + 1)));
            }
        }
    }

    #[test]
    fn a_log_of_several_levels_of_tiles_proves_its_entries() {
        let log = leaves(66_000);
        let head = log.head();
        for position in [0, 65_535, 65_536, 65_999] {
            let leaf = &log.0[position];
            let at = position as u64;
            assert_eq!(with_tiles(&log, |tiles| tiles.check_inclusion(&head, at, leaf)), Ok(()));
        }
    }

    #[test]
    fn a_log_that_changed_an_entry_does_not_continue_its_head() {
        let earlier = leaves(300).head();
        let mut log = leaves(700);
        assert_eq!(
            with_tiles(&log, |tiles| tiles.check_consistency(&earlier, &log.head())),
            Ok(())
        );
        log.0[10] = b"other".to_vec();
        let later = log.head();
        let changed = with_tiles(&log, |tiles| tiles.check_consistency(&earlier, &later));
        assert_eq!(changed, Err(MerkleError::NotConsistent { earlier: 300, later: 700 }));
        let back = with_tiles(&log, |tiles| tiles.check_consistency(&later, &earlier));
        assert_eq!(back, Err(MerkleError::NotConsistent { earlier: 700, later: 300 }));
    }

    #[test]
    fn tiles_of_another_length_and_heads_beyond_every_log_are_refused() {
        let mut tiles = Tiles::default();
        let id = TileId::of(Kind::Hashes(0), 0, 3);
        assert!(matches!(tiles.put(id, &[0; 95]), Err(MerkleError::Length { .. })));
        assert!(matches!(tiles.put(id, &[0; 128]), Err(MerkleError::Length { .. })));
        let head = TreeHead { size: u64::MAX, root: [0; 32], timestamp_ms: 0 };
        assert_eq!(tiles.check_inclusion(&head, 0, b""), Err(MerkleError::Size(u64::MAX)));
        let earlier = TreeHead { size: 1, ..head };
        assert_eq!(tiles.check_consistency(&earlier, &head), Err(MerkleError::Size(u64::MAX)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_head_of_a_log_is_continued_by_its_later_ones(from in 0..600_usize, added in 0..600_usize) {
            let log = leaves(from + added);
            let (earlier, later) = (leaves(from).head(), log.head());
            prop_assert_eq!(with_tiles(&log, |tiles| tiles.check_consistency(&earlier, &later)), Ok(()));
        }
    }
}
