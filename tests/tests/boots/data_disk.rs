//! The data disk in booted guests: what the host finds on it, and what it can do to it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use libtest_mimic::Trial;
use protocol::data_disk::MIN_BYTES;
use protocol::digest::Sha256Digest;
use protocol::evidence;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use serde_json::{Value, json};
use tests::app::App;
use tests::guest::{DataDisk, Guest, Host};
use tests::images::Image;
use tests::lab;
use tests::registry::Registry;

use crate::trial;

/// Size of the disk in these boots: more than a template and less than memory would be.
const DISK_BYTES: u64 = 3 << 30;
/// Where btrfs has its first superblock.
const SUPERBLOCK: usize = 64 * 1024;
/// What everything on the disk is encrypted in.
const BLOCK_BYTES: usize = 4096;
/// Where the app that keeps a file answers, and the size of its file.
const KEEPER: u16 = 8080;
const FILE_BYTES: usize = 16 << 20;
/// Blocks in a row that only the file has.
const LONG_RUN: usize = 16;
/// One block of so many is changed, so that reading goes on between errors.
const CHANGED_EVERY: usize = 64;
/// Words of every file system's own blocks, which plain text would show.
const PLAIN: [&[u8]; 3] = [b"_BHRfS_M", b"dstyx-data", b"lost+found"];

/// Boots for the long run: each way in which a host can withhold a usable disk, and the other file
/// system.
pub fn trials() -> Vec<Trial> {
    let refused = [
        ("no data disk", DataDisk::Absent),
        ("a data disk that is too small", DataDisk::Fresh(MIN_BYTES - 512)),
        ("a read-only data disk", DataDisk::ReadOnly(DISK_BYTES)),
        ("two data disks", DataDisk::Twice(DISK_BYTES)),
    ];
    let refused = refused.into_iter().map(|(name, disk)| {
        trial(format!("{name} halts the guest"), move || is_refused(disk, Refusal::DiskMissing))
    });
    let failing = trial("a data disk that fails every write halts the guest", || {
        is_refused(DataDisk::Failing(DISK_BYTES), Refusal::DiskFailed);
    });
    let ext4 = trial("storage_fs ext4 gives ext4, grown to the disk", ext4_is_grown);
    let noise = trial(
        "the data disk is noise to the host, and after a power cut the next boot makes it anew",
        noise_to_the_host_and_new_at_every_boot,
    );
    let rotten = trial(
        "what the host changes on the data disk is an error to who reads it, never other data",
        rotten_blocks_are_errors,
    );
    refused.chain([failing, ext4, noise, rotten]).collect()
}

/// Lets the app write a file whose checksums it tried to switch off, changes some of its blocks on
/// the running disk, and lets the app read it again.
fn rotten_blocks_are_errors() {
    let registry = Registry::of(&[Image::Python]);
    let source = lab::checkout().join("tests/vectors/apps/keeper");
    let app = App::new(&source, "keeper", &registry, &[("danger_privileged", true.into())]);
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("data.img");
    fs::File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    let host = Host {
        data_disk: DataDisk::Kept(disk.clone()),
        ports: vec![KEEPER],
        ..app.host(&registry)
    };
    let guest = host.start(&lab::image(Flavour::Dev));

    let read = |path: &str| -> Value {
        serde_json::from_slice(&guest.until("the app does not answer", || guest.get(KEEPER, path)))
            .unwrap()
    };
    read("/");
    let before = fingerprints(&disk);
    let written = read("/write");
    assert_eq!((&written["failed"], &written["other"]), (&json!(0), &json!(0)), "{written}");
    // `chattr +C` on the directory, whose new files would inherit it, and on the file.
    const EOPNOTSUPP: u32 = 95;
    assert_eq!(written["asked"], json!([EOPNOTSUPP, EOPNOTSUPP]), "{written}");
    let file = file_blocks(&before, &fingerprints(&disk));
    assert!(file.len() * BLOCK_BYTES >= FILE_BYTES, "{} blocks", file.len());
    for at in file.iter().step_by(CHANGED_EVERY) {
        change_byte(&disk, *at as u64);
    }
    let rotten = read("/read");
    assert!(rotten["failed"].as_u64() > Some(0), "{rotten}");
    assert_eq!(rotten["other"], 0, "other bytes than were written: {rotten}");
    println!("{rotten}");
}

/// What stands in each block that is not zero, in few bytes.
fn fingerprints(disk: &Path) -> BTreeMap<usize, Sha256Digest> {
    written(disk).into_iter().map(|(at, block)| (at, Sha256Digest::of(&block))).collect()
}

/// Places of the blocks that were written between, but for short runs: those are the file system's
/// own.
fn file_blocks(
    before: &BTreeMap<usize, Sha256Digest>,
    after: &BTreeMap<usize, Sha256Digest>,
) -> Vec<usize> {
    let changed: Vec<usize> = after
        .iter()
        .filter(|(at, block)| before.get(at) != Some(block))
        .map(|(at, _)| *at)
        .collect();
    let runs = changed.chunk_by(|one, next| one + BLOCK_BYTES == *next);
    runs.filter(|run| run.len() >= LONG_RUN).flatten().copied().collect()
}

/// As a host does it to a disk in use: no lock, no cache between.
fn change_byte(disk: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(disk).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Shows the disk of one boot to the host, pulls the power, and gives the same disk to the next
/// boot.
fn noise_to_the_host_and_new_at_every_boot() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("data.img");
    fs::File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    let host = Host { data_disk: DataDisk::Kept(disk.clone()), ..Host::default() };

    let first = open_guest(&host, "btrfs");
    let first_superblock = superblock(&disk);
    nothing_on_it_is_plain(&disk);
    drop(first); // kills QEMU: the power is gone

    let second = open_guest(&host, "btrfs");
    second.verified().passes();
    assert_ne!(superblock(&disk), first_superblock, "the same text under the same key");
    nothing_on_it_is_plain(&disk);
}

/// A guest that is ready: its disk is of this kind and as large as the host made it, less what a
/// file system takes.
fn open_guest(host: &Host, kind: &str) -> Guest {
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let ready = guest.reached(Phase::SystemReady).unwrap();
    assert_eq!(ready.refusal, Refusal::None, "{}", guest.console());
    assert!(
        guest.records().iter().any(|record| record.phase == Phase::DiskOpened),
        "{:?}",
        guest.records()
    );
    guest.says("data disk is open");
    let console = guest.console();
    let message = console.split("data disk is open: ").nth(1).unwrap();
    let (found, size) = message.split_once(", ").unwrap();
    let size: u64 = size.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(found, kind);
    let disk_mib = DISK_BYTES >> 20;
    assert!((disk_mib * 9 / 10..=disk_mib).contains(&size), "{size} of {disk_mib} MiB");
    let evidence = evidence::parse(&guest.evidence(&[1; 32])).unwrap();
    let events: Vec<_> =
        evidence.event_log.iter().filter(|event| event.event == "storage-fs").collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_payload, hex::encode(kind));
    guest
}

fn is_refused(disk: DataDisk, refusal: Refusal) {
    let host = Host { data_disk: disk, ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::SystemReady).unwrap();
    assert_eq!((last.phase, last.refusal), (Phase::DiskOpened, refusal), "{}", guest.console());
    guest.ended();
}

fn ext4_is_grown() {
    let plain = protocol::app_compose::generate("test", &Host::default().compose).unwrap();
    let app_compose =
        String::from_utf8(plain).unwrap().replacen('{', r#"{"storage_fs":"ext4","#, 1);
    let host = Host {
        data_disk: DataDisk::Fresh(DISK_BYTES),
        app_compose: Some(app_compose.into_bytes()),
        ..Host::default()
    };
    open_guest(&host, "ext4").verified().passes();
}

fn superblock(disk: &Path) -> Vec<u8> {
    written(disk).into_iter().find(|(at, _)| *at == SUPERBLOCK).expect("the template was written").1
}

/// Every block that was written looks like noise: all byte values occur about equally often, and no
/// known word does.
fn nothing_on_it_is_plain(disk: &Path) {
    let written = written(disk);
    assert!(written.len() > 40, "{} blocks were written", written.len());
    for (at, block) in written {
        let mut counts = [0_u32; 256];
        block.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        // 16 on average; chance gives 60 less often than once in 10^15 blocks, and no text or table
        // stays below.
        let most = counts.iter().max().unwrap();
        assert!(*most < 60, "the block at {at} is no noise: one value occurs {most} times");
        for plain in PLAIN {
            assert!(
                !block.windows(plain.len()).any(|window| window == plain),
                "plain text at {at}"
            );
        }
    }
}

/// Blocks of the sparse file that are not zero, with their places; those far behind what a boot
/// writes are not looked for.
fn written(disk: &Path) -> Vec<(usize, Vec<u8>)> {
    use std::io::Read as _;
    const LOOKED_AT: u64 = 512 << 20;
    let mut bytes = Vec::new();
    fs::File::open(disk).unwrap().take(LOOKED_AT).read_to_end(&mut bytes).unwrap();
    let blocks = bytes.chunks_exact(BLOCK_BYTES).enumerate();
    let blocks = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
    blocks.map(|(index, block)| (index * BLOCK_BYTES, block.to_vec())).collect()
}
