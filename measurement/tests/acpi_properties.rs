//! Promise: whatever the shape, the generated blobs are what a firmware can load: the loader script
//! places every table, every pointer leads to a table, and after the script all checksums are
//! right.

#![allow(clippy::unwrap_used)] // a test whose input cannot be built has failed

use measurement::{AcpiBlobs, Shape};
use proptest::prelude::*;

const COMMAND_BYTES: usize = 128;
const TABLES: &str = "etc/acpi/tables";
const RSDP: &str = "etc/acpi/rsdp";
/// Where the "firmware" of this test places the two files.
const TABLES_ADDRESS: u64 = 0x7e00_0000;
const RSDP_ADDRESS: u64 = 0xf_5000;

fn shapes() -> impl Strategy<Value = Shape> {
    let version = prop_oneof![Just("8.2.2"), Just("11.1.3")];
    (1..=300u32, 16..=(1u64 << 20), 1..=31u32, 0..=2u32, version, any::<bool>()).prop_map(
        |(vcpus, memory_mib, root_slots, serial_ports, version, pci_hotplug)| Shape {
            vcpus,
            memory_mib,
            root_slots,
            serial_ports,
            qemu_version: version.to_owned(),
            pci_hotplug,
        },
    )
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A firmware's memory while it runs the script.
struct Memory {
    tables: Vec<u8>,
    rsdp: Vec<u8>,
    /// Files that were placed.
    placed: Vec<String>,
}

impl Memory {
    /// Runs a script as the firmware does, refusing whatever it would refuse.
    fn load(blobs: &AcpiBlobs) -> Self {
        let mut memory =
            Self { tables: blobs.tables.clone(), rsdp: blobs.rsdp.clone(), placed: Vec::new() };
        for command in blobs.loader.chunks_exact(COMMAND_BYTES) {
            let file = file_name(&command[4..60]);
            match u32_at(command, 0) {
                0 => assert!(command.iter().all(|byte| *byte == 0)),
                1 => memory.place(&file, u32_at(command, 60)),
                2 => memory.add_pointer(&file, &file_name(&command[60..116]), &command[116..121]),
                3 => memory.add_checksum(&file, [60, 64, 68].map(|at| u32_at(command, at))),
                code => panic!("command {code}"),
            }
        }
        memory
    }

    fn place(&mut self, file: &str, alignment: usize) {
        assert!(alignment.is_power_of_two() && address(file).is_multiple_of(alignment as u64));
        assert!(!self.placed.iter().any(|placed| placed == file), "{file} is placed twice");
        self.placed.push(file.to_owned());
    }

    fn bytes(&mut self, file: &str) -> &mut [u8] {
        assert!(
            self.placed.iter().any(|placed| placed == file),
            "{file} is used before it is placed"
        );
        if file == TABLES { &mut self.tables } else { &mut self.rsdp }
    }

    fn add_pointer(&mut self, file: &str, target: &str, operand: &[u8]) {
        let (at, size) = (u32_at(operand, 0), usize::from(operand[4]));
        let bytes = &mut self.bytes(file)[at..at + size];
        let mut value = [0; 8];
        value[..size].copy_from_slice(bytes);
        let pointer = (u64::from_le_bytes(value) + address(target)).to_le_bytes();
        bytes.copy_from_slice(&pointer[..size]);
    }

    fn add_checksum(&mut self, file: &str, [at, start, length]: [usize; 3]) {
        let bytes = self.bytes(file);
        assert_eq!(bytes[at], 0, "a checksum is only computed once");
        bytes[at] = sum(&bytes[start..start + length]).wrapping_neg();
    }

    /// A table's bytes by its address.
    fn table(&self, address: u64) -> &[u8] {
        let start = usize::try_from(address - TABLES_ADDRESS).unwrap();
        &self.tables[start..start + u32_at(&self.tables, start + 4)]
    }
}

fn file_name(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(field[..end].to_vec()).unwrap()
}

fn address(file: &str) -> u64 {
    match file {
        TABLES => TABLES_ADDRESS,
        RSDP => RSDP_ADDRESS,
        _ => panic!("file {file}"),
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Signature of a table whose checksum must be right.
fn checked<'a>(table: &'a [u8], name: &str) -> &'a [u8] {
    assert_eq!(sum(table), 0, "checksum of {name}");
    assert_eq!(&table[..4], name.as_bytes());
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_firmware_finds_every_table_with_a_right_checksum(shape in shapes()) {
        let blobs = AcpiBlobs::for_shape(&shape).unwrap();
        prop_assert_eq!(blobs.tables.len() % (128 * 1024), 0);
        prop_assert_eq!(blobs.loader.len() % 4096, 0);

        let memory = Memory::load(&blobs);
        prop_assert_eq!(sum(&memory.rsdp), 0);
        let rsdt = checked(memory.table(u32_at(&memory.rsdp, 16) as u64), "RSDT");
        let described: Vec<&[u8]> = rsdt[36..].chunks_exact(4).map(|entry| memory.table(u32_at(entry, 0) as u64)).collect();
        let [fadt, madt, mcfg, waet] = described[..] else { panic!("{} tables", described.len()) };
        for (table, name) in [(fadt, "FACP"), (madt, "APIC"), (mcfg, "MCFG"), (waet, "WAET")] {
            checked(table, name);
        }
        prop_assert_eq!(&memory.table(u32_at(fadt, 36) as u64)[..4], b"FACS");
        prop_assert_eq!(u32_at(fadt, 40), u32_at(fadt, 140));
        checked(memory.table(u32_at(fadt, 40) as u64), "DSDT");
    }

    #[test]
    fn tables_stand_one_behind_the_other_and_only_zeros_follow(shape in shapes()) {
        let tables = AcpiBlobs::for_shape(&shape).unwrap().tables;
        let mut at = 0;
        for name in ["FACS", "DSDT", "FACP", "APIC", "MCFG", "WAET", "RSDT"] {
            prop_assert_eq!(&tables[at..at + 4], name.as_bytes());
            at += u32_at(&tables, at + 4);
        }
        prop_assert!(tables[at..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_madt_names_every_processor_once(shape in shapes()) {
        let tables = AcpiBlobs::for_shape(&shape).unwrap().tables;
        let madt = tables.windows(4).position(|window| window == b"APIC").unwrap();
        let mut entries = &tables[madt + 44..madt + u32_at(&tables, madt + 4)];
        let mut processors = Vec::new();
        while let [kind, length, ..] = *entries {
            match kind {
                0 => processors.push(usize::from(entries[3])),
                9 => processors.push(u32_at(entries, 4)),
                _ => {}
            }
            entries = &entries[usize::from(length)..];
        }
        prop_assert!(processors.into_iter().eq(0..shape.vcpus as usize));
    }
}
