//! dstack's image files: what is accepted has legal ranges and a digest for each file that counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use measurement::dstack_image::{self, Checksums, Metadata};
use measurement::{Shape, predict_each};
use protocol::digest::OsImageHash;
use protocol::image::MAX_ACCEPTED_RANGES;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = Checksums::parse(bytes) {
        assert_eq!(list.os_image_hash, OsImageHash::of(bytes));
    }
    if let Ok(metadata) = Metadata::parse(bytes) {
        assert!(
            [&metadata.firmware, &metadata.kernel, &metadata.initrd]
                .iter()
                .all(|name| !name.contains('/'))
        );
    }
    let Ok(facts) = dstack_image::facts(bytes) else { return };
    assert!(facts.firmware.accepted_ranges.len() <= MAX_ACCEPTED_RANGES);
    let qemu_version = "8.2.2".to_owned();
    let shape = Shape {
        vcpus: 1,
        memory_mib: 2048,
        root_slots: 5,
        serial_ports: 1,
        qemu_version,
        pci_hotplug: true,
    };
    assert!(predict_each(&facts, &shape).mrtd.is_ok());
});
