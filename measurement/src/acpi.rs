//! ACPI blobs that QEMU hands to the firmware of a q35 machine, generated from the machine's shape
//! alone.
//!
//! The firmware measures `etc/table-loader`, `etc/acpi/rsdp` and `etc/acpi/tables` into RTMR0 as it
//! reads them: before it places the tables, fills pointers and checksums. They are the host's
//! programs for the guest's kernel, so a single unpredicted byte must show; this module predicts
//! all of them. It describes machines started with `-nodefaults -nographic`, `smm=off`, `hpet=off`,
//! and plain functions on the root bus.

mod aml;
mod dsdt;
mod fixed;
mod loader;
mod madt;
mod resource;
mod table;

use protocol::shape::Shape;

use crate::profile::QemuProfile;

/// Guest memory from which on the 32-bit PCI window no longer begins at its end, but at 2 GiB.
///
/// 2,816 MiB: q35 then keeps only 2 GiB below 4 GiB (QEMU, `hw/i386/pc_q35.c`).
pub(crate) const SPLIT_MEMORY_BYTES: u64 = 0xb000_0000;
/// Memory below 4 GiB of a machine that has [`SPLIT_MEMORY_BYTES`] or more.
pub(crate) const SPLIT_LOW_BYTES: u64 = 0x8000_0000;

/// Where the firmware puts the first 64-bit BAR.
///
/// OVMF's window is the top eighth of the address space, of which it uses at most 46 bits (edk2,
/// `OvmfPkg/Library/PlatformInitLib/MemDetect.c`): every TDX host has as many, an emulated machine
/// must be given `phys-bits=46`.
const FIRST_BAR64: u64 = (1 << 46) - (1 << 43);

/// The three blobs, exactly as fw_cfg gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiBlobs {
    /// `etc/acpi/tables`: all tables, zero-padded to a multiple of 128 KiB.
    pub tables: Vec<u8>,
    /// `etc/acpi/rsdp`: the root pointer, 20 bytes.
    pub rsdp: Vec<u8>,
    /// `etc/table-loader`: the script that places and joins them, zero-padded to a multiple of 4
    /// KiB.
    pub loader: Vec<u8>,
}

/// Everything that the blobs depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Version-dependent code generation.
    pub profile: QemuProfile,
    /// Processors; APIC ids are 0 to `vcpus - 1`.
    pub vcpus: u32,
    /// First byte behind memory below 4 GiB, where the 32-bit PCI window begins.
    pub low_memory_end: u32,
    /// Start of the 64-bit PCI window.
    pub pci64_base: u64,
    /// Functions on the root bus outside the chipset's slot 31.
    pub root_slots: u32,
    /// ISA serial ports.
    pub serial_ports: u32,
    /// ACPI PCI hot-plug.
    pub pci_hotplug: bool,
}

impl AcpiBlobs {
    /// Generates the blobs of a checked shape ([`Shape::check`]) for a profile.
    pub(crate) fn generate(shape: &Shape, profile: QemuProfile) -> Self {
        table::assemble(&Machine::new(shape, profile))
    }
}

/// How much of a machine's memory lies below 4 GiB.
pub(crate) fn low_memory_bytes(memory_bytes: u64) -> u64 {
    if memory_bytes < SPLIT_MEMORY_BYTES { memory_bytes } else { SPLIT_LOW_BYTES }
}

impl Machine {
    fn new(shape: &Shape, profile: QemuProfile) -> Self {
        let memory_bytes = shape.memory_mib << 20;
        let low_memory_end = low_memory_bytes(memory_bytes);
        Self {
            profile,
            vcpus: shape.vcpus,
            low_memory_end: u32::try_from(low_memory_end).expect("less than 2,816 MiB"),
            pci64_base: pci64_base(shape.root_slots, memory_bytes - low_memory_end),
            root_slots: shape.root_slots,
            serial_ports: shape.serial_ports,
            pci_hotplug: shape.pci_hotplug,
        }
    }
}

/// Start of the 64-bit PCI window: the lowest 64-bit BAR; without any, the next GiB behind memory.
///
/// Every function but the host bridge is taken to be one of virtio, which all have such a BAR.
fn pci64_base(root_slots: u32, high_memory_bytes: u64) -> u64 {
    const FOUR_GIB: u64 = 1 << 32;
    const GIB: u64 = 1 << 30;
    if root_slots > 1 { FIRST_BAR64 } else { (FOUR_GIB + high_memory_bytes).next_multiple_of(GIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blobs of real machines, trailing zeros cut off; see `tests/vectors/measurement/README.md`.
    macro_rules! vector {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/vectors/measurement/acpi/", $name, ".bin"))
        };
    }

    fn shape(vcpus: u32, memory_mib: u64, root_slots: u32, qemu: &str) -> Shape {
        Shape {
            vcpus,
            memory_mib,
            root_slots,
            serial_ports: 1,
            qemu_version: qemu.into(),
            pci_hotplug: true,
        }
    }

    fn generate(shape: &Shape) -> AcpiBlobs {
        AcpiBlobs::generate(shape, QemuProfile::for_version(&shape.qemu_version).unwrap())
    }

    /// Names the first difference by its offset, since a dump of both would say nothing.
    fn assert_blob(found: &[u8], expected: &[u8], unit: usize) {
        let trimmed =
            &found[..found.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
        let same = trimmed.iter().zip(expected).take_while(|(a, b)| a == b).count();
        let around = |bytes: &[u8]| {
            let from = same.saturating_sub(32).min(bytes.len());
            hex::encode(&bytes[from..bytes.len().min(same + 32)])
        };
        let lengths = (trimmed.len(), expected.len());
        assert!(
            trimmed == expected,
            "offset {same}, lengths {lengths:?}:\n{}\n{}",
            around(trimmed),
            around(expected)
        );
        assert_eq!(found.len() % unit, 0);
    }

    #[test]
    fn the_blobs_of_two_real_tdx_guests_are_reproduced() {
        let blobs = generate(&shape(2, 2048, 6, "8.2.2"));
        assert_blob(&blobs.tables, vector!("q8-2cpu-2GiB-6slots-tables"), 128 * 1024);
        assert_blob(&blobs.loader, vector!("q8-2cpu-2GiB-6slots-loader"), 4096);
        assert_eq!(blobs.rsdp, vector!("q8-2cpu-2GiB-6slots-rsdp"));

        let blobs = generate(&shape(1, 1024, 5, "8.2.2"));
        assert_blob(&blobs.tables, vector!("q8-1cpu-1GiB-5slots-tables"), 128 * 1024);
        assert_blob(&blobs.loader, vector!("q8-1cpu-1GiB-5slots-loader"), 4096);
        assert_eq!(blobs.rsdp, vector!("q8-1cpu-1GiB-5slots-rsdp"));
    }
}
