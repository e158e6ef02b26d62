//! Where the live blocks of an encrypted btrfs are: read from its own trees, by the locked
//! btrfs-progs, out of a decrypted copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::lab;
use crate::served_disk::{BLOCK_BYTES, Image};
use crate::xts::Xts;

/// Group of `inputs.lock` with btrfs-progs.
const TOOLS: &str = "file-systems";
/// Blocks with a superblock, of disks between 64 MiB and 256 GiB.
pub const SUPERBLOCKS: [u64; 2] =
    [(64 << 10) / BLOCK_BYTES as u64, (64 << 20) / BLOCK_BYTES as u64];

/// What a live extent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Content of files.
    Data,
    /// A node of a tree.
    Tree,
    /// A superblock.
    Super,
}

/// Blocks that belong together: a node, a superblock, or one block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// What they hold.
    pub kind: Kind,
    /// The first.
    pub first: u64,
    /// How many.
    pub blocks: u64,
}

/// What the trees of a file system say.
#[derive(Debug)]
pub struct Live {
    /// Every live extent.
    pub positions: Vec<Position>,
    /// The node that the superblock names.
    pub root: Position,
}

/// Reads the trees of the file system on `disk`, which is encrypted under `key`.
pub fn live(disk: &Image, key: &[u8; 64]) -> Live {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain.img");
    decrypt(disk, key, &plain);
    let chunks = chunks(&inspect(&["dump-tree", "-t", "chunk"], &plain));
    let head = inspect(&["dump-super"], &plain);
    let field = |name: &str| -> u64 {
        let line = head.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
    };
    let node_bytes = field("nodesize");
    let position = |kind, logical: u64, bytes: u64| {
        let (start, disk) = chunks.range(..=logical).next_back().expect("a chunk has it");
        let first = (disk + logical - start) / BLOCK_BYTES as u64;
        Position { kind, first, blocks: bytes / BLOCK_BYTES as u64 }
    };
    let mut positions: Vec<Position> = SUPERBLOCKS
        .iter()
        .map(|first| Position { kind: Kind::Super, first: *first, blocks: 1 })
        .collect();
    let trees = inspect(&["dump-tree", "-t", "extent"], &plain);
    for [logical, kind, offset] in trees.lines().filter_map(item_key) {
        match kind {
            "METADATA_ITEM" => {
                positions.push(position(Kind::Tree, number(logical), node_bytes));
            }
            "EXTENT_ITEM" => {
                let whole = position(Kind::Data, number(logical), number(offset));
                let blocks = whole.first..whole.first + whole.blocks;
                positions.extend(blocks.map(|first| Position { first, blocks: 1, ..whole }));
            }
            _ => {}
        }
    }
    Live { positions, root: position(Kind::Tree, field("root"), node_bytes) }
}

/// Leaves what was written to `disk` in the clear in a sparse file.
fn decrypt(disk: &Image, key: &[u8; 64], to: &Path) {
    let file = File::create(to).unwrap();
    file.set_len(disk.bytes()).unwrap();
    let xts = Xts::new(key);
    for (at, block) in disk.written() {
        file.write_all_at(&xts.decrypt(at, block), at * BLOCK_BYTES as u64).unwrap();
    }
}

fn inspect(arguments: &[&str], file: &Path) -> String {
    let root = lab::builder().root(TOOLS).unwrap().path;
    let mut command = lab::tool(&root, "usr/bin/btrfs");
    let output = command.arg("inspect-internal").args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Where the chunks are on the disk, by the logical address at which they start.
fn chunks(tree: &str) -> BTreeMap<u64, u64> {
    let mut chunks = BTreeMap::new();
    let mut logical = None;
    for line in tree.lines() {
        if let Some([_, "CHUNK_ITEM", start]) = item_key(line) {
            logical = Some(number(start));
        }
        if let ["stripe", "0", "devid", "1", "offset", offset] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        {
            chunks.insert(logical.take().expect("one stripe a chunk"), number(offset));
        }
    }
    chunks
}

/// The three parts of `item 0 key (1 2 3) …`.
fn item_key(line: &str) -> Option<[&str; 3]> {
    let key = line.trim().strip_prefix("item ")?.split_once('(')?.1.split_once(')')?.0;
    key.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_chunks_are_read_as_btrfs_progs_print_them() {
        let tree = "\titem 1 key (FIRST_CHUNK_TREE CHUNK_ITEM 13631488) itemoff 16105 itemsize 80\n\
                    \t\tlength 8388608 owner 2 stripe_len 65536 type DATA|single\n\
                    \t\tnum_stripes 1 sub_stripes 1\n\t\t\tstripe 0 devid 1 offset 5242880\n";
        assert_eq!(chunks(tree), BTreeMap::from([(13_631_488, 5_242_880)]));
        let leaf = "\titem 0 key (30408704 METADATA_ITEM 0) itemoff 16250 itemsize 33";
        assert_eq!(item_key(leaf), Some(["30408704", "METADATA_ITEM", "0"]));
        assert_eq!(item_key("leaf 30457856 items 10 free space"), None);
    }
}
