//! What a host does to the kept disk of an app while its guest is off: hundreds of mounts in one
//! boot, on the image's kernel, with the agent's table and options (`tests/rig`).
//!
//! The test has the root of a KMS of its own and derives the disk's key from it; no program of the
//! product gives it one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use kms_rules::derivation::Root;
use protocol::digest::{AppId, InstanceId};
use protocol::image::Flavour;
use tests::btrfs::{self, Kind, Live, Position, SUPERBLOCKS};
use tests::dice::Dice;
use tests::lab;
use tests::rig::{Outcome, Rig};
use tests::served_disk::{Block, Disk, Image};
use zeroize::Zeroizing;

mod disk_moves;

/// Bytes of the disk: the least that btrfs grows a file system to is 256 MiB.
const DISK_BYTES: u64 = 288 << 20;
/// Cases of changed sectors; `DSTYX_LONG` makes twenty times as many.
const CASES: usize = 50;
/// Power cuts; `DSTYX_LONG` makes twenty times as many.
const CUTS: usize = 20;
/// The same on a disk that does not honour flushes.
const CUTS_WITHOUT_FLUSHES: usize = 5;
/// Files that are written meanwhile.
const SYNCED_FILES: u64 = 16;
/// Splices of two branches whose sectors are chosen at random; `DSTYX_LONG` makes twenty times as
/// many.
const SPLICES: usize = 12;
/// Open counter of every mount that a host attacks: above those under which the disk was written.
const COUNTER: u64 = 5;
/// Blocks in a row that only the content of a file has.
const LONG_RUN: usize = 16;

/// A disk that was written in two mounts, and all that its host has ever seen of it.
struct Victim {
    rig: Rig,
    dice: Dice,
    key: [u8; 64],
    /// The disk after the first mount.
    older: Image,
    /// The disk as it should be mounted, with its past.
    disk: Disk,
    anchor: u64,
    live: Live,
    /// Live positions that held something else before, with a moment of it.
    rewritten: Vec<(Position, Vec<usize>)>,
}

/// Every attack, in one boot.
pub fn give_errors_and_never_other_data() {
    let mut victim = Victim::made();
    victim.power_cuts_lose_nothing_that_was_synced();
    victim.whole_disks_are_judged_by_their_generation();
    victim.changed_sectors_are_errors();
    victim.branches_do_not_mix();
    victim.the_disk_moves_to_another_key();
    victim.the_rig_sees_other_data();
}

impl Victim {
    fn made() -> Self {
        let init = env!("CARGO_BIN_EXE_disk-rig").as_ref();
        let rig = Rig::start(init, &lab::image(Flavour::Dev), DISK_BYTES);
        let key = key_of(1);
        let mut first = Writer::default();
        rig.does(&open(&key));
        rig.does("fill btrfs");
        rig.does("mount 1 -");
        (0..4).for_each(|_| first.round(&rig, "first"));
        let anchor = rig.does("commit");
        unmount(&rig);
        let older = rig.disk().image().clone();
        rig.does(&open(&key));
        rig.does(&format!("mount 2 {anchor}"));
        (0..4).for_each(|_| first.round(&rig, "second"));
        let anchor = rig.does("commit").parse().unwrap();
        rig.does("overlook scratch");
        rig.does("remember base");
        unmount(&rig);
        let image = rig.disk().image().clone();
        let disk = rig.disk().replace(image);
        let live = btrfs::live(disk.image(), &key);
        let rewritten = live.positions.iter().filter_map(|position| {
            let moments: Vec<_> = disk
                .moments(position.first)
                .filter(|moment| differs(&disk, *moment, position))
                .collect();
            (!moments.is_empty()).then_some((*position, moments))
        });
        let rewritten = rewritten.collect();
        let dice = Dice::of_this_run("attacks on the disk");
        Self { rig, dice, key, older, disk, anchor, live, rewritten }
    }

    /// Mounts an image as the next boot would.
    fn mounted(&self, image: Image, counter: u64, anchor: u64) -> Result<(), String> {
        self.rig.disk().replace(image);
        self.rig.does(&open(&self.key));
        let mounted = self.rig.asks(&format!("mount {counter} {anchor}"));
        if mounted.is_err() {
            self.rig.does("close");
        }
        mounted.map(drop)
    }

    /// What a boot reads of an image, before and after it wrote something itself; or why it does
    /// not mount it.
    fn read(&self, image: Image, anchor: u64) -> Result<Outcome, String> {
        self.mounted(image, COUNTER, anchor)?;
        let before = self.rig.check();
        // What cannot be written does not matter; what is overwritten by it does.
        let written = self.rig.asks("put scratch 300000 later").is_ok();
        if written {
            self.rig.does("forget-caches");
        }
        let after = if written { self.rig.check() } else { before.clone() };
        unmount(&self.rig);
        Ok(Outcome { wrong: before.wrong + after.wrong, ..after })
    }

    /// Files are written one by one, each with an fsync. Whatever a power cut at any moment leaves
    /// of the disk is mounted, and has each file whose fsync had returned.
    fn power_cuts_lose_nothing_that_was_synced(&mut self) {
        self.rig.does("recall base");
        self.mounted(self.disk.image().clone(), COUNTER - 1, self.anchor).unwrap();
        let mut writes = Vec::new();
        for file in 0..SYNCED_FILES {
            self.rig.does(&format!("remember before-{file}"));
            let path =
                if file % 2 == 0 { format!("d1/f{}", 1 + file * 4) } else { format!("new{file}") };
            let before = self.rig.disk().now();
            self.rig.does(&format!("put {path} {} synced", 700 + file * 4700));
            writes.push(Write { file, path, moments: before..self.rig.disk().now() });
        }
        unmount(&self.rig);
        let image = self.rig.disk().image().clone();
        let mut disk = self.rig.disk().replace(image);
        for _ in 0..many(CUTS) {
            let (described, read) = self.cut(&disk, &writes);
            let outcome = read.unwrap_or_else(|fault| panic!("{described}: {fault}"));
            assert_eq!((outcome.failed, outcome.wrong), (0, 0), "{described}: {outcome:?}");
        }
        // Otherwise nothing would be lost because nothing can be.
        disk.forget_flushes();
        let is_whole = |outcome: Outcome| outcome.failed + outcome.wrong == 0;
        let cuts = 0..CUTS_WITHOUT_FLUSHES;
        let lost = cuts.filter(|_| !self.cut(&disk, &writes).1.is_ok_and(is_whole)).count();
        println!(
            "{lost} of {CUTS_WITHOUT_FLUSHES} power cuts are noticed where flushes do not count"
        );
        assert!(lost > 0);
        self.rig.does("recall base");
    }

    /// Cuts the power at a random moment while a random one of these files was written; what the
    /// next boot reads.
    fn cut(&mut self, disk: &Disk, writes: &[Write]) -> (String, Result<Outcome, String>) {
        let Write { file, path, moments } = self.dice.one(writes);
        let moment = moments.start + self.dice.below(moments.len() + 1);
        let image = disk.after_power_cut_at(moment, &mut self.dice);
        self.rig.does(&format!("recall before-{file}"));
        self.rig.does(&format!("overlook {path}"));
        let described = format!("at {moment} while {path} was written, {moments:?}");
        (described, self.read(image, self.anchor))
    }

    fn whole_disks_are_judged_by_their_generation(&self) {
        let newest = || self.disk.image().clone();
        let outcome = self.read(newest(), self.anchor).unwrap();
        assert_eq!((outcome.failed, outcome.wrong), (0, 0), "{outcome:?}");

        let mut older_super = newest();
        SUPERBLOCKS.iter().for_each(|at| older_super.put(*at, self.older.block(*at)));
        self.each_superblock_counts_by_itself();
        let cases = [
            ("an older disk", self.older.clone(), COUNTER, "ESTALE"),
            ("an older superblock on the newest disk", older_super, COUNTER, "ESTALE"),
            ("a number that was used before", newest(), 2, "EINVAL"),
            ("a disk that is wiped", Image::empty(DISK_BYTES), COUNTER, "EINVAL"),
            ("the disk of another instance", self.of_another_instance(), COUNTER, "EINVAL"),
        ];
        for (what, image, counter, expected) in cases {
            let fault = self.mounted(image, counter, self.anchor).unwrap_err();
            assert!(fault.starts_with(expected), "{what}: {fault}\n{}", self.rig.console());
        }
        // The kernel's own word, where a KMS gave a number twice without knowing the anchor.
        let fault = self.mounted(newest(), 2, 1 << 40).unwrap_err();
        assert!(fault.starts_with("ERANGE"), "{fault}");
    }

    /// The kernel reads the first one only: the second saves nothing, and harms nothing.
    fn each_superblock_counts_by_itself(&self) {
        let [first, second] = SUPERBLOCKS;
        for (changed, is_read) in
            [(&[first][..], false), (&[second], true), (&[first, second], false)]
        {
            let mut image = self.disk.image().clone();
            for at in changed {
                let mut block = image.block(*at).to_vec();
                block[100] ^= 1;
                image.put(*at, block.into());
            }
            let read = self.read(image, self.anchor);
            let equal = read.as_ref().is_ok_and(|outcome| outcome.failed + outcome.wrong == 0);
            assert_eq!((equal, read.is_ok()), (is_read, is_read), "{changed:?}: {read:?}");
        }
    }

    fn of_another_instance(&self) -> Image {
        self.rig.disk().replace(Image::empty(DISK_BYTES));
        self.rig.does(&open(&key_of(2)));
        self.rig.does("fill btrfs");
        self.rig.does("mount 1 -");
        unmount(&self.rig);
        self.rig.disk().image().clone()
    }

    fn changed_sectors_are_errors(&mut self) {
        let cases = many(CASES);
        let (mut refused, mut failed) = (0, 0);
        for case in 0..cases {
            let mut image = self.disk.image().clone();
            let (attack, positions) = self.attack(case, &mut image);
            let only_data = positions.iter().all(|position| position.kind == Kind::Data);
            let described = format!("case {case}, {attack} {positions:?}");
            self.rig.does("recall base");
            match self.read(image, self.anchor) {
                Err(fault) => {
                    assert!(!only_data, "{described}: {fault}");
                    refused += 1;
                }
                Ok(outcome) => {
                    assert_eq!(outcome.wrong, 0, "{described}: {outcome:?}");
                    // Each block of a file is read, so each changed one is found.
                    let data = positions.len() as u64;
                    assert!(!only_data || outcome.failed >= data, "{described}: {outcome:?}");
                    failed += u64::from(outcome.failed > 0);
                }
            }
        }
        println!("{cases} cases: {refused} not mounted, {failed} with errors to readers");
        assert!(refused > 0 && failed > 0);
    }

    /// Changes an image in one of five ways; the positions that it changed.
    fn attack(&mut self, case: usize, image: &mut Image) -> (&'static str, BTreeSet<Position>) {
        let many = *self.dice.one(&[1, 1, 1, 2, 4, 16]);
        match case % 5 {
            0 => (
                "bits flipped",
                self.overwrite(image, many, |dice, block| {
                    let mut block = block.to_vec();
                    let at = dice.below(block.len());
                    block[at] ^= 1 << dice.below(8);
                    block.into()
                }),
            ),
            1 => ("own older content, each of its own time", self.older_content(image, many)),
            2 => ("own older content of one time", self.content_of_one_time(image)),
            3 => ("exchanged", self.exchange(image, many)),
            _ => ("zeros", self.overwrite(image, many, |_, block| vec![0; block.len()].into())),
        }
    }

    /// Replaces one block of some positions.
    fn overwrite(
        &mut self,
        image: &mut Image,
        many: usize,
        mut change: impl FnMut(&mut Dice, &Block) -> Block,
    ) -> BTreeSet<Position> {
        let mut changed = BTreeSet::new();
        while changed.len() < many {
            let position = *self.dice.one(&self.live.positions);
            if changed.insert(position) {
                let at = position.first + self.dice.below(position.blocks as usize) as u64;
                image.put(at, change(&mut self.dice, &image.block(at)));
            }
        }
        changed
    }

    fn older_content(&mut self, image: &mut Image, many: usize) -> BTreeSet<Position> {
        let mut changed = BTreeSet::new();
        while changed.len() < many {
            let (position, moments) = self.dice.one(&self.rewritten).clone();
            if changed.insert(position) {
                put_back(image, &self.disk, *self.dice.one(&moments), &position);
            }
        }
        changed
    }

    /// Puts a part of all live positions back to what they were at one moment, so that parents and
    /// children of that time come together.
    fn content_of_one_time(&mut self, image: &mut Image) -> BTreeSet<Position> {
        let (_, moments) = self.dice.one(&self.rewritten).clone();
        let moment = *self.dice.one(&moments);
        let of_hundred = *self.dice.one(&[10, 50, 90, 100]);
        let mut changed = BTreeSet::new();
        for (position, _) in &self.rewritten {
            let chosen = self.dice.below(100) < of_hundred;
            // A superblock of before the anchor is refused by its generation.
            if chosen && position.kind != Kind::Super && differs(&self.disk, moment, position) {
                put_back(image, &self.disk, moment, position);
                changed.insert(*position);
            }
        }
        changed
    }

    fn exchange(&mut self, image: &mut Image, many: usize) -> BTreeSet<Position> {
        let mut changed = BTreeSet::new();
        while changed.len() < 2 * many {
            let [one, other] = [(); 2].map(|()| *self.dice.one(&self.live.positions));
            if one == other || one.blocks != other.blocks || one.kind == Kind::Super {
                continue;
            }
            if changed.contains(&one) || changed.contains(&other) {
                continue;
            }
            for index in 0..one.blocks {
                let [at, from] = [one, other].map(|position| position.first + index);
                let [first, second] = [at, from].map(|at| image.block(at));
                image.put(at, second);
                image.put(from, first);
            }
            changed.extend([one, other]);
        }
        changed
    }

    /// Two boots continue one disk, and every sector that differs of one goes into the other.
    fn branches_do_not_mix(&mut self) {
        let snapshot = self.disk.image().clone();
        let [first, second] = [(3, "first"), (4, "second")].map(|(counter, name)| {
            self.rig.does("recall base");
            self.mounted(snapshot.clone(), counter, self.anchor).unwrap();
            self.branch(name)
        });
        let live = btrfs::live(&second.image, &self.key);
        let differing = first.image.differing(&second.image);
        let (mut refused, mut failed) = (0, 0);
        for spliced in self.splices(&first.image, &second.image, &differing, &live) {
            // The KMS knows the later counter's anchor only.
            match self.read(spliced, second.anchor) {
                Err(_) => refused += 1,
                Ok(outcome) => {
                    assert_eq!(outcome.wrong, 0, "{outcome:?}");
                    failed += u64::from(outcome.failed > 0);
                }
            }
        }
        println!(
            "{} sectors of two branches: {refused} splices not mounted, {failed} with errors",
            differing.len()
        );
        // The other branch as a whole is an older disk.
        let fault = self.mounted(first.image, COUNTER, second.anchor).unwrap_err();
        assert!(fault.starts_with("ESTALE"), "{fault}");
        let whole = self.read(second.image, second.anchor).unwrap();
        assert_eq!((whole.failed, whole.wrong), (0, 0), "{whole:?}");
    }

    /// Writes what only this branch has, and unmounts.
    fn branch(&self, name: &str) -> Branch {
        let mut writer = Writer { rounds: 8 };
        (0..2).for_each(|_| writer.round(&self.rig, name));
        self.rig.does(&format!("put only-{name} 40000 {name}"));
        let anchor = self.rig.does("commit").parse().unwrap();
        unmount(&self.rig);
        Branch { image: self.rig.disk().image().clone(), anchor }
    }

    /// The second branch with sectors of the first.
    fn splices(
        &mut self,
        first: &Image,
        second: &Image,
        differing: &[u64],
        live: &Live,
    ) -> Vec<Image> {
        let root = blocks(&live.root);
        let kept: [&dyn Fn(&u64) -> bool; 3] =
            [&|_| false, &|at| SUPERBLOCKS.contains(at), &|at| {
                SUPERBLOCKS.contains(at) || root.contains(at)
            }];
        let with = |chosen: &mut dyn FnMut(&u64) -> bool| {
            let mut image = second.clone();
            for at in differing.iter().filter(|at| chosen(at)) {
                image.put(*at, first.block(*at));
            }
            image
        };
        let mut all: Vec<Image> = kept.iter().map(|kept| with(&mut |at| !kept(at))).collect();
        let positions: Vec<Position> = live
            .positions
            .iter()
            .copied()
            .filter(|position| position.kind != Kind::Super)
            .filter(|position| blocks(position).any(|at| differing.binary_search(&at).is_ok()))
            .collect();
        for index in 0..many(SPLICES) {
            // A share of all sectors, or some whole nodes and blocks of files.
            if index % 3 == 0 {
                let of_hundred = *self.dice.one(&[5, 20, 50, 80, 95, 99]);
                all.push(with(&mut |at| {
                    self.dice.below(100) < of_hundred && !SUPERBLOCKS.contains(at)
                }));
                continue;
            }
            let count = *self.dice.one(&[1, 2, 4, 8]);
            let chosen: Vec<u64> = std::iter::repeat_with(|| blocks(self.dice.one(&positions)))
                .take(count)
                .flatten()
                .collect();
            all.push(with(&mut |at| chosen.contains(at)));
        }
        all
    }

    /// The same machine, where nothing protects the data.
    fn the_rig_sees_other_data(&mut self) {
        self.without_generations_branches_mix();
        self.without_checksums_older_content_is_read();
    }

    fn without_generations_branches_mix(&mut self) {
        let stock = "mount-as btrfs notreelog,nodiscard,skip_balance";
        let snapshot = self.disk.image().clone();
        let [first, second] = ["first", "second"].map(|name| {
            self.rig.does("recall base");
            self.rig.disk().replace(snapshot.clone());
            self.rig.does(&open(&self.key));
            self.rig.does(stock);
            self.branch(name)
        });
        let live = btrfs::live(&second.image, &self.key);
        let differing = first.image.differing(&second.image);
        let mut wrong = 0;
        for spliced in self.splices(&first.image, &second.image, &differing, &live) {
            self.rig.disk().replace(spliced);
            self.rig.does(&open(&self.key));
            if self.rig.asks(stock).is_ok() {
                wrong += self.rig.check().wrong;
                unmount(&self.rig);
            } else {
                self.rig.does("close");
            }
        }
        println!("without generations: {wrong} blocks of the other branch");
        assert!(wrong > 0, "two branches that share generations are not told apart");
    }

    fn without_checksums_older_content_is_read(&self) {
        self.rig.does("recall nothing");
        self.rig.disk().replace(Image::empty(DISK_BYTES));
        self.rig.does(&open(&self.key));
        self.rig.does("fill ext4");
        self.rig.does("overlook lost+found");
        let images = ["before", "after"].map(|tag| {
            self.rig.does("mount-as ext4 errors=remount-ro");
            self.rig.does(&format!("put file 400000 {tag}"));
            let outcome = self.rig.check();
            assert_eq!((outcome.failed, outcome.wrong), (0, 0), "{outcome:?}");
            self.rig.does("unmount");
            self.rig.disk().image().clone()
        });
        self.rig.does("close");
        let [before, mut after] = images;
        let differing = before.differing(&after);
        for run in differing.chunk_by(|one, next| one + 1 == *next) {
            if run.len() >= LONG_RUN {
                run.iter().for_each(|at| after.put(*at, before.block(*at)));
            }
        }
        self.rig.disk().replace(after);
        self.rig.does(&open(&self.key));
        self.rig.does("mount-as ext4 errors=remount-ro");
        let outcome = self.rig.check();
        unmount(&self.rig);
        println!("without checksums: {} blocks of before", outcome.wrong);
        assert!(outcome.wrong > 0, "{outcome:?}");
    }
}

/// A file that was written with an fsync.
struct Write {
    file: u64,
    path: String,
    /// From before the first of its blocks was written to when the fsync returned.
    moments: Range<usize>,
}

/// One continuation of a disk.
struct Branch {
    image: Image,
    anchor: u64,
}

/// Writes files again and again, so that places are written more than once.
#[derive(Default)]
struct Writer {
    rounds: u64,
}

impl Writer {
    /// Writes half of the files anew and removes one.
    fn round(&mut self, rig: &Rig, by: &str) {
        let round = self.rounds;
        self.rounds += 1;
        let tag = format!("{by}-{round}");
        for file in (0..24_u64).filter(|file| (file + round).is_multiple_of(2) || round == 0) {
            let bytes = 4096 * (1 + file * 7 % 31) + file * 100;
            rig.does(&format!("put d{}/f{file} {bytes} {tag}", file % 4));
        }
        // Small ones are in the trees themselves.
        for file in (0..30_u64).filter(|file| (file + round).is_multiple_of(3) || round == 0) {
            rig.does(&format!("put small{file} {} {tag}", 200 + file * 40));
        }
        rig.does(&format!("put gone{round} 20000 {tag}"));
        if round > 0 {
            rig.does(&format!("remove gone{}", round - 1));
        }
    }
}

/// The key of an instance's disk, as a KMS with this root derives it.
fn key_of(instance: u8) -> [u8; 64] {
    let root = Root::from_bytes(Zeroizing::new([42; 32]));
    *root.disk_key(&AppId([1; 20]), Some(&InstanceId([instance; 20])))
}

fn open(key: &[u8; 64]) -> String {
    format!("open {}", hex::encode(key))
}

fn unmount(rig: &Rig) {
    rig.does("unmount");
    rig.does("close");
}

/// As many cases as this run makes.
fn many(of_every_run: usize) -> usize {
    if lab::long() { 20 * of_every_run } else { of_every_run }
}

fn blocks(position: &Position) -> Range<u64> {
    position.first..position.first + position.blocks
}

fn differs(disk: &Disk, moment: usize, position: &Position) -> bool {
    blocks(position).any(|at| disk.block_at(moment, at) != disk.image().block(at))
}

fn put_back(image: &mut Image, disk: &Disk, moment: usize, position: &Position) {
    for at in blocks(position) {
        image.put(at, Arc::clone(&disk.block_at(moment, at)));
    }
}
