//! What a log shows, and what it hides.

use gateway_domain::ct::fixtures::{Leaves, entry};

use super::*;
use crate::fixtures::{Made, certificate};

/// A log of certificates: its leaves, and its entries as tiles have them.
struct Log {
    made: Vec<Made>,
    entries: Vec<Vec<u8>>,
    leaves: Leaves,
}

impl Log {
    fn new(count: u64) -> Self {
        let made: Vec<Made> = (0..count).map(|_| certificate(&["*.example.org"])).collect();
        let entries = made.iter().zip(0..).map(|(made, at)| entry(&made.der, 7, at));
        let entries: Vec<Vec<u8>> = entries.collect();
        let leaf = |entry: &Vec<u8>| parse_tile(entry, 1).unwrap().remove(0).leaf;
        let leaves = Leaves(entries.iter().map(leaf).collect());
        Self { made, entries, leaves }
    }

    fn shown(&self, position: u64, head: &TreeHead) -> Result<Shown, ShownError> {
        let id = TileId::data(position, head.size);
        let first = usize::try_from(id.first()).unwrap();
        let width = usize::try_from(id.width()).unwrap();
        let bytes = self.entries[first..first + width].concat();
        let mut tiles = Tiles::default();
        loop {
            match Shown::new(id, &bytes, head, &tiles) {
                Err(ShownError::Merkle(MerkleError::Missing(id))) => {
                    tiles.put(id, &self.leaves.tile(id)).unwrap();
                }
                shown => return shown,
            }
        }
    }
}

#[test]
fn a_promise_is_kept_by_the_certificate_at_its_position() {
    let log = Log::new(3);
    let shown = log.shown(1, &log.leaves.head()).unwrap();
    assert_eq!(shown.has(1, &log.made[1].certificate), Ok(()));
    assert_eq!(shown.has(2, &log.made[1].certificate), Err(ShownError::Other(2)));
    assert_eq!(shown.has(300, &log.made[1].certificate), Err(ShownError::Other(300)));
}

#[test]
fn entries_that_are_not_under_the_head_are_not_shown() {
    let mut log = Log::new(3);
    let head = log.leaves.head();
    log.entries[2] = entry(&certificate(&["a.example.org"]).der, 7, 2);
    assert!(matches!(log.shown(0, &head), Err(ShownError::Merkle(MerkleError::NotIncluded(0)))));
}

#[test]
fn certificates_for_a_name_are_found_from_a_position_on() {
    let log = Log::new(4);
    let shown = log.shown(0, &log.leaves.head()).unwrap();
    let name = "a.example.org".parse().unwrap();
    let positions = |from| shown.for_name(&name, from).map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(positions(0), [0, 1, 2, 3]);
    assert_eq!(positions(3), [3]);
    let other = "b.example.net".parse().unwrap();
    assert_eq!(shown.for_name(&other, 0).count(), 0);
}
