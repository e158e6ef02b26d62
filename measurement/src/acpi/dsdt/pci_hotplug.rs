//! Registers and methods of ACPI PCI hot-plug (QEMU, `docs/specs/acpi_pci_hotplug.rst`).

use super::host_bridge::{HOTPLUG_PORT, NAME_FUNCTION, labeling_functions};
use crate::acpi::aml::{
    Access, Aml, Entry, Space, Unit, Update, acquire, arg, call, deref, equal, field, index, int,
    local, logical_or, method, mutex, not, operation_region, or, or_into, package, path, release,
    ret, scope, shift_left, store, string, when,
};
use crate::profile::QemuProfile;

const LOCK: &str = "BLCK";
/// What the registers answer where there is no device.
const NO_DEVICE: u64 = 0xffff_ffff;

/// The scope with registers, eject method and device labels, and nothing of any one device.
pub(super) fn registers(profile: QemuProfile) -> Aml {
    let port = u64::from(HOTPLUG_PORT);
    let dwords = |region, units: &[Unit]| field(region, Access::Dword, Update::WriteAsZeros, units);
    let terms = [
        operation_region("PCST", Space::SystemIo, port, 8),
        dwords("PCST", &[Unit::Named("PCIU", 32), Unit::Named("PCID", 32)]),
        operation_region("SEJ", Space::SystemIo, port + 8, 4),
        dwords("SEJ", &[Unit::Named("B0EJ", 32)]),
        operation_region("BNMR", Space::SystemIo, port + 0x10, 8),
        dwords("BNMR", &[Unit::Named("BNUM", 32), Unit::Named("PIDX", 32)]),
        mutex(LOCK),
        method("PCEJ", 2, Entry::Concurrent, eject()),
        method("AIDX", 2, Entry::Concurrent, acpi_index()),
        method("PDSM", 5, Entry::Serialized, device_label(profile)),
    ];
    scope("_SB.PCI0", terms)
}

/// Selects bus and slot and writes the eject bit.
fn eject() -> [Aml; 5] {
    [
        acquire(LOCK),
        store(arg(0), path("BNUM")),
        store(shift_left(int(1), arg(1)), path("B0EJ")),
        release(LOCK),
        ret(int(0)),
    ]
}

/// Selects bus and slot and reads the device's index.
fn acpi_index() -> [Aml; 6] {
    [
        acquire(LOCK),
        store(arg(0), path("BNUM")),
        store(shift_left(int(1), arg(1)), path("PIDX")),
        store(path("PIDX"), local(0)),
        release(LOCK),
        ret(local(0)),
    ]
}

fn device_label(profile: QemuProfile) -> [Aml; 2] {
    let read_index = || {
        let (bus, slot) = (deref(index(arg(4), int(0))), deref(index(arg(4), int(1))));
        store(call("AIDX", [bus, slot]), local(2))
    };
    let absent = || (equal(local(2), int(0)), equal(local(2), int(NO_DEVICE)));
    let supported = |bit: Aml| or_into(local(1), bit, local(1));

    let (zero, none) = absent();
    let functions = [
        store(int(0), local(1)),
        read_index(),
        when(
            not(or(zero, none)),
            [supported(int(1)), supported(shift_left(int(1), int(NAME_FUNCTION)))],
        ),
        store(local(1), index(local(0), int(0))),
    ];

    let store_index = store(local(2), index(local(0), int(0)));
    let label = if profile.device_label_checked {
        let (zero, none) = absent();
        let fill = [store_index, store(string(""), index(local(0), int(1)))];
        vec![
            read_index(),
            store(package(2, []), local(0)),
            when(not(logical_or(zero, none)), fill),
            ret(local(0)),
        ]
    } else {
        let empty = store(package(2, [int(0), string("")]), local(0));
        vec![empty, read_index(), store_index, ret(local(0))]
    };
    [labeling_functions(functions), when(equal(arg(2), int(NAME_FUNCTION)), label)]
}
