//! How long the guest takes to come how far, beside the same kernel and firmware with an init that
//! ends at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::newc::{self, Node, Tree};
use protocol::handover::AGENT_PORT;
use protocol::status::{Phase, Refusal};
use tests::guest::Host;
use tests::lab;
use tests::mirror::Mirror;

use super::{HELLO_PORT, answered, image, median, row, seconds};

/// Boots of each kind, interleaved.
const BOOTS: usize = 5;

/// A program of one instruction sequence: reboot(2) with the power-off command.
const POWER_OFF: [u8; 24] = [
    0xb8, 0xa9, 0x00, 0x00, 0x00, // mov eax, 169: reboot
    0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, 0xfee1dead
    0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, 672274793
    0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, 0x4321fedc: power off
    0x0f, 0x05, // syscall
    0xeb, 0xfe, // wait for it
];

/// When a boot came how far, from the start of QEMU.
struct Boot {
    app_measured: Duration,
    first_evidence: Duration,
    hello: Duration,
}

/// Prints the rows.
pub fn boots() {
    let image = &image();
    let directory = tempfile::tempdir().unwrap();
    let empty_initrd = directory.path().join("initrd");
    fs::write(&empty_initrd, empty_initramfs()).unwrap();
    let mirror = Mirror::honest();
    let runs: Vec<_> =
        (0..BOOTS).map(|_| (boot(image, &mirror), empty_boot(image, &empty_initrd))).collect();
    let empty = median(runs.iter().map(|(_, empty)| *empty));
    let peer = format!("empty init, powered off: {}", seconds(empty));
    let reached = |figure: &str, pick: fn(&Boot) -> Duration, aim: &str| {
        let value = median(runs.iter().map(|(boot, _)| pick(boot)));
        row(figure, &seconds(value), &peer, Some(value.as_secs_f64() / empty.as_secs_f64()), aim);
    };
    reached("boot to AppMeasured", |boot| boot.app_measured, "≤ 1.30x");
    reached("boot to first evidence", |boot| boot.first_evidence, "");
    reached("boot to hello answering", |boot| boot.hello, "");
}

fn boot(image: &Path, mirror: &Mirror) -> Boot {
    let host = Host {
        compose: fs::read_to_string(lab::checkout().join("examples/hello/docker-compose.yml"))
            .unwrap(),
        mirrors: vec![mirror.address.clone()],
        ports: vec![HELLO_PORT],
        ..Host::default()
    };
    let mut guest = host.start(image);
    let record = guest.reached(Phase::AppMeasured).unwrap();
    assert_eq!(record.refusal, Refusal::None);
    let app_measured = guest.age();
    // Who connects before there is an address waits for QEMU's network to try again, seconds later.
    guest.reached(Phase::Networked).unwrap();
    let first_evidence =
        answered(&guest, AGENT_PORT, &format!("/evidence?nonce={}", "5a".repeat(32)));
    let hello = answered(&guest, HELLO_PORT, "/");
    Boot { app_measured, first_evidence, hello }
}

fn empty_boot(image: &Path, initrd: &Path) -> Duration {
    let mut guest = Host { initrd: Some(PathBuf::from(initrd)), ..Host::default() }.start(image);
    guest.ended();
    guest.age()
}

/// An initramfs of nothing but a program that powers the machine off.
fn empty_initramfs() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    program.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable for x86-64
    for word in [BASE + HEADERS, 64, 0] {
        program.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    program.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // sizes; one program header
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]); // loaded, readable and executable
    let length = HEADERS + POWER_OFF.len() as u64;
    for word in [0, BASE, BASE, length, length, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(POWER_OFF);
    let init = Node::File { mode: 0o755, data: program };
    newc::write(&Tree::from([("init".to_owned(), init)]), 0).unwrap()
}
