//! Moves of disks in memory, with the power cut at every step and a host that puts back what it
//! has seen.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::super::journal::SLOT_BLOCKS;
use super::*;

const FROM: [u8; 64] = [1; 64];
const TO: [u8; 64] = [2; 64];
const KEYS: Keys<'static> = Keys { from: &FROM, to: &TO };
/// Enough for several pieces.
const BLOCKS: u64 = END_BLOCK + 270;
/// What a power cut leaves or not as a whole.
const SECTOR_BYTES: usize = 512;

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// A disk whose cache is lost when its power is cut.
#[derive(Clone)]
struct Memory {
    safe: Vec<u8>,
    /// Writes since the last flush.
    cached: Vec<(usize, Vec<u8>)>,
    /// Writes and flushes that there were, and after how many the power is cut.
    steps: usize,
    cut_after: usize,
}

struct Disk(RefCell<Memory>);

impl Disk {
    fn of(bytes: Vec<u8>, cut_after: usize) -> Self {
        Self(RefCell::new(Memory { safe: bytes, cached: Vec::new(), steps: 0, cut_after }))
    }

    fn without_cut(bytes: Vec<u8>) -> Self {
        Self::of(bytes, usize::MAX)
    }

    /// What is read of it while its power is on.
    fn bytes(&self) -> Vec<u8> {
        let disk = self.0.borrow();
        let mut bytes = disk.safe.clone();
        for (at, data) in &disk.cached {
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        bytes
    }

    /// What a power cut leaves: everything that was flushed, and any of the sectors written since.
    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let disk = self.0.borrow();
        let mut bytes = disk.safe.clone();
        let all = dice.roll() % 4;
        for (at, data) in &disk.cached {
            for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                let kept = match all {
                    0 => false,
                    1 => true,
                    _ => dice.roll().is_multiple_of(2),
                };
                if kept {
                    let at = at + index * SECTOR_BYTES;
                    bytes[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        bytes
    }

    fn step(&self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        if disk.steps == disk.cut_after {
            return Err(io::Error::other("the power is cut"));
        }
        disk.steps += 1;
        Ok(())
    }
}

impl Blocks for Disk {
    fn count(&self) -> u64 {
        (self.0.borrow().safe.len() / BLOCK_BYTES) as u64
    }

    fn read(&self, first: u64, to: &mut [u8]) -> io::Result<()> {
        let at = first as usize * BLOCK_BYTES;
        let disk = self.0.borrow();
        to.copy_from_slice(&disk.safe[at..at + to.len()]);
        for (start, data) in &disk.cached {
            let (first, end) = (at.max(*start), (at + to.len()).min(start + data.len()));
            if first < end {
                to[first - at..end - at].copy_from_slice(&data[first - start..end - start]);
            }
        }
        Ok(())
    }

    fn write(&self, first: u64, from: &[u8]) -> io::Result<()> {
        self.step()?;
        self.0.borrow_mut().cached.push((first as usize * BLOCK_BYTES, from.to_vec()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.step()?;
        let bytes = self.bytes();
        let mut disk = self.0.borrow_mut();
        (disk.safe, disk.cached) = (bytes, Vec::new());
        Ok(())
    }
}

/// A block of the file system; none where it never wrote.
fn content(number: u64) -> Option<[u8; BLOCK_BYTES]> {
    let hole = (300..345).contains(&number) || number % 41 == 3;
    (!hole).then(|| std::array::from_fn(|index| (number as usize * 31 + index / 64) as u8))
}

fn is_slot(number: u64) -> bool {
    (FIRST_BLOCK..END_BLOCK).contains(&number)
}

/// A disk as a guest left it under the old key.
fn disk() -> Vec<u8> {
    let xts = Xts::new(&FROM);
    let block = |number| {
        let mut block = content(number).unwrap_or([0; BLOCK_BYTES]);
        if content(number).is_some() {
            xts.encrypt(number, &mut block);
        }
        block
    };
    (0..BLOCKS).flat_map(block).collect()
}

fn block_of(bytes: &[u8], number: u64) -> [u8; BLOCK_BYTES] {
    bytes[number as usize * BLOCK_BYTES..][..BLOCK_BYTES].try_into().unwrap()
}

/// What a mount under the new key reads.
fn plain(bytes: &[u8], number: u64) -> [u8; BLOCK_BYTES] {
    let mut block = block_of(bytes, number);
    Xts::new(&TO).decrypt(number, &mut block);
    block
}

fn assert_moved(bytes: &[u8], what: &str) {
    for number in (0..BLOCKS).filter(|number| !is_slot(*number)) {
        match content(number) {
            Some(content) => assert!(plain(bytes, number) == content, "{what}: block {number}"),
            None => assert!(block_of(bytes, number) == [0; BLOCK_BYTES], "{what}: hole {number}"),
        }
    }
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn moved(bytes: Vec<u8>) -> Vec<u8> {
    let disk = Disk::without_cut(bytes);
    move_all(&disk, &KEYS, go_on).unwrap();
    assert!(disk.0.borrow().cached.is_empty(), "the end is flushed");
    disk.bytes()
}

#[test]
fn everything_is_under_the_new_key_holes_stay_and_a_second_try_writes_nothing() {
    let disk = Disk::without_cut(disk());
    let mut seen = Vec::new();
    let on = |behind| {
        seen.push(behind);
        ControlFlow::Continue(())
    };
    move_all(&disk, &KEYS, on).unwrap();
    assert_moved(&disk.bytes(), "moved");
    assert!(seen.is_sorted() && seen.last() == Some(&BLOCKS), "{seen:?}");
    let steps = disk.0.borrow().steps;
    move_all(&disk, &KEYS, go_on).unwrap();
    assert_eq!(disk.0.borrow().steps, steps);
    // An enlarged disk has nothing more to move: what was added is nobody's.
    let larger = [disk.bytes(), vec![0xEE; 10 * BLOCK_BYTES]].concat();
    assert!(moved(larger.clone()) == larger);
}

/// How many writes and flushes a move takes.
fn steps() -> usize {
    let whole = Disk::without_cut(disk());
    move_all(&whole, &KEYS, go_on).unwrap();
    whole.0.borrow().steps
}

#[test]
fn a_power_cut_at_any_step_loses_nothing() {
    let steps = steps();
    assert!(steps > 15, "{steps} steps");
    for cut_after in 0..steps {
        for seed in 0..3 {
            let mut dice = Dice(seed * 1000 + cut_after as u64);
            let disk = Disk::of(disk(), cut_after);
            move_all(&disk, &KEYS, go_on).unwrap_err();
            let left = disk.after_cut(&mut dice);
            assert_moved(&moved(left), &format!("cut after {cut_after}, seed {seed}"));
        }
    }
}

#[test]
fn power_cuts_again_and_again_lose_nothing_either() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut bytes = disk();
        let mut tries = 0;
        loop {
            // Each try comes a little further than a cut in the first steps would let it.
            let disk = Disk::of(bytes, dice.roll() as usize % (4 + tries));
            let ended = move_all(&disk, &KEYS, go_on);
            if ended.is_ok() {
                bytes = disk.bytes();
                break;
            }
            bytes = disk.after_cut(&mut dice);
            tries += 1;
        }
        assert_moved(&bytes, &format!("seed {seed}, {tries} tries"));
    }
}

#[test]
fn a_try_that_is_stopped_is_gone_on_with() {
    let disk = Disk::without_cut(disk());
    let mut left = 3;
    let on = |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = move_all(&disk, &KEYS, on);
    assert!(matches!(stopped, Err(MoveError::Stopped)));
    assert_moved(&moved(disk.bytes()), "stopped");
}

#[test]
fn a_disk_that_was_enlarged_meanwhile_is_moved_to_its_end_and_one_that_was_cut_off_is_refused() {
    let cut = Disk::of(disk(), steps() / 2);
    move_all(&cut, &KEYS, go_on).unwrap_err();
    let left = cut.after_cut(&mut Dice(1));
    let larger = moved([left.clone(), vec![0; 300 * BLOCK_BYTES]].concat());
    assert_moved(&larger, "larger");
    let records = [0, 1].map(|index| {
        let at = Journal::place(index) as usize * BLOCK_BYTES;
        Journal::new(&FROM, &TO).open(&left[at..at + SLOT_BYTES])
    });
    let pieces = records.into_iter().flatten().filter_map(|record| record.piece);
    let last = pieces.filter_map(|piece| piece.numbers.last().copied()).max().unwrap();
    let shorter = Disk::without_cut(left[..last as usize * BLOCK_BYTES].to_vec());
    let refused = move_all(&shorter, &KEYS, go_on);
    assert!(matches!(refused, Err(MoveError::Short { .. })), "{refused:?}");
}

#[test]
fn records_of_others_count_for_nothing() {
    let mut foreign = disk();
    let at = FIRST_BLOCK as usize * BLOCK_BYTES;
    // What the move before this one left.
    let done = Journal::new(&[9; 64], &FROM).seal(&Record { sequence: 0, piece: None });
    foreign[at..at + done.len()].copy_from_slice(&done);
    assert_moved(&moved(foreign), "an earlier move");
    // Nobody but the agent of this very app has the keys.
    let mut forged = disk();
    let piece = Some(Piece { numbers: vec![400], bytes: vec![0; BLOCK_BYTES], next: BLOCKS });
    let forgery = Journal::new(&[0; 64], &[0; 64]).seal(&Record { sequence: 8, piece });
    forged[at..at + forgery.len()].copy_from_slice(&forgery);
    assert_moved(&moved(forged), "a forgery");
}

/// Every state of a disk that its host saw during a move.
fn seen() -> Vec<Vec<u8>> {
    let mut states = vec![disk()];
    for cut_after in 1.. {
        let disk = Disk::of(disk(), cut_after);
        let ended = move_all(&disk, &KEYS, go_on);
        states.push(disk.bytes());
        if ended.is_ok() {
            return states;
        }
    }
    states
}

#[test]
fn records_and_blocks_that_the_host_puts_back_give_what_was_there_or_noise() {
    let seen = seen();
    let contents: BTreeSet<Vec<u8>> =
        (0..BLOCKS).filter_map(content).map(|content| content.to_vec()).collect();
    let slots = FIRST_BLOCK as usize * BLOCK_BYTES..END_BLOCK as usize * BLOCK_BYTES;
    let half = slots.start + SLOT_BLOCKS * BLOCK_BYTES;
    let mut dice = Dice(5);
    let mut noise = 0;
    for _ in 0..30 {
        let mut pick = || &seen[dice.roll() as usize % seen.len()];
        // Disk, first slot and second slot of three moments.
        let mut bytes = pick().clone();
        bytes[slots.start..half].copy_from_slice(&pick()[slots.start..half]);
        bytes[half..slots.end].copy_from_slice(&pick()[half..slots.end]);
        let bytes = moved(bytes);
        for number in (0..BLOCKS).filter(|number| !is_slot(*number)) {
            let found = plain(&bytes, number);
            if content(number) == Some(found) || content(number).is_none() {
                continue;
            }
            noise += 1;
            assert!(!contents.contains(&found[..]), "block {number} has another one's content");
            let differing: BTreeSet<u8> = found.iter().copied().collect();
            assert!(differing.len() > 200, "block {number} is no noise");
        }
    }
    assert!(noise > 0, "nothing was put back that mattered");
}
