//! The data disk as the agent mounts it, beside ext4 on the same encryption, which finds no changed
//! data, and the bare disk: in one machine, on the image's own kernel (`tests/rig`).

use std::array;
use std::time::Duration;

use tests::rig::Machine;

use super::{image, median, row};

/// Bytes of the disk: the least that btrfs grows a file system to is 256 MiB.
const DISK_BYTES: u64 = 512 << 20;
/// Measurements of each kind, in turns.
const ROUNDS: usize = 5;
/// What is measured, as the machine calls it and as the table does, in the order in which it runs.
const WORKLOADS: [(&str, &str); 5] = [
    ("write", "written one after the other"),
    ("read", "read one after the other"),
    ("random-write", "4 KiB written at random places"),
    ("random-read", "4 KiB read at random places"),
    ("fsync", "4 KiB appended, each with fsync"),
];
/// The last of them.
const FSYNC: usize = WORKLOADS.len() - 1;
/// Bytes of an append.
const BLOCK_BYTES: f64 = 4096.0;
/// A key; what it is makes no difference.
const KEY: [u8; 64] = [0x5a; 64];

/// What one workload moved, and how long it took.
#[derive(Debug, Clone, Copy)]
struct Took {
    bytes: u64,
    time: Duration,
}

/// Prints two rows a workload.
pub fn disks() {
    let machine = Machine::start(env!("CARGO_BIN_EXE_disk-rig").as_ref(), &image(), DISK_BYTES);
    let rounds: Vec<_> =
        (0..ROUNDS).map(|_| [ours(&machine), ext4(&machine), bare(&machine)]).collect();
    for (at, (_, what)) in WORKLOADS.iter().enumerate() {
        let bytes = rounds[0][0][at].bytes;
        let speeds = [0, 1, 2].map(|kind: usize| {
            let time = median(rounds.iter().map(|round| round[kind][at].time));
            bytes as f64 / time.as_secs_f64()
        });
        let (figure, aim) = (format!("data disk, {what}"), if at < FSYNC { "≥ 0.60x" } else { "" });
        let [ours, rest @ ..] = speeds;
        for (peer, theirs, aim) in
            [("ext4 on dm-crypt", rest[0], aim), ("the bare disk", rest[1], "")]
        {
            let peer = format!("{peer}: {}", shown(at, theirs));
            row(&figure, &shown(at, ours), &peer, Some(ours / theirs), aim);
        }
    }
}

/// Bytes a second as a reader compares them.
fn shown(workload: usize, bytes: f64) -> String {
    match workload {
        FSYNC => format!("{:.0} a second", bytes / BLOCK_BYTES),
        _ => format!("{:.1} MB/s", bytes / 1e6),
    }
}

fn ours(machine: &Machine) -> [Took; WORKLOADS.len()] {
    mounted(machine, "btrfs", &["mount 1 -"])
}

fn ext4(machine: &Machine) -> [Took; WORKLOADS.len()] {
    mounted(machine, "ext4", &["mount-as ext4 errors=remount-ro", "grow ext4"])
}

fn mounted(machine: &Machine, kind: &str, mount: &[&str]) -> [Took; WORKLOADS.len()] {
    machine.does(&format!("open {}", hex::encode(KEY)));
    machine.does(&format!("fill {kind}"));
    for command in mount {
        machine.does(command);
    }
    let took = all(machine, "file");
    machine.does("unmount");
    machine.does("close");
    took
}

fn bare(machine: &Machine) -> [Took; WORKLOADS.len()] {
    all(machine, "disk")
}

fn all(machine: &Machine, place: &str) -> [Took; WORKLOADS.len()] {
    array::from_fn(|at| {
        let answer = machine.does(&format!("time {} {place}", WORKLOADS[at].0));
        let (bytes, micros) = answer.split_once(' ').unwrap();
        Took { bytes: bytes.parse().unwrap(), time: Duration::from_micros(micros.parse().unwrap()) }
    })
}
