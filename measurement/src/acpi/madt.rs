//! The MADT: processors' local APICs, the I/O APIC, interrupt overrides and the NMI line (ACPI 6.5,
//! section 5.2.12).

use super::Machine;
use crate::profile::LineTrigger;

/// First APIC id that needs the structure for x2APIC.
pub(super) const FIRST_X2APIC_ID: u32 = 255;

const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
const IO_APIC_ADDRESS: u32 = 0xfec0_0000;
/// Interrupts that q35 routes PCI links to, besides the timer the only ones that are not as on a
/// PC/AT.
const PCI_LINES: [u8; 4] = [5, 9, 10, 11];
/// Override flags: as the bus says.
const AS_BUS: u16 = 0;
/// Override flags: active high, edge-triggered.
const HIGH_EDGE: u16 = 0x05;
/// Override flags: active high, level-triggered.
const HIGH_LEVEL: u16 = 0x0d;

/// The table's content behind its header.
pub(super) fn content(machine: &Machine) -> Vec<u8> {
    let flags = u32::from(machine.profile.legacy_pic);
    let mut bytes = [LOCAL_APIC_ADDRESS.to_le_bytes(), flags.to_le_bytes()].concat();
    (0..machine.vcpus).for_each(|id| bytes.extend(local_apic(id)));
    bytes.extend(io_apic());
    bytes.extend(overrides(machine.profile.line_trigger));
    bytes.extend(non_maskable_interrupt(machine.vcpus));
    bytes
}

/// The structure of one enabled processor, also the value of its `_MAT`.
pub(super) fn local_apic(id: u32) -> Vec<u8> {
    const ENABLED: [u8; 4] = 1u32.to_le_bytes();
    match u8::try_from(id) {
        Ok(short) if id < FIRST_X2APIC_ID => [&[0, 8, short, short][..], &ENABLED].concat(),
        _ => [&[9, 16, 0, 0][..], &id.to_le_bytes(), &ENABLED, &id.to_le_bytes()].concat(),
    }
}

fn io_apic() -> Vec<u8> {
    const ID_AND_RESERVED: [u8; 2] = [0, 0];
    const FIRST_INTERRUPT: [u8; 4] = [0; 4];
    [&[1, 12][..], &ID_AND_RESERVED, &IO_APIC_ADDRESS.to_le_bytes(), &FIRST_INTERRUPT].concat()
}

/// ISA line 0, the timer, always arrives at input 2.
fn overrides(trigger: LineTrigger) -> Vec<u8> {
    let input = |line: u8| if line == 0 { 2 } else { line };
    match trigger {
        LineTrigger::Edge => {
            (0..16).flat_map(|line| interrupt_override(line, input(line), HIGH_EDGE)).collect()
        }
        LineTrigger::Level => interrupt_override(0, input(0), AS_BUS)
            .into_iter()
            .chain(
                PCI_LINES.into_iter().flat_map(|line| interrupt_override(line, line, HIGH_LEVEL)),
            )
            .collect(),
    }
}

fn interrupt_override(line: u8, input: u8, flags: u16) -> [u8; 10] {
    let [low, high] = flags.to_le_bytes();
    [2, 10, 0, line, input, 0, 0, 0, low, high]
}

/// The NMI at LINT1 of all processors.
fn non_maskable_interrupt(vcpus: u32) -> Vec<u8> {
    const LINT1: u8 = 1;
    if vcpus > FIRST_X2APIC_ID {
        vec![10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, LINT1, 0, 0, 0]
    } else {
        vec![4, 6, 0xff, 0, 0, LINT1]
    }
}
