//! The DSDT of a q35 machine: its blocks in QEMU's order, each block in a file of its own.

mod debug_port;
mod host_bridge;
mod interrupt_routing;
mod pci_hotplug;
mod power;
mod processors;
mod root_bus;

pub(super) use host_bridge::ECAM_BASE;

use super::Machine;
use super::aml::{self, Aml, Entry};

/// All terms of the table, without its header.
pub(super) fn terms(machine: &Machine) -> Aml {
    let mut blocks = vec![debug_port::block(), host_bridge::devices(machine)];
    if machine.pci_hotplug {
        blocks.push(pci_hotplug::registers(machine.profile));
    }
    blocks.extend([
        interrupt_routing::mode(),
        interrupt_routing::block(machine.profile),
        aml::scope("_GPE", [aml::name("_HID", aml::string("ACPI0006"))]),
        processors::block(machine),
        processors::event(),
        host_bridge::resources(machine),
        power::sleep_states(),
        host_bridge::firmware_configuration(),
        root_bus::block(machine),
    ]);
    if machine.pci_hotplug {
        // The event's handler is empty as long as no bus accepts hot-plugged functions by ACPI
        // events.
        blocks.push(aml::scope("_GPE", [aml::method("_E01", 0, Entry::Concurrent, [])]));
    }
    aml::list(blocks)
}
