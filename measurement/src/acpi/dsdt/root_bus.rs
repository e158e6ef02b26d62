//! What sits on the root bus: a bare device for every function, and the LPC bridge with its ISA
//! devices.

use crate::acpi::Machine;
use crate::acpi::aml::{
    Access, Aml, Space, Unit, Update, device, eisa_id, field, int, name, operation_region, scope,
};
use crate::acpi::resource::{Descriptor, io_ports, irq, irq_level_low_shared, template};

/// The chipset's slot: LPC bridge (function 0), SATA controller (2) and SMBus (3).
const CHIPSET_SLOT: u32 = 31;
/// A device's `_STA`: present, enabled, shown, working.
const PRESENT: u64 = 0x0f;
/// The LPC bridge's interrupt routing registers (ICH9, PIRQ[n]_ROUT at 0x60 and 0x68).
const ROUTING_REGISTERS: u64 = 0x60;

/// All functions of the bus, in the order of their numbers.
pub(super) fn block(machine: &Machine) -> Aml {
    let mut functions: Vec<Aml> =
        (0..machine.root_slots).map(|slot| function(slot, 0, [])).collect();
    functions.push(function(CHIPSET_SLOT, 0, low_pin_count_bridge(machine)));
    functions.push(function(CHIPSET_SLOT, 2, []));
    functions.push(function(CHIPSET_SLOT, 3, []));
    scope("\\_SB", [scope("PCI0", functions)])
}

fn function(slot: u32, function: u32, terms: impl IntoIterator<Item = Aml>) -> Aml {
    let address = name("_ADR", int(u64::from(slot << 16 | function)));
    let at = format!("S{:02X}", slot << 3 | function);
    device(&at, [address].into_iter().chain(terms))
}

fn low_pin_count_bridge(machine: &Machine) -> Vec<Aml> {
    let routes = ["PRQA", "PRQB", "PRQC", "PRQD", "PRQE", "PRQF", "PRQG", "PRQH"]
        .map(|at| Unit::Named(at, 8));
    let units = [&routes[..4], &[Unit::Skip(32)], &routes[4..]].concat();
    let mut terms = vec![
        operation_region("PIRQ", Space::PciConfig, ROUTING_REGISTERS, 0xc),
        scope("\\_SB", [field("PCI0.SF8.PIRQ", Access::Byte, Update::Preserve, &units)]),
        isa_device("KBD", "PNP0303", [io_ports(0x60, 1, 1), io_ports(0x64, 1, 1), irq(1)]),
        isa_device("MOU", "PNP0F13", [irq(12)]),
    ];
    // QEMU walks the bus's children from the last to the first.
    terms.extend((1..=machine.serial_ports).rev().map(|port| serial_port(machine, port)));
    terms.push(device(
        "RTC",
        [name("_HID", eisa_id("PNP0B00")), name("_CRS", template([io_ports(0x70, 1, 8), irq(8)]))],
    ));
    terms
}

fn isa_device(at: &str, id: &str, resources: impl IntoIterator<Item = Descriptor>) -> Aml {
    let terms =
        [name("_HID", eisa_id(id)), name("_STA", int(PRESENT)), name("_CRS", template(resources))];
    device(at, terms)
}

fn serial_port(machine: &Machine, port: u32) -> Aml {
    let (base, line) = if port == 1 { (0x3f8, 4) } else { (0x2f8, 3) };
    let interrupt =
        if machine.profile.serial_irq_with_flags { irq_level_low_shared(line) } else { irq(line) };
    let terms = [
        name("_HID", eisa_id("PNP0501")),
        name("_UID", int(port.into())),
        name("_STA", int(PRESENT)),
        name("_CRS", template([io_ports(base, 0, 8), interrupt])),
    ];
    device(&format!("COM{port}"), terms)
}
