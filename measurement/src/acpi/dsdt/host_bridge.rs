//! The PCI Express host bridge `PCI0`, its address windows, and the fixed devices that live in
//! them.

use crate::acpi::Machine;
use crate::acpi::aml::{
    Aml, Entry, and_into, arg, buffer, create_dword_field, deref, device, eisa_id, equal, index,
    int, less, local, method, name, not, or_into, otherwise, package, path, ret, scope, store,
    string, when,
};
use crate::acpi::resource::{
    Caching, Descriptor, bus_numbers, io_ports, io_window, memory_window_32, memory_window_64,
    template,
};

/// Memory-mapped configuration space, 256 MiB; where OVMF places it on q35.
pub(crate) const ECAM_BASE: u32 = 0xe000_0000;
const ECAM_BYTES: u32 = 0x1000_0000;
/// Length of the 64-bit PCI window: QEMU's default `pci-hole64-size` of q35, 32 GiB.
const PCI64_BYTES: u64 = 32 << 30;
/// General-purpose event registers: base of the power management ports plus 0x20.
const GPE0_PORT: u16 = 0x620;
/// Registers of ACPI PCI hot-plug.
pub(super) const HOTPLUG_PORT: u16 = 0xcc0;
/// fw_cfg's selector, data and DMA ports.
const FW_CFG_PORT: u16 = 0x510;
/// A device's `_STA`: present, enabled, working, not shown to a user.
const PRESENT_HIDDEN: u64 = 0x0b;

/// "PCI host bridge device" of the `_OSC` method (PCI firmware specification 3.3, section 4.5.1).
const HOST_BRIDGE_UUID: [u8; 16] = [
    0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
];
/// "Device labeling interface" of `_DSM` (PCI firmware specification 3.3, section 4.6).
const LABELING_UUID: [u8; 16] = [
    0xd0, 0x37, 0xc9, 0xe5, 0x53, 0x35, 0x7a, 0x4d, 0x91, 0x17, 0xea, 0x4d, 0x19, 0xc3, 0x43, 0x4d,
];
/// The labeling function that names a device and gives its index.
pub(super) const NAME_FUNCTION: u64 = 7;

/// `PCI0` with its methods, and the reservation of the configuration space.
pub(super) fn devices(machine: &Machine) -> Aml {
    let pci0 = [
        name("_HID", eisa_id("PNP0A08")),
        name("_CID", eisa_id("PNP0A03")),
        name("_UID", int(0)),
        operating_system_capabilities(machine.pci_hotplug),
        static_device_label(),
    ];
    let ecam = memory_window_32(Caching::NonCacheable, ECAM_BASE, ECAM_BASE + (ECAM_BYTES - 1));
    let drac = [name("_HID", string("PNP0C01")), name("_CRS", template([ecam]))];
    scope("_SB", [device("PCI0", pci0), device("DRAC", drac)])
}

/// Windows of the bridge and the ports taken by fixed devices.
pub(super) fn resources(machine: &Machine) -> Aml {
    let windows = template([
        bus_numbers(0, 0xff),
        io_ports(0xcf8, 1, 8),
        io_window(0, 0xcf7),
        io_window(0xd00, 0xffff),
        memory_window_32(Caching::Cacheable, 0xa_0000, 0xb_ffff),
        memory_window_32(Caching::NonCacheable, machine.low_memory_end, ECAM_BASE - 1),
        memory_window_32(Caching::NonCacheable, 0xf000_0000, 0xfebf_ffff),
        memory_window_64(machine.pci64_base, PCI64_BYTES),
    ]);
    let mut terms = vec![
        name("_CRS", windows),
        reserved_ports("GPE0", "GPE0 resources", io_ports(GPE0_PORT, 1, 0x10)),
    ];
    if machine.pci_hotplug {
        terms.push(reserved_ports(
            "PHPR",
            "PCI Hotplug resources",
            io_ports(HOTPLUG_PORT, 1, 0x18),
        ));
    }
    scope("\\_SB.PCI0", terms)
}

/// The fw_cfg device.
pub(super) fn firmware_configuration() -> Aml {
    let terms = [
        name("_HID", string("QEMU0002")),
        name("_STA", int(PRESENT_HIDDEN)),
        name("_CRS", template([io_ports(FW_CFG_PORT, 1, 0xc)])),
    ];
    scope("\\_SB.PCI0", [device("FWCF", terms)])
}

/// Starts a `_DSM`-like method: the functions that the labeling interface has, none for other
/// callers.
///
/// `functions` ends the branch of function 0 after the two early returns.
pub(super) fn labeling_functions(functions: impl IntoIterator<Item = Aml>) -> Aml {
    let mut terms = vec![
        store(buffer(&[0]), local(0)),
        when(not(equal(arg(0), buffer(&LABELING_UUID))), [ret(local(0))]),
        when(less(arg(1), int(2)), [ret(local(0))]),
    ];
    terms.extend(functions);
    terms.push(ret(local(0)));
    when(equal(arg(2), int(0)), terms)
}

fn reserved_ports(at: &str, id: &str, ports: Descriptor) -> Aml {
    let terms = [
        name("_HID", string("PNP0A06")),
        name("_UID", string(id)),
        name("_STA", int(PRESENT_HIDDEN)),
        name("_CRS", template([ports])),
    ];
    device(at, terms)
}

/// `_OSC`: which PCI Express features the operating system may control; native hot-plug (bit 0)
/// only where ACPI does not do it.
fn operating_system_capabilities(pci_hotplug: bool) -> Aml {
    const UNRECOGNIZED_UUID: u64 = 0x04;
    const UNRECOGNIZED_REVISION: u64 = 0x08;
    const CAPABILITIES_MASKED: u64 = 0x10;
    let granted = if pci_hotplug { 0x1e } else { 0x1f };
    let (status, control) = (|| path("CDW1"), || path("CDW3"));
    let answer = |bits: u64| or_into(status(), int(bits), status());
    let host_bridge = [
        create_dword_field(arg(3), 4, "CDW2"),
        create_dword_field(arg(3), 8, "CDW3"),
        store(control(), local(0)),
        and_into(local(0), int(granted), local(0)),
        when(not(equal(arg(1), int(1))), [answer(UNRECOGNIZED_REVISION)]),
        when(not(equal(control(), local(0))), [answer(CAPABILITIES_MASKED)]),
        store(local(0), control()),
    ];
    let terms = [
        create_dword_field(arg(3), 0, "CDW1"),
        when(equal(arg(0), buffer(&HOST_BRIDGE_UUID)), host_bridge),
        otherwise([answer(UNRECOGNIZED_UUID)]),
        ret(arg(3)),
    ];
    method("_OSC", 4, Entry::Concurrent, terms)
}

/// `EDSM`: labels of functions whose index is known when the tables are made.
fn static_device_label() -> Aml {
    const FUNCTIONS_0_AND_7: u64 = 0x81;
    let label = [
        store(package(2, [int(0), string("")]), local(0)),
        store(deref(index(arg(4), int(0))), local(1)),
        store(local(1), index(local(0), int(0))),
        ret(local(0)),
    ];
    let terms = [
        labeling_functions([store(int(FUNCTIONS_0_AND_7), index(local(0), int(0)))]),
        when(equal(arg(2), int(NAME_FUNCTION)), label),
    ];
    method("EDSM", 5, Entry::Serialized, terms)
}
