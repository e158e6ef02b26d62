//! A disk that remembers all that was written to it: what its host can put back, and what a power
//! cut leaves of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::dice::Dice;
use crate::nbd::Export;

/// Bytes of a block: what the guest encrypts as one.
pub const BLOCK_BYTES: usize = 4096;

/// The content of a block.
pub type Block = Arc<[u8]>;

/// What is where nothing was written.
static ZEROES: LazyLock<Block> = LazyLock::new(|| vec![0; BLOCK_BYTES].into());

/// The content of a disk; a copy costs little.
#[derive(Debug, Clone)]
pub struct Image {
    bytes: u64,
    below: Option<Arc<File>>,
    blocks: BTreeMap<u64, Block>,
}

impl Image {
    /// An empty disk.
    pub fn empty(bytes: u64) -> Self {
        Self { bytes, below: None, blocks: BTreeMap::new() }
    }

    /// The disk in a file. The file stays as it is until [`Self::store`].
    pub fn of(path: &Path) -> Self {
        let below = File::options().read(true).write(true).open(path).unwrap();
        let bytes = below.metadata().unwrap().len();
        Self { bytes, below: Some(Arc::new(below)), blocks: BTreeMap::new() }
    }

    /// Writes what differs back to the file.
    pub fn store(&self) {
        let below = self.below.as_ref().unwrap();
        for (at, block) in &self.blocks {
            below.write_all_at(block, at * BLOCK_BYTES as u64).unwrap();
        }
        below.sync_all().unwrap();
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is in a block.
    pub fn block(&self, at: u64) -> Block {
        if let Some(block) = self.blocks.get(&at) {
            return Arc::clone(block);
        }
        let Some(below) = &self.below else { return Arc::clone(&ZEROES) };
        let mut block = vec![0; BLOCK_BYTES];
        match below.read_exact_at(&mut block, at * BLOCK_BYTES as u64) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => panic!("{error}"),
            _ => block.into(),
        }
    }

    /// Puts something into a block.
    pub fn put(&mut self, at: u64, block: Block) {
        assert_eq!(block.len(), BLOCK_BYTES);
        self.blocks.insert(at, block);
    }

    /// The blocks that were written since the disk was empty or read from its file.
    pub fn written(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter().map(|(at, block)| (*at, block))
    }

    /// Where it differs from another that began as it did.
    pub fn differing(&self, other: &Self) -> Vec<u64> {
        let mut all: Vec<u64> = self.blocks.keys().chain(other.blocks.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|at| self.block(*at) != other.block(*at));
        all
    }
}

/// One block that was written.
#[derive(Debug)]
struct Written {
    at: u64,
    before: Block,
}

/// A disk in use. A moment of it is a number of blocks that were written.
#[derive(Debug)]
pub struct Disk {
    image: Image,
    written: Vec<Written>,
    /// Indices in `written` of each block's own, ascending.
    of_block: BTreeMap<u64, Vec<usize>>,
    /// Moments of flushes, ascending.
    flushes: Vec<usize>,
}

impl Disk {
    /// One with this content.
    pub fn new(image: Image) -> Self {
        Self { image, written: Vec::new(), of_block: BTreeMap::new(), flushes: vec![0] }
    }

    /// What is on it.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Replaces what is on it; the disk as it was, with its past, is the caller's.
    pub fn replace(&mut self, image: Image) -> Self {
        std::mem::replace(self, Self::new(image))
    }

    /// The moment that is now.
    pub fn now(&self) -> usize {
        self.written.len()
    }

    /// How many blocks were written since the last flush.
    pub fn unflushed(&self) -> usize {
        self.now() - self.flushed_before(self.now())
    }

    /// What a power cut now may leave of it.
    pub fn after_power_cut(&self, dice: &mut Dice) -> Image {
        self.after_power_cut_at(self.now(), dice)
    }

    /// What a power cut at a moment may have left: all that was flushed, and of what was written
    /// since the writes up to a random one, or a random choice of these.
    pub fn after_power_cut_at(&self, moment: usize, dice: &mut Dice) -> Image {
        let flushed = self.flushed_before(moment);
        let end = flushed + dice.below(moment - flushed + 1);
        let all_up_to_it = dice.below(2) == 0;
        let mut image = self.at(flushed);
        for index in flushed..end {
            let at = self.written[index].at;
            if all_up_to_it || dice.below(2) == 0 {
                image.put(at, self.block_at(index + 1, at));
            }
        }
        image
    }

    /// From here on no flush counts that was done: as on a disk that does not honour them.
    pub fn forget_flushes(&mut self) {
        self.flushes = vec![0];
    }

    /// The moment of the last flush that was done at a moment.
    fn flushed_before(&self, moment: usize) -> usize {
        *self.flushes.iter().rfind(|flush| **flush <= moment).expect("the first is at 0")
    }

    /// What was on it at a moment.
    pub fn at(&self, moment: usize) -> Image {
        let mut image = self.image.clone();
        for written in self.written[moment..].iter().rev() {
            image.put(written.at, Arc::clone(&written.before));
        }
        image
    }

    /// The moments right after a block was written, the oldest first.
    pub fn moments(&self, at: u64) -> impl Iterator<Item = usize> {
        self.of_block.get(&at).into_iter().flatten().map(|index| index + 1)
    }

    /// What was in a block at a moment.
    pub fn block_at(&self, moment: usize, at: u64) -> Block {
        let later = self.of_block.get(&at).into_iter().flatten().find(|index| **index >= moment);
        later.map_or_else(|| self.image.block(at), |index| Arc::clone(&self.written[*index].before))
    }

    /// What was written since a moment: a block that was overwritten is there with each content.
    pub fn written_since(&self, moment: usize) -> impl Iterator<Item = (u64, Block)> {
        let written = self.written.iter().enumerate().skip(moment);
        written.map(|(index, written)| (written.at, self.block_at(index + 1, written.at)))
    }

    fn write_block(&mut self, at: u64, block: Block) {
        self.of_block.entry(at).or_default().push(self.written.len());
        self.written.push(Written { at, before: self.image.block(at) });
        self.image.put(at, block);
    }
}

impl Export for Disk {
    fn bytes(&self) -> u64 {
        self.image.bytes
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) {
        let mut done = 0;
        while done < to.len() {
            let at = offset + done as u64;
            let inside = (at % BLOCK_BYTES as u64) as usize;
            let length = (BLOCK_BYTES - inside).min(to.len() - done);
            let block = self.image.block(at / BLOCK_BYTES as u64);
            to[done..done + length].copy_from_slice(&block[inside..inside + length]);
            done += length;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let inside = (at % BLOCK_BYTES as u64) as usize;
            let length = (BLOCK_BYTES - inside).min(data.len() - done);
            let number = at / BLOCK_BYTES as u64;
            let mut block = self.image.block(number).to_vec();
            block[inside..inside + length].copy_from_slice(&data[done..done + length]);
            self.write_block(number, block.into());
            done += length;
        }
    }

    fn flush(&mut self) {
        self.flushes.push(self.written.len());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK_BYTES]
    }

    #[test]
    fn a_disk_goes_back_to_any_moment_and_a_flush_is_one() {
        let mut disk = Disk::new(Image::empty(8 * BLOCK_BYTES as u64));
        disk.write(0, &block(1));
        disk.write(BLOCK_BYTES as u64, &[block(2), block(3)].concat());
        disk.flush();
        disk.write(512, &[9; 512]);
        assert_eq!((disk.now(), disk.unflushed()), (4, 1));
        assert_eq!(disk.image().block(0)[511..1025], [&[1][..], &[9; 512], &[1]].concat()[..]);
        assert_eq!(disk.at(3).block(0)[..], block(1)[..]);
        assert_eq!(disk.at(1).differing(&disk.at(3)), [1, 2]);
        assert_eq!(disk.at(0).differing(&Image::empty(1)), [0_u64; 0]);
        assert_eq!(disk.moments(0).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(disk.block_at(3, 0)[..], block(1)[..]);
        assert_eq!(disk.block_at(4, 0), disk.image().block(0));
        let mut read = vec![0; 1024];
        disk.read(2 * BLOCK_BYTES as u64 - 512, &mut read);
        assert_eq!(read, [[2; 512], [3; 512]].concat());
    }

    #[test]
    fn a_power_cut_keeps_what_was_flushed_and_any_part_of_the_rest() {
        let mut disk = Disk::new(Image::empty(8 * BLOCK_BYTES as u64));
        disk.write(0, &block(1));
        disk.flush();
        disk.write(BLOCK_BYTES as u64, &block(2));
        disk.write(2 * BLOCK_BYTES as u64, &block(3));
        let mut dice = Dice::of_this_run("power cuts of a disk");
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let image = disk.after_power_cut(&mut dice);
            assert_eq!(image.block(0)[0], 1);
            seen.insert([image.block(1)[0], image.block(2)[0]]);
        }
        assert_eq!(seen, BTreeSet::from([[0, 0], [0, 3], [2, 0], [2, 3]]));
        let earlier = disk.after_power_cut_at(1, &mut dice);
        assert_eq!([0, 1, 2].map(|at| earlier.block(at)[0]), [1, 0, 0]);
    }

    #[test]
    fn a_file_below_changes_only_when_the_image_is_stored() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [block(1), block(2)].concat()).unwrap();
        let mut disk = Disk::new(Image::of(file.path()));
        disk.write(0, &block(7));
        assert_eq!(std::fs::read(file.path()).unwrap()[0], 1);
        assert_eq!(disk.at(0).block(0)[..], block(1)[..]);
        disk.image().store();
        assert_eq!(std::fs::read(file.path()).unwrap(), [block(7), block(2)].concat());
    }
}
