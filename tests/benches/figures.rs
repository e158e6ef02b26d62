//! Measures what `docs/performance.md` states, each figure beside its peer, in one run: `cargo xtask bench`.
//!
//! Boots are interleaved with those of the same kernel and firmware with an empty init, so that both have the
//! same machine in the same minute; medians are printed. With `DSTYX_LONG` the hermetic builds are timed too.

#![allow(clippy::unwrap_used)] // a figure that cannot be had ends the run

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::newc::{self, Node, Tree};
use measurement::explain::{FoundRegisters, Known, StatedBy, explain};
use measurement::{App, FirmwareLayout, ImageFacts, ImageFiles, Until};
use protocol::digest::{AppId, ComposeHash, Rtmr};
use protocol::handover::AGENT_PORT;
use protocol::image::{Flavour, ImageManifest};
use protocol::shape::Shape;
use protocol::status::{Phase, Refusal};
use serde_json::Value;
use sha2::{Digest as _, Sha384};
use tests::dstyx::User;
use tests::guest::{Guest, Host};
use tests::lab;
use tests::mirror::Mirror;

#[path = "figures/api.rs"]
mod api;
#[path = "figures/bridge.rs"]
mod bridge;
#[path = "figures/healthy.rs"]
mod healthy;
#[path = "figures/pulling.rs"]
mod pulling;
#[path = "figures/verification.rs"]
mod verification;

/// Boots of each kind.
const BOOTS: usize = 5;
/// Predictions from image.json, and from the files.
const PREDICTIONS: usize = 1001;
const HASHINGS: usize = 9;
/// Where the example listens.
const HELLO_PORT: u16 = 8080;

/// A program of one instruction sequence: reboot(2) with the power-off command.
const POWER_OFF: [u8; 24] = [
    0xb8, 0xa9, 0x00, 0x00, 0x00, // mov eax, 169: reboot
    0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, 0xfee1dead
    0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, 672274793
    0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, 0x4321fedc: power off
    0x0f, 0x05, // syscall
    0xeb, 0xfe, // wait for it
];

fn main() {
    let image = lab::image(Flavour::Dev);
    println!("Machine: {}\n", machine());
    println!("| figure | value | beside it | ratio | aim |\n|---|---|---|---|---|");
    sizes(&image);
    boots(&image);
    api::figures(&image);
    predictions(&image);
    verification::verifications();
    verdicts();
    hopeless_search(&image);
    bridge::bridges();
    pulling::pulls();
    healthy::starts();
    rebuilds();
}

/// One line of the table; `aim` as the reader shall see it.
fn row(figure: &str, value: &str, peer: &str, ratio: Option<f64>, aim: &str) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
    println!("| {figure} | {value} | {peer} | {ratio} | {aim} |");
}

fn sizes(image: &Path) {
    let bytes = |name: &str| fs::metadata(image.join(name)).unwrap().len() as f64 / 1e6;
    for name in ["firmware.fd", "kernel", "initrd"] {
        row(name, &format!("{:.1} MB", bytes(name)), "", None, "");
    }
    row("kernel and initrd", &format!("{:.1} MB", bytes("kernel") + bytes("initrd")), "", None, "≤ 30 MB");
}

/// When a boot came how far, from the start of QEMU.
struct Boot {
    app_measured: Duration,
    first_evidence: Duration,
    hello: Duration,
}

fn boots(image: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let empty_initrd = folder.path().join("initrd");
    fs::write(&empty_initrd, empty_initramfs()).unwrap();
    let mirror = Mirror::honest();
    let runs: Vec<_> = (0..BOOTS).map(|_| (boot(image, &mirror), empty_boot(image, &empty_initrd))).collect();
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
        compose: fs::read_to_string(lab::checkout().join("examples/hello/docker-compose.yml")).unwrap(),
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
    let first_evidence = answered(&guest, AGENT_PORT, &format!("/evidence?nonce={}", "5a".repeat(32)));
    let hello = answered(&guest, HELLO_PORT, "/");
    Boot { app_measured, first_evidence, hello }
}

/// Age of the guest when it first answered.
fn answered(guest: &Guest, port: u16, path: &str) -> Duration {
    while guest.get(port, path).is_none() {
        assert!(guest.age() < Duration::from_secs(180), "nothing answers:\n{}", guest.console());
        std::thread::sleep(Duration::from_millis(5));
    }
    guest.age()
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

fn predictions(image: &Path) {
    let json = fs::read(image.join("image.json")).unwrap();
    let app = app();
    let from_json = median((0..PREDICTIONS).map(|_| {
        timed(|| {
            let manifest = ImageManifest::parse(&json).unwrap();
            let facts = ImageFacts::from_manifest(&manifest).unwrap();
            let shape = shape(&manifest);
            let registers = measurement::predict_registers(&facts, &shape).unwrap();
            (registers, measurement::predict_app(&app, Until::SystemReady))
        })
    }));
    row("all registers from image.json", &format!("{} µs", from_json.as_micros()), "", None, "≤ 10 ms");

    let manifest = lab::manifest(image);
    let read = |name: &str| fs::read(image.join(name)).unwrap();
    let (firmware, kernel, initrd) = (read("firmware.fd"), read("kernel"), read("initrd"));
    let layout = FirmwareLayout::from_name(&manifest.firmware_facts.layout).unwrap();
    let files =
        ImageFiles { firmware: &firmware, layout, kernel: &kernel, initrd: &initrd, cmdline: &manifest.cmdline };
    let shape = shape(&manifest);
    let runs: Vec<_> = (0..HASHINGS)
        .map(|_| {
            let predicted = timed(|| {
                let facts = ImageFacts::from_files(&files).unwrap();
                measurement::predict_registers(&facts, &shape).unwrap()
            });
            (predicted, timed(|| hashed(&files)))
        })
        .collect();
    let predicted = median(runs.iter().map(|(predicted, _)| *predicted));
    let plain = median(runs.iter().map(|(_, plain)| *plain));
    let peer = format!("SHA-384 of each file once: {}", milliseconds(plain));
    let ratio = Some(predicted.as_secs_f64() / plain.as_secs_f64());
    row("all registers from the files", &milliseconds(predicted), &peer, ratio, "≤ 1.10x");
}

/// Every file hashed once, on as many threads as the prediction uses.
fn hashed(files: &ImageFiles<'_>) -> [[u8; 48]; 3] {
    let hash = |bytes: &[u8]| -> [u8; 48] { Sha384::digest(bytes).into() };
    std::thread::scope(|scope| {
        let firmware = scope.spawn(|| hash(files.firmware));
        [hash(files.kernel), hash(files.initrd), firmware.join().unwrap()]
    })
}

/// The whole program on a real guest's evidence and its image's measurement file: as it is, and of a machine that it is not.
fn verdicts() {
    let evidence = lab::checkout().join("tests/vectors/measurement/dstack-0.6-2cpu-2GiB.json");
    let folder = tempfile::tempdir().unwrap();
    let text: Value = serde_json::from_slice(&fs::read(&evidence).unwrap()).unwrap();
    let config: Value = serde_json::from_str(text["vm_config"].as_str().unwrap()).unwrap();
    for (key, file) in [("checksum_file", "sha256sum.txt"), ("measurement", "measurement.tdx.cbor")] {
        let part = config["tdx_measurement"][key].as_str().unwrap();
        fs::write(folder.path().join(file), BASE64.decode(part).unwrap()).unwrap();
    }
    let user = User::default();
    let verdict = |vcpus: &str| {
        let options = ["verify", "--evidence", evidence.to_str().unwrap(), "--image", folder.path().to_str().unwrap()];
        let answer = user.dstyx([&options[..], &["--vcpus", vcpus]].concat());
        let expected = if vcpus == "2" { "pass" } else { "fail" };
        assert_eq!(answer.verdict("rtmr0"), expected, "{answer:?}");
    };
    let time = |vcpus| median((0..HASHINGS).map(|_| timed(|| verdict(vcpus))));
    row("`dstyx verify` of a file, whole", &milliseconds(time("2")), "", None, "≤ 100 ms");
    row("`dstyx verify`, a mismatch explained", &milliseconds(time("4")), "", None, "≤ 2 s");
}

/// A register that follows from nothing, without a log: every neighbour is tried.
fn hopeless_search(image: &Path) {
    let manifest = lab::manifest(image);
    let facts = ImageFacts::from_manifest(&manifest).unwrap();
    let stated = shape(&manifest);
    let known =
        Known { image: &facts, stated: &stated, stated_by: StatedBy::PERSON, claimed: None, others: &[], log: &[] };
    let unknown = FoundRegisters { mrtd: manifest.reference.mrtd.single_pass, rtmrs: [Rtmr::ZERO; 3] };
    let time = median((0..3).map(|_| timed(|| explain(&known, &unknown))));
    row("all neighbours of three registers tried", &milliseconds(time), "", None, "≤ 2 s");
}

fn shape(manifest: &ImageManifest) -> Shape {
    Shape {
        vcpus: 2,
        memory_mib: 2048,
        root_slots: manifest.machine.root_slots,
        serial_ports: manifest.machine.serial_ports,
        qemu_version: manifest.machine.qemu_version.clone(),
        pci_hotplug: true,
    }
}

fn app() -> App {
    let compose_hash = ComposeHash::of(b"{}");
    App {
        compose_hash,
        app_id: AppId::from_compose_hash(&compose_hash),
        instance_id: None,
        os_image_hash: None,
        key_provider: Some(r#"{"name":"none","id":""}"#.to_owned()),
        storage_fs: Some("btrfs".to_owned()),
        danger_privileged: false,
    }
}

/// A second, uncached build of each part and its comparison; the first is in the cache.
fn rebuilds() {
    for part in ["examples", "initrd", "firmware", "kernel"] {
        let figure = format!("hermetic rebuild of {part}");
        if !lab::long() {
            row(&figure, "measured with DSTYX_LONG=1", "", None, "");
            continue;
        }
        let started = Instant::now();
        let answer = User::default().dstyx(["rebuild", "--only", part]);
        let verdict = if answer.code == 0 { "every byte equal" } else { "DIFFERENT" };
        row(&figure, &seconds(started.elapsed()), verdict, None, "");
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Processor, cores, kernel and load: what a reader needs to compare.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores, Linux {}, load {}, QEMU {} (TCG)",
        model.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        lab::qemu().version
    )
}
