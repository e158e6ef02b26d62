//! Promise: the generated ACPI blobs are those of the locked QEMUs, byte for byte, for every kind
//! of shape.
//!
//! Every test is made with each of them: the one that images are built for, and trixie's own.

use measurement::{AcpiBlobs, Compared, QemuProfile, Shape};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use reproducible_build::qemu::Qemu;
use tests::lab;
use tests::qemu_probe::Probe;

/// Shapes of every run.
const SHORT_RUN_SHAPES: u32 = 8;
/// Shapes of the long run, `cargo xtask test --long`.
const LONG_RUN_SHAPES: u32 = 400;
/// Any number: the same shapes in every run.
const LONG_RUN_SEED: u64 = 0x6473_7479;
/// What a machine with 2,816 MiB or more keeps below 4 GiB is 2 GiB; tests stay below what a small
/// host can map.
const MOST_MEMORY_MIB: u64 = 16 * 1024;

/// The QEMUs that profiles are compared with.
fn qemus() -> [&'static Qemu; 2] {
    [lab::qemu(), lab::qemu_10()]
}

/// The smallest launch of a dev image.
fn launch(qemu: &Qemu) -> Shape {
    Shape {
        vcpus: 2,
        memory_mib: 2048,
        root_slots: 5,
        serial_ports: 2,
        qemu_version: qemu.version.clone(),
        pci_hotplug: true,
    }
}

/// The machine of a shape: network cards and disks in turn on its root slots.
fn arguments(shape: &Shape) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-machine", "q35,smm=off,pic=off,hpet=off", "-cpu", "max", "-nodefaults", "-nographic"]
            .map(str::to_owned)
            .to_vec();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("-smp", shape.vcpus.to_string());
    option("-m", format!("{}M", shape.memory_mib));
    if !shape.pci_hotplug {
        option("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".into());
    }
    for port in 0..shape.serial_ports {
        option("-chardev", format!("null,id=com{port}"));
        option("-serial", format!("chardev:com{port}"));
    }
    for slot in 1..shape.root_slots {
        if slot % 2 == 1 {
            option("-netdev", format!("user,id=net{slot}"));
            option("-device", format!("virtio-net-pci,netdev=net{slot},romfile="));
        } else {
            option("-blockdev", format!("null-co,node-name=disk{slot},size=1048576"));
            option("-device", format!("virtio-blk-pci,drive=disk{slot}"));
        }
    }
    arguments
}

fn of_qemu(qemu: &Qemu, shape: &Shape) -> AcpiBlobs {
    Probe::start(qemu.command().args(arguments(shape))).unwrap().acpi_blobs().unwrap()
}

/// The first byte that differs, with the bytes around it.
fn difference(ours: &[u8], theirs: &[u8]) -> Option<String> {
    if ours == theirs {
        return None;
    }
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let around =
        |bytes: &[u8]| hex::encode(&bytes[at.saturating_sub(24)..bytes.len().min(at + 24)]);
    let lengths = (ours.len(), theirs.len());
    Some(format!(
        "offset {at:#x}, lengths {lengths:?}\n ours {}\n QEMU {}",
        around(ours),
        around(theirs)
    ))
}

fn compare(qemu: &Qemu, shape: &Shape) -> Result<(), String> {
    let (ours, theirs) = (AcpiBlobs::for_shape(shape).unwrap(), of_qemu(qemu, shape));
    let differences = [
        ("tables", difference(&ours.tables, &theirs.tables)),
        ("rsdp", difference(&ours.rsdp, &theirs.rsdp)),
        ("loader", difference(&ours.loader, &theirs.loader)),
    ];
    match differences.into_iter().find_map(|(blob, difference)| Some((blob, difference?))) {
        Some((blob, difference)) => Err(format!("{shape:?}: {blob}: {difference}")),
        None => Ok(()),
    }
}

/// Compares each shape, made from the smallest launch, on each QEMU.
fn assert_equal(shapes: impl Fn(Shape) -> Vec<Shape>) {
    let of = |qemu: &'static Qemu| {
        shapes(launch(qemu)).into_iter().filter_map(|shape| compare(qemu, &shape).err())
    };
    let differing: Vec<String> = qemus().into_iter().flat_map(of).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn every_profile_that_claims_a_comparison_with_a_binary_has_it_here() {
    let compared: Vec<_> = qemus()
        .map(|qemu| QemuProfile::for_version(&qemu.version).unwrap().family)
        .into_iter()
        .rev()
        .collect();
    let claimed =
        QemuProfile::ALL.into_iter().filter(|profile| profile.compared == Compared::Binary);
    assert_eq!(claimed.map(|profile| profile.family).collect::<Vec<_>>(), compared);
}

#[test]
fn whatever_the_number_of_processors() {
    // 8 to 9: the FADT's destination model. 255 to 256: x2APIC structures.
    let numbers = [1, 2, 3, 8, 9, 16, 64, 254, 255, 256, 300];
    assert_equal(|launch| numbers.map(|vcpus| Shape { vcpus, ..launch.clone() }).to_vec());
}

#[test]
fn whatever_the_memory_size() {
    let sizes = [512, 1024, 2047, 2048, 2815, 2816, 4096, MOST_MEMORY_MIB];
    assert_equal(|launch| sizes.map(|memory_mib| Shape { memory_mib, ..launch.clone() }).to_vec());
}

#[test]
fn with_more_disks_and_network_cards_and_with_none() {
    assert_equal(|launch| {
        [1, 2, 5, 8, 17, 31].map(|root_slots| Shape { root_slots, ..launch.clone() }).to_vec()
    });
    assert_equal(|launch| vec![Shape { root_slots: 1, memory_mib: 5000, ..launch }]);
}

#[test]
fn with_every_number_of_serial_ports_and_without_hot_plug() {
    for pci_hotplug in [true, false] {
        let ports = |launch: Shape| {
            [0, 1, 2].map(|serial_ports| Shape { serial_ports, pci_hotplug, ..launch.clone() })
        };
        assert_equal(|launch| ports(launch).to_vec());
    }
    assert_equal(|launch| {
        vec![Shape { pci_hotplug: false, vcpus: 64, memory_mib: 8192, root_slots: 9, ..launch }]
    });
}

#[test]
fn another_shape_and_another_qemu_are_told_apart() {
    let [locked, other] = qemus();
    let ours = AcpiBlobs::for_shape(&launch(locked)).unwrap();
    let theirs = of_qemu(locked, &Shape { vcpus: 3, ..launch(locked) });
    assert!(difference(&ours.tables, &theirs.tables).is_some());
    assert!(difference(&ours.tables, &of_qemu(other, &launch(other)).tables).is_some());
}

#[test]
fn a_seeded_sample_of_all_shapes() {
    let shapes = (1..=300u32, 256..=MOST_MEMORY_MIB, 1..=31u32, 0..=2u32, any::<bool>());
    let cases = if lab::long() { LONG_RUN_SHAPES } else { SHORT_RUN_SHAPES };
    for qemu in qemus() {
        let config = Config { cases, rng_seed: RngSeed::Fixed(LONG_RUN_SEED), ..Config::default() };
        let sample = TestRunner::new(config).run(
            &shapes,
            |(vcpus, memory_mib, root_slots, serial_ports, pci_hotplug)| {
                let shape = Shape {
                    vcpus,
                    memory_mib,
                    root_slots,
                    serial_ports,
                    pci_hotplug,
                    ..launch(qemu)
                };
                compare(qemu, &shape).map_err(TestCaseError::fail)
            },
        );
        sample.unwrap();
    }
}
