//! Processors and their hot-plug interface (QEMU, `docs/specs/acpi_cpu_hotplug.rst`).
//!
//! The interface is there on every q35 machine, also where no processor can be plugged.

use crate::acpi::Machine;
use crate::acpi::aml::{
    Access, Aml, Entry, Space, Unit, Update, acquire, arg, break_loop, buffer, call, debug, deref,
    device, eisa_id, equal, field, increment, index, int, less, list, local, logical_and,
    logical_or, method, mutex, name, notify, operation_region, otherwise, package, path, processor,
    release, repeat_while, ret, scope, store, string, when,
};
use crate::acpi::madt::{self, FIRST_X2APIC_ID};
use crate::acpi::resource::{io_ports, template};
use crate::profile::QemuProfile;

const PORT: u16 = 0xcd8;
const PORT_COUNT: u8 = 0xc;
const LOCK: &str = "\\_SB.PCI0.PRES.CPLK";
/// Processors that one scan collects before it notifies.
const BATCH: u8 = 0xff;
/// Notification: look again whether the device is there.
const DEVICE_CHECK: u64 = 1;
/// Notification: the device shall be ejected.
const EJECT_REQUEST: u64 = 3;

/// Registers, methods and one device a processor.
pub(super) fn block(machine: &Machine) -> Aml {
    let mut terms = vec![
        name("_HID", string("ACPI0010")),
        name("_CID", eisa_id("PNP0A05")),
        method("CTFY", 2, Entry::Concurrent, (0..machine.vcpus).map(notify_processor)),
        method("CSTA", 1, Entry::Serialized, status()),
        method("CEJ0", 1, Entry::Serialized, eject()),
        method("CSCN", 0, Entry::Serialized, scan(machine)),
        method("COST", 4, Entry::Serialized, report_outcome()),
    ];
    terms.extend((0..machine.vcpus).map(processor_device));
    scope("_SB", [registers(machine.profile), device("\\_SB.CPUS", terms)])
}

/// The general-purpose event that starts a scan.
pub(super) fn event() -> Aml {
    method("\\_GPE._E02", 0, Entry::Concurrent, [call("\\_SB.CPUS.CSCN", [])])
}

fn register(segment: &str) -> Aml {
    path(&format!("\\_SB.PCI0.PRES.{segment}"))
}

fn registers(profile: QemuProfile) -> Aml {
    let flags = [
        Unit::Skip(32),
        Unit::Named("CPEN", 1),
        Unit::Named("CINS", 1),
        Unit::Named("CRMV", 1),
        Unit::Named("CEJ0", 1),
        Unit::Named("CEJF", 1),
        Unit::Skip(3),
        Unit::Named("CCMD", 8),
    ];
    let mut terms = vec![
        name("_HID", eisa_id("PNP0A06")),
        name("_UID", string("CPU Hotplug resources")),
        mutex("CPLK"),
        name("_CRS", template([io_ports(PORT, 1, PORT_COUNT)])),
        operation_region("PRST", Space::SystemIo, PORT.into(), PORT_COUNT.into()),
        field("PRST", Access::Byte, Update::WriteAsZeros, &flags),
        field(
            "PRST",
            Access::Dword,
            Update::Preserve,
            &[Unit::Named("CSEL", 32), Unit::Skip(32), Unit::Named("CDAT", 32)],
        ),
    ];
    if profile.processor_select_at_init {
        terms.push(method("_INI", 0, Entry::Serialized, [store(int(0), path("CSEL"))]));
    }
    device("\\_SB.PCI0.PRES", terms)
}

fn notify_processor(processor: u32) -> Aml {
    when(equal(arg(0), int(processor.into())), [notify(&processor_name(processor), arg(1))])
}

fn status() -> [Aml; 6] {
    const PRESENT: u64 = 0x0f;
    [
        acquire(LOCK),
        store(arg(0), register("CSEL")),
        store(int(0), local(0)),
        when(equal(register("CPEN"), int(1)), [store(int(PRESENT), local(0))]),
        release(LOCK),
        ret(local(0)),
    ]
}

fn eject() -> [Aml; 4] {
    [acquire(LOCK), store(arg(0), register("CSEL")), store(int(1), register("CEJ0")), release(LOCK)]
}

/// Passes event and status of a finished operation to the host.
fn report_outcome() -> [Aml; 7] {
    const EVENT_COMMAND: u64 = 1;
    const STATUS_COMMAND: u64 = 2;
    [
        acquire(LOCK),
        store(arg(0), register("CSEL")),
        store(int(EVENT_COMMAND), register("CCMD")),
        store(arg(1), register("CDAT")),
        store(int(STATUS_COMMAND), register("CCMD")),
        store(arg(2), register("CDAT")),
        release(LOCK),
    ]
}

/// Local variables of the scan.
mod scan_local {
    use crate::acpi::aml::{Aml, local};

    pub fn has_event() -> Aml {
        local(0)
    }
    pub fn added() -> Aml {
        local(1)
    }
    pub fn at() -> Aml {
        local(2)
    }
    pub fn processor() -> Aml {
        local(3)
    }
    pub fn has_more() -> Aml {
        local(4)
    }
    pub fn ejected() -> Aml {
        local(5)
    }
}

/// Walks over all processors with events, in batches, and notifies the operating system of each.
fn scan(machine: &Machine) -> Vec<Aml> {
    use scan_local::{added, ejected, has_event, has_more, processor};
    let queue = machine.profile.processor_eject_queue;
    let when_queued = |term: Aml| queue.then_some(term);

    let more_processors =
        logical_and(equal(has_event(), int(1)), less(processor(), int(machine.vcpus.into())));
    let mut batch =
        vec![store(int(0), has_more()), store(int(1), has_event()), store(int(0), added())];
    batch.extend(when_queued(store(int(0), ejected())));
    batch.push(repeat_while(more_processors, collect(queue)));
    batch.push(notify_added());
    batch.extend(when_queued(notify_ejected()));

    let mut terms = vec![acquire(LOCK), name("CNEW", package(BATCH, []))];
    terms.extend(when_queued(name("CEJL", package(BATCH, []))));
    terms.extend([store(int(0), processor()), store(int(1), has_more())]);
    terms.push(repeat_while(equal(has_more(), int(1)), batch));
    terms.push(release(LOCK));
    terms
}

/// One step of the scan: the next processor with an event, remembered or (older QEMU) told at once.
fn collect(queue: bool) -> Vec<Aml> {
    use scan_local::{added, ejected, has_event, has_more, processor};
    const NEXT_WITH_EVENT: u64 = 0;
    let full = |count: Aml| equal(count, int(BATCH.into()));
    let batch_full = if queue { logical_or(full(added()), full(ejected())) } else { full(added()) };
    let remember = |list: &str, count: fn() -> Aml| {
        [
            store(processor(), index(path(list), count())),
            increment(count()),
            store(int(1), has_event()),
        ]
    };
    let removing = || equal(register("CRMV"), int(1));
    let removed = if queue {
        when(removing(), remember("CEJL", ejected))
    } else {
        let request = [
            call("CTFY", [processor(), int(EJECT_REQUEST)]),
            store(int(1), register("CRMV")),
            store(int(1), has_event()),
        ];
        otherwise([when(removing(), request)])
    };
    vec![
        store(int(0), has_event()),
        store(processor(), register("CSEL")),
        store(int(NEXT_WITH_EVENT), register("CCMD")),
        when(less(register("CDAT"), processor()), [break_loop()]),
        when(batch_full, [store(int(1), has_more()), break_loop()]),
        store(register("CDAT"), processor()),
        when(equal(register("CINS"), int(1)), remember("CNEW", added)),
        removed,
        increment(processor()),
    ]
}

fn notify_added() -> Aml {
    use scan_local::{added, processor};
    let trace = [store(processor(), debug())];
    notify_all("CNEW", added(), DEVICE_CHECK, trace, "CINS")
}

fn notify_ejected() -> Aml {
    notify_all("CEJL", scan_local::ejected(), EJECT_REQUEST, [], "CRMV")
}

/// Notifies of every remembered processor and clears its event.
fn notify_all(
    remembered: &str,
    count: Aml,
    notification: u64,
    trace: impl IntoIterator<Item = Aml>,
    event: &str,
) -> Aml {
    use scan_local::{at, processor};
    let mut each = vec![
        store(deref(index(path(remembered), at())), processor()),
        call("CTFY", [processor(), int(notification)]),
    ];
    each.extend(trace);
    each.extend([
        store(processor(), register("CSEL")),
        store(int(1), register(event)),
        increment(at()),
    ]);
    list([store(int(0), at()), repeat_while(less(at(), count), each)])
}

fn processor_name(processor: u32) -> String {
    format!("C{processor:03X}")
}

/// A processor; beyond the ids that a processor object can have, a device.
fn processor_device(id: u32) -> Aml {
    let number = || int(id.into());
    let mut terms = vec![
        method("_STA", 0, Entry::Serialized, [ret(call("CSTA", [number()]))]),
        name("_MAT", buffer(&madt::local_apic(id))),
    ];
    if id != 0 {
        terms.push(method("_EJ0", 1, Entry::Concurrent, [call("CEJ0", [number()])]));
    }
    terms.push(method(
        "_OST",
        3,
        Entry::Serialized,
        [call("COST", [number(), arg(0), arg(1), arg(2)])],
    ));
    match u8::try_from(id) {
        Ok(short) if id < FIRST_X2APIC_ID => processor(&processor_name(id), short, terms),
        _ => {
            let identity = [name("_HID", string("ACPI0007")), name("_UID", number())];
            device(&processor_name(id), identity.into_iter().chain(terms))
        }
    }
}
