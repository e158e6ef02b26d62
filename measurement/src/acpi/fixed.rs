//! Tables whose content is fixed but for a few fields: FACS, FADT, MCFG and WAET.

use super::Machine;

/// Length of the FACS, which has no common header.
const FACS_BYTES: usize = 64;
/// Length of a FADT of revision 3, header included (ACPI 2.0c, table 5-9).
const FADT_BYTES: usize = 244;
/// Length of the common header.
pub(super) const HEADER_BYTES: usize = 36;
/// Power management ports: OVMF's choice on q35.
const PM_BASE: u32 = 0x600;

/// The firmware control structure: all zero, to be used by the operating system.
pub(super) fn facs() -> Vec<u8> {
    let mut bytes = b"FACS".to_vec();
    bytes.extend((FACS_BYTES as u32).to_le_bytes());
    bytes.resize(FACS_BYTES, 0);
    bytes
}

/// Offsets from the FADT's start of its pointers to FACS, DSDT and DSDT (64 bits), with their
/// sizes.
pub(super) const FADT_FACS: (usize, u8) = (36, 4);
pub(super) const FADT_DSDT: (usize, u8) = (40, 4);
pub(super) const FADT_X_DSDT: (usize, u8) = (140, 8);

/// The FADT's content behind its header, pointers zero.
pub(super) fn fadt(machine: &Machine) -> Vec<u8> {
    let mut fadt = Fields(vec![0; FADT_BYTES - HEADER_BYTES]);
    const SYSTEM_CONTROL_INTERRUPT: u16 = 9;
    const NO_C2: u16 = 0xfff;
    const NO_C3: u16 = 0xfff;
    const CENTURY: u8 = 0x32;
    const HAS_8042: u16 = 0x0002;
    fadt.put(44, &[1]); // interrupt model of ACPI 1.0: multiple APIC
    fadt.put(46, &SYSTEM_CONTROL_INTERRUPT.to_le_bytes());
    fadt.put(56, &PM_BASE.to_le_bytes());
    fadt.put(64, &(PM_BASE + 0x04).to_le_bytes());
    fadt.put(76, &(PM_BASE + 0x08).to_le_bytes());
    fadt.put(80, &(PM_BASE + 0x20).to_le_bytes());
    fadt.put(88, &[4, 2, 0, 4, 16]); // lengths of the event, control, (second control), timer and GPE0 blocks
    fadt.put(96, &NO_C2.to_le_bytes());
    fadt.put(98, &NO_C3.to_le_bytes());
    fadt.put(108, &[CENTURY]);
    fadt.put(109, &HAS_8042.to_le_bytes());
    fadt.put(112, &fadt_flags(machine.vcpus).to_le_bytes());
    fadt.put(116, &io_register(8, 0xcf9)); // reset
    fadt.put(128, &[0x0f]);
    fadt.put(148, &io_register(32, PM_BASE));
    fadt.put(172, &io_register(16, PM_BASE + 0x04));
    fadt.put(208, &io_register(32, PM_BASE + 0x08));
    fadt.put(220, &io_register(128, PM_BASE + 0x20));
    fadt.0
}

/// The memory-mapped configuration space of segment 0.
pub(super) fn mcfg(ecam_base: u32) -> Vec<u8> {
    let reserved = [0; 8];
    let (segment, first_bus, last_bus) = ([0; 2], 0, 0xff);
    let base = u64::from(ecam_base).to_le_bytes();
    [&reserved[..], &base, &segment, &[first_bus, last_bus], &[0; 4]].concat()
}

/// Windows' table of emulated devices: the power management timer can be read once.
pub(super) fn waet() -> Vec<u8> {
    const PM_TIMER_GOOD: u32 = 1 << 1;
    PM_TIMER_GOOD.to_le_bytes().to_vec()
}

/// Fixed feature flags (ACPI 6.5, table 5.10).
fn fadt_flags(vcpus: u32) -> u32 {
    /// Processors that the flat logical destination mode of the local APIC can name.
    const FLAT_MODE_PROCESSORS: u32 = 8;
    const WBINVD: u32 = 1 << 0;
    const C1_EVERYWHERE: u32 = 1 << 2;
    const NO_SLEEP_BUTTON: u32 = 1 << 5;
    const RTC_WAKES_FROM_S4: u32 = 1 << 7;
    const RESET_REGISTER: u32 = 1 << 10;
    const PLATFORM_CLOCK: u32 = 1 << 15;
    const CLUSTER_MODEL: u32 = 1 << 18;
    let cluster = if vcpus > FLAT_MODE_PROCESSORS { CLUSTER_MODEL } else { 0 };
    WBINVD
        | C1_EVERYWHERE
        | NO_SLEEP_BUTTON
        | RTC_WAKES_FROM_S4
        | RESET_REGISTER
        | PLATFORM_CLOCK
        | cluster
}

/// A generic address structure of I/O ports.
fn io_register(bits: u8, port: u32) -> [u8; 12] {
    const SYSTEM_IO: u8 = 1;
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&[SYSTEM_IO, bits]);
    bytes[4..8].copy_from_slice(&port.to_le_bytes());
    bytes
}

/// A table's content, addressed by offsets from the table's start, as the specification gives them.
struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let start = offset - HEADER_BYTES;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }
}
