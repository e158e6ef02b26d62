//! Puts the tables one behind the other, with headers, and writes the script that joins them.

use super::loader::{RSDP_FILE, Script, TABLES_FILE, Zone};
use super::{AcpiBlobs, Machine, dsdt, fixed, madt};

/// The tables' blob is padded to a multiple of this.
const BLOB_UNIT: usize = 128 * 1024;
/// Offset of the checksum in a table's header.
const CHECKSUM_OFFSET: usize = 9;
/// Length of the root pointer (ACPI 1.0).
const RSDP_BYTES: usize = 20;

/// Both blobs under construction.
struct Assembly {
    tables: Vec<u8>,
    script: Script,
}

/// All tables of a machine in QEMU's order: FACS, DSDT, FADT, MADT, MCFG, WAET, RSDT.
pub(super) fn assemble(machine: &Machine) -> AcpiBlobs {
    let mut assembly = Assembly { tables: Vec::new(), script: Script::default() };
    assembly.script.allocate(RSDP_FILE, 16, Zone::FSegment);
    assembly.script.allocate(TABLES_FILE, 64, Zone::High);

    assembly.tables.extend(fixed::facs());
    let dsdt = assembly.add_table(b"DSDT", 1, &dsdt::terms(machine).into_bytes(), |_, _| {});
    let described = [
        assembly.add_table(b"FACP", 3, &fixed::fadt(machine), |assembly, fadt| {
            assembly.link_fadt(fadt, dsdt)
        }),
        assembly.add_table(b"APIC", 3, &madt::content(machine), |_, _| {}),
        assembly.add_table(b"MCFG", 1, &fixed::mcfg(dsdt::ECAM_BASE), |_, _| {}),
        assembly.add_table(b"WAET", 1, &fixed::waet(), |_, _| {}),
    ];
    let pointers = vec![0; 4 * described.len()];
    let rsdt = assembly
        .add_table(b"RSDT", 1, &pointers, |assembly, rsdt| assembly.link_rsdt(rsdt, &described));
    assembly.finish(rsdt)
}

impl Assembly {
    /// Appends a table with its header, lets `link` fill its pointers, and orders its checksum.
    /// Returns its offset.
    fn add_table(
        &mut self,
        signature: &[u8; 4],
        revision: u8,
        content: &[u8],
        link: impl FnOnce(&mut Self, usize),
    ) -> usize {
        let start = self.tables.len();
        let length = fixed::HEADER_BYTES + content.len();
        self.tables.extend(header(signature, revision, length));
        self.tables.extend_from_slice(content);
        link(self, start);
        self.script.add_checksum(TABLES_FILE, start + CHECKSUM_OFFSET, start, length);
        start
    }

    fn link_fadt(&mut self, fadt: usize, dsdt: usize) {
        let facs = 0;
        for ((offset, size), target) in
            [(fixed::FADT_FACS, facs), (fixed::FADT_DSDT, dsdt), (fixed::FADT_X_DSDT, dsdt)]
        {
            self.point(fadt + offset, size, target);
        }
    }

    fn link_rsdt(&mut self, rsdt: usize, described: &[usize]) {
        for (index, target) in described.iter().enumerate() {
            self.point(rsdt + fixed::HEADER_BYTES + 4 * index, 4, *target);
        }
    }

    /// Writes `target`, an offset in the same blob, as a pointer that the firmware turns into an
    /// address.
    fn point(&mut self, at: usize, size: u8, target: usize) {
        let value = (target as u64).to_le_bytes();
        let width = usize::from(size);
        self.tables[at..at + width].copy_from_slice(&value[..width]);
        self.script.add_pointer(TABLES_FILE, TABLES_FILE, at, size);
    }

    fn finish(mut self, rsdt: usize) -> AcpiBlobs {
        const RSDT_POINTER: usize = 16;
        const RSDP_CHECKSUM: usize = 8;
        let rsdt = u32::try_from(rsdt).expect("blobs are far smaller than 4 GiB");
        let rsdp = [&b"RSD PTR \0BOCHS \0"[..], &rsdt.to_le_bytes()].concat();
        self.script.add_pointer(RSDP_FILE, TABLES_FILE, RSDT_POINTER, 4);
        self.script.add_checksum(RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_BYTES);
        self.tables.resize(self.tables.len().next_multiple_of(BLOB_UNIT), 0);
        AcpiBlobs { tables: self.tables, rsdp, loader: self.script.finish() }
    }
}

/// The common header (ACPI 6.5, table 5.4) with QEMU's identification; the checksum is left to the
/// firmware.
fn header(signature: &[u8; 4], revision: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("tables are far smaller than 4 GiB").to_le_bytes();
    let one = 1u32.to_le_bytes();
    [&signature[..], &length, &[revision, 0], b"BOCHS ", b"BXPC    ", &one, b"BXPC", &one].concat()
}
